// What interrupted downloads, Python's too, left in a cache, and what the next one makes of it.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { copyFile, writeFile } from 'node:fs/promises'
import type http from 'node:http'
import { describe, expect, test, vi } from 'vitest'
import { blobs, cacheDir, expectCleanCache, get, hub, inCache, refuses, snapshot, WEIGHTS } from './hub-fixture.ts'
import { cutAfter, type Intercept, sha256 } from './hub-server.ts'

// a copy may be made to fail: for modules that are loaded from here on, and the setup of the tests has loaded them before
vi.hoisted(() => vi.resetModules())
vi.mock('node:fs/promises', async (original) => {
  const actual = await original<typeof import('node:fs/promises')>()
  return { ...actual, copyFile: vi.fn(actual.copyFile) }
})

const SHARED = `${sha256(WEIGHTS)}.incomplete`
const shared = () => inCache('blobs', SHARED)
/** What Python left, or is still writing, with so many minutes since its last write. */
function leave(content: Uint8Array, minutes = 6): void {
  fs.mkdirSync(inCache('blobs'), { recursive: true })
  fs.writeFileSync(shared(), content)
  const time = new Date(Date.now() - minutes * 60_000)
  fs.utimesSync(shared(), time, time)
}

const onCdn =
  (answer: Intercept): Intercept =>
  (seen, response, content) =>
    seen.server === 'cdn' && answer(seen, response, content)
const ranges = () => hub.seen.filter(({ server }) => server === 'cdn').map(({ headers }) => headers.range)
const expectWhole = () => {
  expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
  expectCleanCache()
}

describe('a download', () => {
  test('is resumed on what a killed process left, not on what a living one writes', async () => {
    const dead = await new Promise<number>((resolve) => {
      const child = spawn(process.execPath, ['-e', ''])
      child.once('exit', () => resolve(child.pid!))
    })
    // names of this machine, learnt from a download that is under way
    let own = ''
    hub.intercept = onCdn(() => {
      own = blobs().find((name) => name.startsWith(sha256(WEIGHTS))) ?? ''
      return false
    })
    await get('model')
    const [, stem, host] = /^(\w{64}\.)(\w{8})-\d+-[0-9a-f]{8}\.incomplete$/.exec(own)!
    for (const [pid, range] of [
      [dead, 'bytes=1000-'],
      [process.ppid, undefined],
    ] as const) {
      fs.rmSync(cacheDir(), { recursive: true })
      fs.mkdirSync(inCache('blobs'), { recursive: true })
      const left = inCache('blobs', `${stem}${host}-${pid}-0a1b2c3d.incomplete`)
      fs.writeFileSync(left, WEIGHTS.subarray(0, 1000))
      hub.seen.length = 0
      await get('model')
      expect(hub.seen.find(({ server }) => server === 'cdn')?.headers.range).toBe(range)
      expect(fs.existsSync(left)).toBe(pid !== dead)
      expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    }
  })

  test('leaves alone what somebody wrote a minute ago, and starts at the beginning', async () => {
    const left = WEIGHTS.subarray(0, 1000)
    leave(left, 1)
    await get('model')
    expect(ranges()).toEqual([undefined])
    expect(fs.readFileSync(shared()).equals(left)).toBe(true)
    expectWhole()
  })

  test('keeps what it goes on with until it has the whole file', async () => {
    const left = WEIGHTS.subarray(0, 1000)
    leave(left)
    let during: Buffer | undefined
    hub.intercept = onCdn(() => {
      during = fs.readFileSync(shared())
      return false
    })
    await get('model')
    expect(ranges()).toEqual(['bytes=1000-'])
    expect(during?.equals(left)).toBe(true)
    expect(fs.existsSync(shared())).toBe(false)
    expectWhole()
  })

  test('is not harmed by a writer that was silent and goes on', async () => {
    leave(WEIGHTS.subarray(0, 1000))
    const writer = fs.openSync(shared(), 'a')
    hub.intercept = onCdn(() => {
      fs.writeSync(writer, 'goes on')
      return false
    })
    await get('model')
    fs.writeSync(writer, 'and on')
    fs.closeSync(writer)
    expect(ranges()).toEqual(['bytes=1000-'])
    expect(fs.statSync(shared()).size).toBe(1000 + 'goes onand on'.length)
    expectWhole()
  })

  test('that fails leaves what came under a name that Python does not move', async () => {
    const left = WEIGHTS.subarray(0, 1000)
    leave(left, 1)
    hub.intercept = onCdn((seen, response, content) => cutAfter(response, seen, content!, 20_000))
    await refuses(get('model'), 'unreachable', /model\.safetensors/)
    const own = `${sha256(WEIGHTS)}.bertkit.incomplete`
    expect(
      blobs()
        .filter((name) => name.endsWith('.incomplete'))
        .sort(),
    ).toEqual([own, SHARED])
    expect(fs.readFileSync(shared()).equals(left)).toBe(true)
    const kept = fs.statSync(inCache('blobs', own)).size
    hub.intercept = () => false
    hub.seen.length = 0
    await get('model')
    expect(ranges()).toEqual([`bytes=${kept}-`])
    expect(blobs()).not.toContain(own)
    expectWhole()
  })

  test.each(['EACCES', 'ENOENT', 'ENOSPC'])(
    'starts at the beginning where what is left fails with %s',
    async (code) => {
      leave(WEIGHTS.subarray(0, 1000))
      vi.mocked(copyFile).mockImplementationOnce(async (_, target) => {
        await writeFile(target, 'torn', { mode: 0o400 })
        throw Object.assign(new Error(code), { code })
      })
      await get('model')
      expect(vi.mocked(copyFile)).toHaveBeenCalled()
      expect(ranges()).toEqual([undefined])
      expectWhole()
    },
  )

  test.skipIf(process.platform === 'win32')('does not take the rights of what is left', async () => {
    leave(WEIGHTS.subarray(0, 1000))
    fs.chmodSync(shared(), 0o400)
    await get('model')
    expect(ranges()).toEqual(['bytes=1000-'])
    fs.writeFileSync(inCache('plain'), '')
    expect(fs.statSync(snapshot('model.safetensors')).mode).toBe(fs.statSync(inCache('plain')).mode)
  })

  test.each([
    ['of other content', Buffer.alloc(1000)],
    ['that is whole', WEIGHTS],
    ['that is too long', Buffer.concat([WEIGHTS, WEIGHTS])],
    ['of the right length and other content', Buffer.alloc(WEIGHTS.length)],
  ])('makes a whole file of a partial file %s', async (_, left) => {
    leave(left)
    await get('model')
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expect(hub.requests('cdn').length).toBe(left === WEIGHTS ? 0 : left.length === 1000 ? 2 : 1)
    expectCleanCache()
  })

  test.each([
    ['ignores the range', (response: http.ServerResponse) => response.writeHead(200).end(WEIGHTS)],
    [
      'sends another range',
      (response: http.ServerResponse) =>
        response.writeHead(206, { 'content-range': `bytes 0-9/${WEIGHTS.length}` }).end(WEIGHTS.subarray(0, 10)),
    ],
    ['refuses the range', (response: http.ServerResponse) => response.writeHead(416).end()],
  ])('to a server that %s starts at the beginning', async (_, answer) => {
    leave(WEIGHTS.subarray(0, 1000))
    hub.intercept = onCdn(({ headers }, response) => {
      if (headers.range === undefined) return false
      answer(response)
      return true
    })
    await get('model')
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expectCleanCache()
  })
})
