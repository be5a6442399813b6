// Two copies of the package in one process, as in worker threads: each has variables of its own, and they have one process id.
import fs from 'node:fs'
import { describe, expect, test, vi } from 'vitest'
import { hubSettings } from '../../src/formats/hub-settings.ts'
import { blobs, environment, expectCleanCache, hub, ID, snapshot, WEIGHTS } from './hub-fixture.ts'

describe('two copies of the package in one process', () => {
  test('fill an empty cache at once', async () => {
    const settings = { ...(await hubSettings({}, environment())), retryDelay: 1 }
    const copies = []
    for (let i = 0; i < 2; i++) {
      vi.resetModules()
      copies.push({
        ...(await import('../../src/formats/hub.ts')),
        ...(await import('../../src/formats/hub-cache.ts')),
      })
    }
    expect(copies[0].HubCache).not.toBe(copies[1].HubCache)
    // neither is answered before both have asked, so that both files are open
    const waiting: (() => void)[] = []
    hub.intercept = ({ server }, response, content) => {
      if (server !== 'cdn') return false
      waiting.push(() => response.writeHead(200, { 'content-length': content!.length }).end(content))
      if (waiting.length === 2) for (const answer of waiting) answer()
      return true
    }
    const folders = await Promise.all(copies.map(({ snapshotOf }) => snapshotOf(ID, 'model', settings)))
    expect(folders).toEqual([snapshot(), snapshot()])
    expect(waiting.length).toBe(2)
    expect(blobs().filter((name) => name.endsWith('.incomplete'))).toEqual([])
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expectCleanCache()
  })
})
