// Files that store a decoder's table beside the word embeddings that their config ties it to. Transformers 5.18 compares the two
// (PreTrainedModel.tie_weights) and takes tables that differ apart; here the caller says so.
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WeightsError } from '../../src/errors.ts'
import type { FileMap } from '../../src/formats/given-files.ts'
import { readPytorch } from '../../src/formats/pytorch.ts'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors-file.ts'
import { MemorySource } from '../../src/formats/source.ts'
import type { Piece, TensorSource } from '../../src/formats/tensors.ts'
import { compareTables } from '../../src/formats/tied-tables.ts'
import { exportOnnx } from '../../src/index.ts'
import {
  BertForMaskedLM,
  BertForPreTraining,
  BertForSequenceClassification,
  BertLMHeadModel,
  BertModel,
} from '../../src/session/models.ts'
import type { FromPretrainedOptions } from '../../src/session/options.ts'
import type { PreTrainedModel } from '../../src/session/pretrained.ts'
import type { Tensor } from '../../src/tensor.ts'
import { streamOf } from '../edge/web.ts'
import { archiveOf, stateDictOps } from '../formats/builders.mjs'
import { sameBits, sequences, tinyConfig } from './tiny.ts'

const EMBEDDINGS = 'bert.embeddings.word_embeddings.weight'
const DECODER = 'cls.predictions.decoder.weight'
const BIAS = 'cls.predictions.bias'
const DECODER_BIAS = 'cls.predictions.decoder.bias'
type State = Map<string, Tensor>
interface Loads {
  readonly name: string
  fromPretrained(source: string | FileMap, options?: FromPretrainedOptions): Promise<PreTrainedModel>
}
const CLASSES = [BertForMaskedLM, BertForPreTraining, BertLMHeadModel] as unknown as Loads[]

let root: string
let configJson: string
/** Of a BertForPreTraining, which has all that the other two have. */
let state: State
let embeddings: Tensor
/** The embeddings but for their last number. */
let other: Tensor
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-tied-'))
  // more than one piece of 1 MiB
  using model = new BertForPreTraining(tinyConfig({ vocabSize: 14_000, isDecoder: true }), { seed: 5 })
  state = await model.stateDict()
  configJson = model.config.toText()
  embeddings = state.get(EMBEDDINGS)!
  other = { ...embeddings, data: embeddings.data.slice() }
  other.data[other.data.length - 1] += 1
})
afterAll(() => fs.rm(root, { recursive: true }))

async function folderWith(tensors: State, config = configJson): Promise<string> {
  const folder = await fs.mkdtemp(path.join(root, 'model-'))
  await fs.writeFile(path.join(folder, 'config.json'), config)
  const shapes = Array.from(tensors, ([name, { shape }]) => ({ name, shape }))
  await writeSafetensors(path.join(folder, 'model.safetensors'), shapes, (name) => tensors.get(name)!.data)
  return folder
}
const twice = (table: Tensor): State => new Map(state).set(DECODER, table)

