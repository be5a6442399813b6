// Whole models from and to every kind of folder.
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { WeightsError } from '../../src/errors.ts'
import { crc32c } from '../../src/formats/crc.ts'
import { BertConfig, BertModel, type Tensor } from '../../src/index.ts'
import { archiveOf, bundleOf, stateDictOps } from './builders.mjs'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

type State = Map<string, Tensor>
let root: string
let saved: string
let state: State
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'bertkit-models-'))
  saved = join(root, 'saved')
  const config = { vocabSize: 30, hiddenSize: 8, numHiddenLayers: 2, numAttentionHeads: 2, intermediateSize: 16 }
  const model = new BertModel(new BertConfig({ ...config, maxPositionEmbeddings: 12 }))
  await model.savePretrained(saved)
  state = await model.stateDict()
  model.dispose()
})

async function load(folder: string): Promise<State> {
  const model = await BertModel.fromPretrained(folder)
  try {
    expect(model.loadReport).toEqual({ missing: [], unexpected: [], mismatched: [] })
    return await model.stateDict()
  } finally {
    model.dispose()
  }
}

function expectEqual(found: State, expected = state): void {
  expect([...found.keys()]).toEqual([...expected.keys()])
  for (const [name, { data, shape }] of expected) {
    expect(found.get(name)?.shape, name).toEqual(shape)
    expect(Buffer.from(found.get(name)!.data.buffer).equals(Buffer.from(data.buffer)), name).toBe(true)
  }
}

async function newFolder(name: string, configName = 'config.json'): Promise<string> {
  const folder = join(root, name)
  await mkdir(folder, { recursive: true })
  await copyFile(join(saved, 'config.json'), join(folder, configName))
  return folder
}
const bytes = ({ data }: Tensor) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** A pytorch_model.bin of some tensors, all in one storage, as views of it. */
function pickled(names: readonly string[], rename = (name: string) => name): Uint8Array {
  const all = Buffer.concat(names.map((name) => bytes(state.get(name)!)))
  const storage = { key: '0', type: 'FloatStorage', size: all.length / 4 }
  let offset = 0
  const tensors = names.map((name) => {
    const { shape, data } = state.get(name)!
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1))
    offset += data.length
    return { name: rename(name), storage, offset: offset - data.length, shape: [...shape], strides }
  })
  return archiveOf(stateDictOps(tensors), { 0: all })
}

it('savePretrained with shards is what fromPretrained reads', async () => {
  const model = await BertModel.fromPretrained(saved)
  const folder = join(root, 'sharded')
  await model.savePretrained(folder, { maxShardSize: '2KB' })
  expect((await readdir(folder)).filter((name) => /^model-0000\d-of-0000\d\.safetensors$/.test(name)).length).toBe(4)
  expectEqual(await load(folder))
  await model.savePretrained(folder)
  expect((await readdir(folder)).sort()).toEqual(['config.json', 'model.safetensors'])
  expect(
    (await readFile(join(folder, 'model.safetensors'))).equals(await readFile(join(saved, 'model.safetensors'))),
  ).toBe(true)
  model.dispose()
})

it('pytorch_model.bin, with old names of LayerNorm too', async () => {
  const folder = await newFolder('bin')
  const old = (name: string) =>
    name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
  for (const rename of [(name: string) => name, old, (name: string) => `bert.${name}`]) {
    await writeFile(join(folder, 'pytorch_model.bin'), pickled([...state.keys()], rename))
    expectEqual(await load(folder))
  }
})

it('names with module. before them are unknown, as in Transformers, and one that is known lets the others be new', async () => {
  const folder = await newFolder('module')
  await writeFile(
    join(folder, 'pytorch_model.bin'),
    pickled([...state.keys()], (name) => `module.${name}`),
  )
  await expect(BertModel.fromPretrained(folder)).rejects.toThrow(
    /found none of them; there are 39 others, such as "module\./,
  )
  const [known, ...others] = state.keys()
  await writeFile(
    join(folder, 'pytorch_model.bin'),
    pickled([...state.keys()], (name) => (name === known ? name : `module.${name}`)),
  )
  using model = await BertModel.fromPretrained(folder)
  expect(model.loadReport?.missing).toEqual(others)
  expect(model.loadReport?.unexpected.length).toBe(state.size - 1)
})

