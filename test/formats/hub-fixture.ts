// A server that speaks the Hub's routes, and an empty cache for each test; imported by each test file of the Hub.
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from 'vitest'
import { HubError, type HubErrorReason } from '../../src/errors.ts'
import { snapshotOf } from '../../src/formats/hub.ts'
import type { HubOptions } from '../../src/formats/hub-options.ts'
import { hubSettings } from '../../src/formats/hub-settings.ts'
import type { ModelPart } from '../../src/platform.ts'
import { Random } from './helpers.ts'
import { gitName, HubServer, sha256 } from './hub-server.ts'

export const COMMIT = 'a'.repeat(40)
export const NEWER = 'b'.repeat(40)
export const ID = 'org/tiny'
export const FOLDER = 'models--org--tiny'
export const random = new Random(7)
export const WEIGHTS = Buffer.from(Array.from({ length: 300_000 }, () => random.below(256)))
export const FILES = {
  'config.json': '{"model_type":"bert"}\n',
  'model.safetensors': WEIGHTS,
  'tokenizer.json': '{"model":{}}',
  'tokenizer_config.json': '{"do_lower_case":false}',
  'vocab.txt': '[PAD]\n[UNK]\n',
  'modules.json': '[]',
  '1_Pooling/config.json': '{"pooling_mode_mean_tokens":true}',
  'README.md': 'not needed',
  'pytorch_model.bin': Buffer.from('not needed either'),
}

export let hub: HubServer
export let home: string
beforeAll(async () => {
  hub = await HubServer.start()
})
afterAll(() => hub.stop())
beforeEach(() => {
  home = fs.mkdtempSync(path.join(tmpdir(), 'bertkit-hub-'))
  hub.models.clear()
  hub.models.set(ID, { commit: COMMIT, files: FILES, refs: ['v1', 'refs/pr/1'] })
  hub.seen.length = 0
  hub.intercept = () => false
})
afterEach(() => {
  vi.unstubAllEnvs()
  fs.rmSync(home, { recursive: true, force: true })
})

export const cacheDir = () => path.join(home, 'hub')
export const inCache = (...parts: string[]) => path.join(cacheDir(), FOLDER, ...parts)
export const snapshot = (...parts: string[]) => inCache('snapshots', COMMIT, ...parts)
export const blobs = () => (fs.existsSync(inCache('blobs')) ? fs.readdirSync(inCache('blobs')) : [])
export const environment = (more: Record<string, string> = {}) => ({
  HF_ENDPOINT: hub.endpoint,
  HF_HOME: home,
  ...more,
})

/** Resolves with pauses too short to wait for. */
// in get() the environment is what a test says, not that of the process
export async function get(
  part: ModelPart,
  {
    env = {},
    id = ID,
    retryDelay = 1,
    ...options
  }: HubOptions & { env?: object; id?: string; retryDelay?: number } = {},
): Promise<string> {
  const settings = await hubSettings(options, environment({ ...env }))
  return snapshotOf(id, part, { ...settings, retryDelay })
}

export async function refuses(attempt: Promise<unknown>, reason: HubErrorReason, message: RegExp): Promise<HubError> {
  const error: unknown = await attempt.then(
    () => undefined,
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(HubError)
  const found = error as HubError
  expect([found.code, found.name, found.reason]).toEqual(['ERR_HUB', 'HubError', reason])
  expect(found.message).toMatch(message)
  expect(found.message.length).toBeLessThan(1000)
  return found
}

/** Nothing that is not whole may have a final name, and nothing temporary may stay but what a download can go on with. */
export function expectCleanCache(): void {
  const names = fs.existsSync(cacheDir()) ? fs.readdirSync(cacheDir(), { recursive: true, encoding: 'utf8' }) : []
  expect(names.filter((name) => name.endsWith('.tmp') || /-\d+-[0-9a-f]{8}\.incomplete$/.test(name))).toEqual([])
  for (const name of blobs())
    if (!name.endsWith('.incomplete')) {
      const bytes = fs.readFileSync(inCache('blobs', name))
      expect(name).toBe(name.length === 64 ? sha256(bytes) : gitName(bytes))
    }
}