async function refusal(loading: Promise<PreTrainedModel>): Promise<string> {
  const error: unknown = await loading.then(
    (model) => model.dispose(),
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(WeightsError)
  const { message } = error as WeightsError
  for (const part of [EMBEDDINGS, DECODER, 'tieWordEmbeddings: false']) expect(message).toContain(part)
  return message
}

describe('two tables that differ', () => {
  it.each(CLASSES.map((Model) => [Model.name, Model] as const))(
    '%s refuses, and loads as it is told',
    async (_, Model) => {
      const folder = await folderWith(twice(other))
      expect(await refusal(Model.fromPretrained(folder))).toMatch(new RegExp(`^${folder}: `))
      using untied = await Model.fromPretrained(folder, { tieWordEmbeddings: false })
      const both = await untied.stateDict()
      expect(sameBits(both.get(EMBEDDINGS)!.data, embeddings.data)).toBe(true)
      expect(sameBits(both.get(DECODER)!.data, other.data)).toBe(true)
      using tied = await Model.fromPretrained(folder, { tieWordEmbeddings: true })
      expect(sameBits((await tied.stateDict()).get(EMBEDDINGS)!.data, embeddings.data)).toBe(true)
    },
  )

  it('of a config that says so are two', async () => {
    const config = JSON.stringify({ ...JSON.parse(configJson), tie_word_embeddings: false })
    using model = await BertForMaskedLM.fromPretrained(await folderWith(twice(other), config))
    expect((await model.stateDict()).has(DECODER)).toBe(true)
  })

  it.each(['float32', 'bfloat16', 'int8'] as const)('are found in %s', async (dtype) => {
    await refusal(BertForMaskedLM.fromPretrained(await folderWith(twice(other)), { dtype }))
    using model = await BertForMaskedLM.fromPretrained(await folderWith(twice(embeddings)), { dtype })
    expect(model.dtype).toBe(dtype)
  })

  it('are found in whatever order they come, under names without a prefix too', async () => {
    const turned = new Map([[DECODER, other], ...[...state].reverse()])
    await refusal(BertForMaskedLM.fromPretrained(await folderWith(turned)))
    const bare = new Map([...twice(other)].map(([name, tensor]) => [name.replace(/^bert\./, ''), tensor]))
    const loading = BertForMaskedLM.fromPretrained(await folderWith(bare))
    await expect(loading).rejects.toThrow(/embeddings\.word_embeddings\.weight and cls\.predictions\.decoder\.weight/)
  })

  it('are found in a stream, which passes once', async () => {
    const files = async (table: Tensor) => {
      const bytes = await fs.readFile(path.join(await folderWith(twice(table)), 'model.safetensors'))
      return { 'config.json': configJson, 'model.safetensors': streamOf(new Uint8Array(bytes), 100_000) }
    }
    await refusal(BertForMaskedLM.fromPretrained(await files(other)))
    using model = await BertForMaskedLM.fromPretrained(await files(embeddings))
    expect(sameBits((await model.stateDict()).get(EMBEDDINGS)!.data, embeddings.data)).toBe(true)
  })

  it('are found in two shards', async () => {
    const shardsOf = async (table: Tensor): Promise<string> => {
      const folder = await folderWith(state)
      const index = Object.fromEntries([...state.keys()].map((name) => [name, 'model.safetensors']))
      const shard = path.basename('model-00002-of-00002.safetensors')
      await writeSafetensors(path.join(folder, shard), [{ name: DECODER, shape: table.shape }], () => table.data)
      await fs.rename(path.join(folder, 'model.safetensors'), path.join(folder, 'model-00001-of-00002.safetensors'))
      for (const name of Object.keys(index)) index[name] = 'model-00001-of-00002.safetensors'
      const map = JSON.stringify({ weight_map: { ...index, [DECODER]: shard } })
      await fs.writeFile(path.join(folder, 'model.safetensors.index.json'), map)
      return folder
    }
    await refusal(BertForMaskedLM.fromPretrained(await shardsOf(other)))
    using model = await BertForMaskedLM.fromPretrained(await shardsOf(embeddings))
    expect(model.loadReport?.missing).toEqual([])
  })

  it('may be of two shapes, of which the other is left out where that is asked for', async () => {
    const longer = { data: new Float32Array(21 * 20), shape: [21, 20] }
    const folder = await folderWith(twice(longer))
    await refusal(BertForMaskedLM.fromPretrained(folder))
    using model = await BertForMaskedLM.fromPretrained(folder, { ignoreMismatchedSizes: true })
    expect(sameBits((await model.stateDict()).get(EMBEDDINGS)!.data, embeddings.data)).toBe(true)
  })

  it('do not matter to a class that has no output for words', async () => {
    const folder = await folderWith(twice(other))
    for (const Model of [BertModel, BertForSequenceClassification] as unknown as Loads[]) {
      using model = await Model.fromPretrained(folder)
      expect(model.loadReport?.unexpected).toContain(DECODER)
    }
  })

  it('are not exported as one', async () => {
    const folder = await folderWith(twice(other))
    const out = path.join(root, 'onnx')
    const exporting = (architecture: 'BertForMaskedLM' | 'BertForPreTraining') =>
      exportOnnx(folder, out, { architecture })
    for (const architecture of ['BertForMaskedLM', 'BertForPreTraining'] as const) {
      await expect(exporting(architecture)).rejects.toThrow(WeightsError)
      await expect(exporting(architecture)).rejects.toThrow(/tieWordEmbeddings: false/)
    }
    expect((await exportOnnx(folder, out, { architecture: 'BertForNextSentencePrediction' })).files).not.toEqual([])
    const same = await folderWith(twice(embeddings))
    expect((await exportOnnx(same, out, { architecture: 'BertForMaskedLM' })).files).not.toEqual([])
  })
})

describe('two tables that are equal', () => {
  it('are one', async () => {
    using model = await BertForMaskedLM.fromPretrained(await folderWith(twice(embeddings)))
    expect(model.loadReport?.unexpected.filter((name) => name.startsWith('cls.predictions'))).toEqual([])
    expect(sameBits((await model.stateDict()).get(EMBEDDINGS)!.data, embeddings.data)).toBe(true)
  })

  it('of one storage of PyTorch are not read twice', async () => {
    const bytes = (tensor: Tensor) => new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)
    const pickled = (tensors: State): Uint8Array => {
      const keys = new Map([...new Set(tensors.values())].map((tensor, i) => [tensor, String(i)]))
      const views = Array.from(tensors, ([name, tensor]) => ({
        name,
        storage: { key: keys.get(tensor)!, type: 'FloatStorage', size: tensor.data.length },
        offset: 0,
        shape: [...tensor.shape],
        strides: tensor.shape.map((__, axis) => tensor.shape.slice(axis + 1).reduce((a, b) => a * b, 1)),
      }))
      return archiveOf(
        stateDictOps(views),
        Object.fromEntries(Array.from(keys, ([tensor, key]) => [key, bytes(tensor)])),
      )
    }
    const load = (tensors: State) =>
      BertForMaskedLM.fromPretrained({ 'config.json': configJson, 'pytorch_model.bin': pickled(tensors) })
    using model = await load(twice(embeddings))
    expect(sameBits((await model.stateDict()).get(EMBEDDINGS)!.data, embeddings.data)).toBe(true)
    await refusal(load(twice(other)))
    for (const [table, isSame] of [[embeddings, true] as const, [other, false] as const]) {
      const source = await readPytorch(new MemorySource('file', pickled(twice(table))))
      expect([source.isSame?.(EMBEDDINGS, DECODER), source.isSame?.(EMBEDDINGS, BIAS)]).toEqual([isSame, false])
    }
  })
})