it('shards of pytorch_model.bin', async () => {
  const folder = await newFolder('bin-shards')
  const names = [...state.keys()]
  const files = [names.slice(0, 9), names.slice(9)]
  const file = (i: number) => `pytorch_model-0000${i + 1}-of-00002.bin`
  for (const [i, each] of files.entries()) await writeFile(join(folder, file(i)), pickled(each))
  const map = Object.fromEntries(files.flatMap((each, i) => each.map((name) => [name, file(i)])))
  await writeFile(join(folder, 'pytorch_model.bin.index.json'), JSON.stringify({ metadata: {}, weight_map: map }))
  expectEqual(await load(folder))
  await rm(join(folder, file(1)))
  await expect(BertModel.fromPretrained(folder)).rejects.toThrow(WeightsError)
  await expect(BertModel.fromPretrained(folder)).rejects.toThrow(
    /the shard "pytorch_model-00002-of-00002.bin" is not in/,
  )
  const outside = { weight_map: { a: 'model.safetensors' } }
  await writeFile(join(folder, 'pytorch_model.bin.index.json'), JSON.stringify(outside))
  await expect(BertModel.fromPretrained(folder)).rejects.toThrow(/expected the name of a \.bin file in the folder/)
})

it('safetensors go before pytorch_model.bin', async () => {
  const folder = await newFolder('both')
  await writeFile(join(folder, 'pytorch_model.bin'), 'broken')
  await expect(BertModel.fromPretrained(folder)).rejects.toThrow(/pytorch_model\.bin: it begins neither/)
  await copyFile(join(saved, 'model.safetensors'), join(folder, 'model.safetensors'))
  expectEqual(await load(folder))
})

it('a TensorFlow checkpoint in two files, with bert_config.json', async () => {
  const folder = await newFolder('tensorflow', 'bert_config.json')
  const variables = Array.from(state, ([name, tensor], i) => {
    const scope = `bert/${name.replace(/layer\.(\d+)/, 'layer_$1').replaceAll('.', '/')}`
    const shard = i % 2
    if (/_embeddings\.weight$/.test(name))
      return { name: scope.replace(/\/weight$/, ''), shape: [...tensor.shape], data: bytes(tensor), shard }
    if (/LayerNorm/.test(name)) {
      const last = scope.replace(/weight$/, 'gamma').replace(/bias$/, 'beta')
      return { name: last, shape: [...tensor.shape], data: bytes(tensor), shard }
    }
    if (name.endsWith('bias')) return { name: scope, shape: [...tensor.shape], data: bytes(tensor), shard }
    const [outputs, inputs] = tensor.shape
    const kernel = Float32Array.from(
      tensor.data,
      (_, k) => tensor.data[(k % outputs) * inputs + Math.floor(k / outputs)],
    )
    return {
      name: scope.replace(/weight$/, 'kernel'),
      shape: [inputs, outputs],
      data: new Uint8Array(kernel.buffer),
      shard,
    }
  })
  const { index, data } = bundleOf(variables, { dataFiles: 2, crc: crc32c })
  await writeFile(join(folder, 'bert_model.ckpt.index'), index)
  for (const [i, each] of data.entries()) await writeFile(join(folder, `bert_model.ckpt.data-0000${i}-of-00002`), each)
  expectEqual(await load(folder))
  await rm(join(folder, 'bert_model.ckpt.data-00001-of-00002'))
  await expect(BertModel.fromPretrained(folder)).rejects.toThrow(/bert_model\.ckpt\.data-00001-of-00002: no such file/)
})

it('a folder of sentence-transformers with its transformer inside', async () => {
  const folder = join(root, 'sentence')
  const inner = await newFolder(join('sentence', '0_Transformer'))
  await copyFile(join(saved, 'model.safetensors'), join(inner, 'model.safetensors'))
  const type = 'sentence_transformers.models.Transformer'
  await writeFile(join(folder, 'modules.json'), JSON.stringify([{ idx: 0, name: '0', path: '0_Transformer', type }]))
  expectEqual(await load(folder))
})

it('a weight that was changed on the disk stops a load', async () => {
  const folder = await newFolder('changed')
  const file = pickled([...state.keys()])
  const at = Buffer.from(file).indexOf(Buffer.from(bytes(state.get('pooler.dense.weight')!)))
  file[at] ^= 1
  await writeFile(join(folder, 'pytorch_model.bin'), file)
  await expect(BertModel.fromPretrained(folder)).rejects.toThrow(/"model\/data\/0": its checksum is wrong/)
})

it.skipIf(!reference)(`Google’s format gives the model that Transformers made of it${needsReference}`, async () => {
  const folder = join(reference ?? '', 'data/weights/keras_bert_test_checkpoint')
  const [found, expected] = await Promise.all(
    [folder, join(folder, 'hf')].map((each) => BertModel.fromPretrained(each)),
  )
  expect(found.loadReport?.missing).toEqual([])
  expectEqual(await found.stateDict(), await expected.stateDict())
  const inputs = { inputIds: [[2, 5, 6, 7, 3]] }
  expect((await found.forward(inputs)).poolerOutput.data).toEqual((await expected.forward(inputs)).poolerOutput.data)
  found.dispose()
  expected.dispose()
})
