// A small model as files, served and stored, for the tests of where models come from and go to.
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from 'vitest'
import { BertForSequenceClassification, type BertModel, BertTokenizer } from '../../src/edge.ts'
import { registerPlatform } from '../../src/platform.ts'
import { nodePlatform } from '../../src/platform-node.ts'
import { sameBits, tinyConfig } from '../session/tiny.ts'
import { FileServer, testPlatform } from './web.ts'

export const server = new FileServer()
export const vocabulary = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...Array.from('abcdefghijklmnopqrstuvwxyz')]
/** A model's files as Node writes them, whole and in shards. */
export let whole: Record<string, Uint8Array>
export let sharded: Record<string, Uint8Array>
export let state: Map<string, { data: Float32Array }>
export let root: string

export async function filesOf(folder: string): Promise<Record<string, Uint8Array>> {
  const names = (await fs.readdir(folder)).sort()
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, new Uint8Array(await fs.readFile(path.join(folder, name)))])),
  )
}

/** Registers the web's platform and starts the server, for the tests of a file. */
export function useModelServer(): void {
  beforeAll(async () => {
    await server.listen()
    root = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-edge-'))
    registerPlatform(nodePlatform)
    using model = new BertForSequenceClassification(tinyConfig({ vocabSize: vocabulary.length }))
    const tokenizer = BertTokenizer.fromVocab(vocabulary)
    for (const [name, options] of [['whole', {}] as const, ['sharded', { maxShardSize: 3000 }] as const]) {
      await model.savePretrained(path.join(root, name), options)
      await tokenizer.savePretrained(path.join(root, name))
    }
    state = await model.stateDict()
    whole = await filesOf(path.join(root, 'whole'))
    sharded = await filesOf(path.join(root, 'sharded'))
  })
  afterAll(async () => {
    await server.close()
    await fs.rm(root, { recursive: true })
  })
  beforeEach(() => {
    registerPlatform(testPlatform)
    server.reset()
  })
  afterEach(() => vi.unstubAllGlobals())
}

export const serve = (files: Record<string, Uint8Array>, folder = 'model') => {
  for (const [name, bytes] of Object.entries(files)) server.files.set(`${folder}/${name}`, bytes)
}

export async function expectSame(model: BertForSequenceClassification): Promise<void> {
  const found = await model.stateDict()
  expect([...found.keys()]).toEqual([...state.keys()])
  for (const [name, { data }] of found) expect(sameBits(data, state.get(name)!.data), name).toBe(true)
}

export async function failure(loading: Promise<unknown>): Promise<Error & { code?: string }> {
  const outcome = await loading.then(
    () => new Error('it loaded'),
    (error: unknown) => error,
  )
  return outcome as Error
}

export const load = (source: Parameters<typeof BertModel.fromPretrained>[0], options = {}) =>
  BertForSequenceClassification.fromPretrained(source, options)