describe('compareTables', () => {
  const twins = [{ stored: EMBEDDINGS, alias: DECODER }]
  /** Counts what is read. */
  function watched(source: TensorSource, isSame: boolean) {
    const read: string[] = []
    const counting: TensorSource = {
      tensors: source.tensors,
      read: (name) => source.read(name),
      readRaw: (name) => source.readRaw(name),
      isSame: () => isSame,
      close: () => source.close(),
      async *pieces(name): AsyncGenerator<Piece> {
        read.push(name)
        yield* source.pieces(name)
      },
    }
    return { counting, read }
  }

  it('reads the two tables once each, and nothing of what is one place', async () => {
    const source = await openSafetensors(path.join(await folderWith(twice(embeddings)), 'model.safetensors'))
    const apart = watched(source, false)
    await compareTables('here', apart.counting, twins)
    expect(apart.read.toSorted()).toEqual([EMBEDDINGS, DECODER].toSorted())
    const one = watched(source, true)
    await compareTables('here', one.counting, twins)
    expect(one.read).toEqual([])
    const none = watched(source, false)
    await compareTables('here', none.counting, [])
    expect(none.read).toEqual([])
    await source.close()
  })

  it('sees two values that have changed places, and one bit', async () => {
    const changed = async (change: (data: Float32Array) => void) => {
      const table = { ...embeddings, data: embeddings.data.slice() }
      change(table.data)
      const source = await openSafetensors(path.join(await folderWith(twice(table)), 'model.safetensors'))
      return compareTables('here', source, twins).finally(() => source.close())
    }
    await changed(() => {})
    const flip = (data: Float32Array): void => {
      const bits = new Int32Array(data.buffer, data.byteOffset, data.length)
      bits[100_000] ^= 1
    }
    // the first row is of padding, and zero
    const swap = (data: Float32Array): void => data.set([data[28], data[27]], 27)
    const reverse = (data: Float32Array): void => data.set(data.slice(20, 40).reverse(), 20)
    const negate = (data: Float32Array): void => data.set(data.map((value) => -value))
    for (const change of [flip, swap, reverse, negate])
      await expect(changed(change)).rejects.toThrow(/here: .*two different tables/)
  })
})

it('of two biases, the decoder’s counts, as in Transformers', async () => {
  const bias = { ...state.get(BIAS)!, data: state.get(BIAS)!.data.map((_, i) => Math.sin(i)) }
  using model = await BertForMaskedLM.fromPretrained(await folderWith(new Map(state).set(DECODER_BIAS, bias)))
  expect(model.loadReport?.unexpected.filter((name) => name.startsWith('cls.predictions'))).toEqual([])
  expect(sameBits((await model.stateDict()).get(BIAS)!.data, bias.data)).toBe(true)
  using untied = await BertForMaskedLM.fromPretrained(await folderWith(twice(embeddings).set(DECODER_BIAS, bias)), {
    tieWordEmbeddings: false,
  })
  const inputs = { inputIds: sequences([4]) }
  expect((await model.forward(inputs)).logits).toEqual((await untied.forward(inputs)).logits)
})
