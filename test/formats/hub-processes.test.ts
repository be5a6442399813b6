// Processes that fill one cache at the same time, or are killed while they do.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cutAfter, HubServer, sendBytes, sha256 } from './hub-server.ts'

const file = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
const built = fs.existsSync(file('../../dist/formats/hub.js'))
const COMMIT = 'c'.repeat(40)
const WEIGHTS = Buffer.alloc(4_000_000, 'weights')

describe.skipIf(!built)(`processes${built ? '' : ' (skipped: run npm run build first)'}`, () => {
  let hub: HubServer
  let home: string
  beforeEach(async () => {
    hub = await HubServer.start()
    hub.models.set('org/tiny', { commit: COMMIT, files: { 'config.json': '{}', 'model.safetensors': WEIGHTS } })
    home = fs.mkdtempSync(path.join(tmpdir(), 'bertkit-hub-'))
  })
  afterEach(async () => {
    await hub.stop()
    fs.rmSync(home, { recursive: true, force: true })
  })
  const model = () => path.join(home, 'hub/models--org--tiny')
  const weights = () => fs.readFileSync(path.join(model(), 'snapshots', COMMIT, 'model.safetensors'))
  const start = () => {
    const env = { PATH: process.env.PATH, HF_HOME: home, HF_ENDPOINT: hub.endpoint }
    const child = spawn(process.execPath, [file('./hub-processes.mjs'), 'org/tiny'], { env })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    const end = new Promise<{ code: number | null; output: string }>((resolve) =>
      child.once('close', (code) => resolve({ code, output })),
    )
    return { child, end }
  }

  test('four at once all get the whole model', async () => {
    // every second connection is cut, so that partial files change hands
    let count = 0
    hub.intercept = (seen, response, content) =>
      seen.server === 'cdn' && count++ % 2 === 0 && cutAfter(response, seen, content!, 1_500_000)
    const ends = await Promise.all([start(), start(), start(), start()].map(({ end }) => end))
    for (const each of ends) expect(each).toEqual({ code: 0, output: path.join(model(), 'snapshots', COMMIT) })
    expect(weights().equals(WEIGHTS)).toBe(true)
    expect(fs.readdirSync(path.join(model(), 'blobs')).filter((name) => name.includes('incomplete'))).toEqual([])
  })

  test('one that is killed leaves nothing wrong, and the next goes on where it was', async () => {
    const half = 2_000_000
    let killed: ReturnType<typeof start> | undefined
    hub.intercept = (seen, response, content) => {
      if (seen.server !== 'cdn') return false
      if (killed === undefined) sendBytes(seen, response, content!)
      else {
        response.writeHead(200, { 'content-length': content!.length })
        response.write(content!.subarray(0, half))
      }
      return true
    }
    killed = start()
    const blobs = path.join(model(), 'blobs')
    const partial = () => {
      const names = fs.existsSync(blobs) ? fs.readdirSync(blobs) : []
      return names.find((name) => name.startsWith(`${sha256(WEIGHTS)}.`))
    }
    await expect
      .poll(() => partial() !== undefined && fs.statSync(path.join(blobs, partial()!)).size, { timeout: 60_000 })
      .toBe(half)
    killed.child.kill('SIGKILL')
    await killed.end
    killed = undefined
    hub.seen.length = 0
    expect((await start().end).code).toBe(0)
    expect(weights().equals(WEIGHTS)).toBe(true)
    expect(hub.seen.find(({ server }) => server === 'cdn')?.headers.range).toBe(`bytes=${half}-`)
    expect(partial()).toBeUndefined()
  })
})
