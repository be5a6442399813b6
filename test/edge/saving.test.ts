// Saving to Blobs and sinks; Node with URLs; the cases of test/golden over HTTP.
import * as fs from 'node:fs/promises'
import * as path from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import * as edge from '../../src/edge.ts'
import { AdamW, ArgumentError, type BertModel, BertTokenizer, pipeline } from '../../src/edge.ts'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { registerPlatform } from '../../src/platform.ts'
import { nodePlatform } from '../../src/platform-node.ts'
import { sameBits } from '../session/tiny.ts'
import { expectSame, filesOf, load, root, serve, server, sharded, useModelServer, whole } from './model-server.ts'

useModelServer()

describe('saving without a folder', () => {
  const bytesOf = async (blob: Blob) => new Uint8Array(await blob.arrayBuffer())

  it('gives Blobs of the same bytes as a folder has', async () => {
    using model = await load(whole)
    const tokenizer = await BertTokenizer.fromPretrained(whole)
    for (const [files, options] of [[whole, {}] as const, [sharded, { maxShardSize: 3000 }] as const]) {
      const blobs = { ...(await model.savePretrained(undefined, options)), ...(await tokenizer.savePretrained()) }
      expect(Object.keys(blobs).sort()).toEqual(Object.keys(files).sort())
      for (const [name, blob] of Object.entries(blobs)) expect(await bytesOf(blob), name).toEqual(files[name])
      using again = await load(blobs)
      await expectSame(again)
    }
  })

  it('streams files into a sink, one after another', async () => {
    using model = await load(whole)
    const chunks = new Map<string, Uint8Array[]>()
    const sizes = new Map<string, number>()
    const events: string[] = []
    const sink = {
      write(name: string, size: number) {
        events.push(`open ${name}`)
        sizes.set(name, size)
        chunks.set(name, [])
        return new WritableStream<Uint8Array>({
          async write(chunk) {
            await new Promise((resolve) => setTimeout(resolve, 1))
            chunks.get(name)!.push(chunk)
          },
          close: () => void events.push(`close ${name}`),
        })
      },
    }
    await model.savePretrained(sink)
    await (await BertTokenizer.fromPretrained(whole)).savePretrained(sink)
    expect(
      Object.fromEntries(
        [...chunks].map(([name, parts]) => [name, Uint8Array.from(parts.flatMap((part) => [...part]))]),
      ),
    ).toEqual(whole)
    for (const [name, size] of sizes) expect(size, name).toBe(whole[name].length)
    const names = ['model.safetensors', 'config.json', 'vocab.txt', 'tokenizer.json', 'tokenizer_config.json']
    expect(events).toEqual(names.flatMap((name) => [`open ${name}`, `close ${name}`]))
  })

  it('aborts the stream of a file that fails, and the model stays usable', async () => {
    using model = await load(whole)
    const abort = vi.fn()
    const sink = { write: () => new WritableStream({ write: () => Promise.reject(new Error('full')), abort }) }
    await expect(model.savePretrained(sink)).rejects.toThrow('full')
    await expect(model.savePretrained({ write: () => 5 as never })).rejects.toThrow(ArgumentError)
    await expectSame(model)
  })

  it.each([5, {}, null])('refuses %j for a place', async (target) => {
    using model = await load(whole)
    await expect(model.savePretrained(target as never)).rejects.toThrow(ArgumentError)
  })

  it('has no folders', async () => {
    using model = await load(whole)
    await expect(model.savePretrained('folder')).rejects.toThrow(/savePretrained\(\) without one returns Blobs/)
  })
})

describe('Node', () => {
  beforeEach(() => registerPlatform(nodePlatform))

  it('takes URLs too, of the web and of files', async () => {
    serve(whole)
    for (const source of [`${server.url}/model`, new URL(`${server.url}/model/`), new URL(`file://${root}/whole`)]) {
      using model = await load(source)
      await expectSame(model)
    }
    using opened = await load(new FolderFiles(path.join(root, 'whole')))
    await expectSame(opened)
  })
})

describe('the cases of test/golden', () => {
  const cases = path.join(import.meta.dirname, '..', 'golden', 'cases')

  it('stream over HTTP into every class, and train there as from a folder', async () => {
    const classes = new Set<string>()
    for (const name of await fs.readdir(cases)) {
      const folder = path.join(cases, name)
      const files = await filesOf(folder)
      if (!files['config.json']) continue
      serve(files, name)
      const [given] = [JSON.parse(new TextDecoder().decode(files['inputs.json']))].flat()
      classes.add(given.class)
      const Class = (edge as unknown as Record<string, typeof BertModel>)[given.class]
      using streamed = await Class.fromPretrained(`${server.url}/${name}`)
      using expected = await Class.fromPretrained(new FolderFiles(folder))
      expect(streamed.loadReport).toEqual(expected.loadReport)
      const wanted = await expected.stateDict()
      for (const [tensor, { data }] of await streamed.stateDict())
        expect(sameBits(data, wanted.get(tensor)!.data), `${name} ${tensor}`).toBe(true)
    }
    expect(classes.size).toBe(9)
  })

  it('fine-tune with AdamW to the same losses, and come back from Blobs', async () => {
    serve(whole)
    const batch = {
      inputIds: [
        [2, 5, 6, 3],
        [2, 7, 3],
      ],
      labels: [1, 0],
    }
    const losses: number[][] = []
    for (const source of [`${server.url}/model`, new FolderFiles(path.join(root, 'whole'))]) {
      using model = (await load(source)).train()
      const optimizer = new AdamW(model, { lr: 1e-3 })
      const curve: number[] = []
      for (let step = 0; step < 5; step++) curve.push((await optimizer.step(batch)).loss)
      using again = await load(await model.savePretrained())
      curve.push((await again.forward(batch)).loss!)
      losses.push(curve)
    }
    expect(losses[0]).toEqual(losses[1])
    expect(losses[0][5]).toBeLessThan(losses[0][0])
  })
})

const reference = process.env.BERTKIT_REFERENCE_DIR
describe.runIf(reference !== undefined)('MiniLM over HTTP (without BERTKIT_REFERENCE_DIR it is not there)', () => {
  it('gives the embeddings of sentence-transformers', async () => {
    const folder = path.join(reference ?? '', 'data/weights/all-MiniLM-L6-v2')
    serve(await filesOfTree(folder), 'minilm')
    const golden = path.join(reference ?? '', 'golden/minilm/embeddings.json')
    const { sentences, embeddings } = JSON.parse(await fs.readFile(golden, 'utf8'))
    using embed = await pipeline('feature-extraction', `${server.url}/minilm`, { pooling: 'mean', normalize: true })
    const found = (await embed(sentences)) as { data: Float32Array }[] | { data: Float32Array }
    const rows = Array.isArray(found) ? found.flatMap(({ data }) => [...data]) : [...found.data]
    const expected: number[] = embeddings.flat()
    expect(rows.length).toBe(expected.length)
    const most = rows.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0)
    expect(most).toBeLessThan(1e-5)
  })
})

async function filesOfTree(folder: string): Promise<Record<string, Uint8Array>> {
  const names = await fs.readdir(folder, { recursive: true })
  const files: Record<string, Uint8Array> = {}
  for (const name of names)
    if ((await fs.stat(path.join(folder, name))).isFile())
      files[name] = new Uint8Array(await fs.readFile(path.join(folder, name)))
  return files
}
