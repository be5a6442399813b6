// Small models of every class with random weights, their exports, and what ONNX Runtime makes of them.
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { ARCHITECTURES, type Architecture } from '../../src/export/onnx/architectures.ts'
import { buildGraph } from '../../src/export/onnx/heads.ts'
import { writeSafetensors } from '../../src/formats/safetensors-file.ts'
import * as bertkit from '../../src/index.ts'
import { BertConfig, type BertConfigFields } from '../../src/model/config.ts'
import type { Tensor } from '../../src/tensor.ts'
import { Random } from '../formats/helpers.ts'

export { ARCHITECTURES }

export interface Batch {
  readonly inputIds: Tensor<Int32Array>
  readonly attentionMask: Tensor<Int32Array>
  readonly tokenTypeIds: Tensor<Int32Array>
}
export type Outputs = Record<string, Tensor>

export const smallConfig = (fields: Partial<BertConfigFields> = {}): BertConfig =>
  new BertConfig({
    vocabSize: 37,
    hiddenSize: 24,
    numHiddenLayers: 2,
    numAttentionHeads: 4,
    intermediateSize: 40,
    maxPositionEmbeddings: 20,
    ...fields,
  })

const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1)

/** Values that no initialisation gives: biases and LayerNorm weights away from 0 and 1. */
function randomTensors(shapes: ReadonlyMap<string, readonly number[]>, seed: number): Map<string, Tensor> {
  const random = new Random(seed)
  return new Map(
    Array.from(shapes, ([name, shape]) => {
      const centre = name.endsWith('LayerNorm.weight') ? 1 : 0
      const data = Float32Array.from({ length: elementsOf(shape) }, () => centre + 0.6 * (random.next() - 0.5))
      return [name, { data, shape }]
    }),
  )
}

/** Writes a folder of a class, as savePretrained of that class would, with random weights; returns them. */
export async function writeFolder(
  folder: string,
  architecture: Architecture,
  config: BertConfig,
  seed = 1,
): Promise<Map<string, Tensor>> {
  const { parameters } = buildGraph(architecture, config, { pooler: true }, folder)
  const tensors = randomTensors(parameters, seed)
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'config.json'), config.with({ architectures: [architecture] }).toText())
  const named = Array.from(tensors, ([name, { shape }]) => ({ name, shape }))
  await writeSafetensors(path.join(folder, 'model.safetensors'), named, (name) => tensors.get(name)!.data)
  return tensors
}

/** Token ids with masks of every kind: padding right, padding left, a hole, and a sequence that is hidden whole. */
export function randomBatch(shape: readonly number[], config: BertConfig, seed = 7): Batch {
  const random = new Random(seed)
  const length = shape.at(-1)!
  const tensor = (value: (i: number) => number): Tensor<Int32Array> => ({
    data: Int32Array.from({ length: elementsOf(shape) }, (_, i) => value(i)),
    shape,
  })
  const lengths = Array.from({ length: elementsOf(shape) / length }, () => 1 + random.below(length))
  const visible = (i: number): boolean => {
    const [row, column] = [Math.floor(i / length), i % length]
    if (row % 5 === 1) return column >= length - lengths[row]
    if (row % 5 === 2) return column !== 1
    return row % 5 === 3 ? length === 1 : column < lengths[row]
  }
  return {
    inputIds: tensor(() => random.below(config.vocabSize)),
    attentionMask: tensor((i) => (visible(i) ? 1 : 0)),
    tokenTypeIds: tensor(() => random.below(config.typeVocabSize)),
  }
}

export const modelFile = (folder: string): string => path.join(folder, 'onnx', 'model.onnx')

const int64 = ({ data, shape }: Tensor<Int32Array>): OrtTensor =>
  new OrtTensor('int64', BigInt64Array.from(data, BigInt), shape)

/** Loads an export once and runs it on batches. */
export async function openOnnx(folder: string) {
  const session = await InferenceSession.create(modelFile(folder))
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    async run({ inputIds, attentionMask, tokenTypeIds }: Batch): Promise<Outputs> {
      const results = await session.run({
        input_ids: int64(inputIds),
        attention_mask: int64(attentionMask),
        token_type_ids: int64(tokenTypeIds),
      })
      return Object.fromEntries(
        Object.entries(results).map(([name, { data, dims }]) => [name, { data: data as Float32Array, shape: dims }]),
      )
    },
  }
}

export async function runOnnx(folder: string, batch: Batch): Promise<Outputs> {
  return (await openOnnx(folder)).run(batch)
}

/** The largest |a - b| / max(1, |b|) over all outputs, which must be the same ones in the same shapes. */
export function distance(found: Outputs, expected: Outputs): number {
  let worst = 0
  const describe = (outputs: Outputs) =>
    JSON.stringify(
      Object.keys(outputs)
        .sort()
        .map((name) => [name, [...outputs[name].shape]]),
    )
  if (describe(found) !== describe(expected)) throw new Error(`${describe(found)} is not ${describe(expected)}`)
  for (const [name, { data }] of Object.entries(expected)) {
    for (const [i, value] of data.entries()) {
      const error = Math.abs(found[name].data[i] - value) / Math.max(1, Math.abs(value))
      if (Number.isNaN(error)) return Number.NaN
      worst = Math.max(worst, error)
    }
  }
  return worst
}

/** What the tests use of bertkit's model classes, which differ in their outputs. */
export interface Model {
  eval(): this
  forward(inputs: Batch): Promise<object>
  loadStateDict(state: ReadonlyMap<string, Tensor>, options?: { strict?: boolean }): Promise<unknown>
  parameters(): { name: string; shape: readonly number[] }[]
  dispose(): void
}
interface ModelClass {
  new (config: BertConfig): Model & bertkit.BertModel
  fromPretrained(folder: string): Promise<Model & bertkit.BertModel>
}

/** bertkit's class of that name, or undefined while there is none. */
export const classOf = (architecture: Architecture): ModelClass | undefined =>
  (bertkit as unknown as Record<string, ModelClass | undefined>)[architecture]

/** The reason why a test of a class is skipped, for its name. */
export const absent = (architecture: Architecture): string =>
  classOf(architecture) === undefined ? ` (skipped: bertkit has no ${architecture} yet)` : ''

const isTensor = (value: unknown): value is Tensor => typeof value === 'object' && value !== null && 'shape' in value

/** Outputs of bertkit's own forward under ONNX's names. */
export async function ownOutputs(model: Model, batch: Batch): Promise<Outputs> {
  const outputs = Object.entries(await model.forward(batch)).filter((entry): entry is [string, Tensor] =>
    isTensor(entry[1]),
  )
  return Object.fromEntries(
    outputs.map(([name, tensor]) => [name.replace(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`), tensor]),
  )
}

/** Of the parameters; what else the model stores keeps its values when it loads this without `strict`. */
export const randomState = (model: Model, seed: number): Map<string, Tensor> =>
  randomTensors(new Map(model.parameters().map(({ name, shape }) => [name, shape])), seed)
