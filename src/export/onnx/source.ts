import { BertTokenizer } from '../../data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../../errors.ts'
import type { ModelFiles } from '../../formats/model-files.ts'
import { openModelFiles } from '../../formats/pretrained-source.ts'
import type { TensorSource } from '../../formats/tensors.ts'
import { openWeights } from '../../formats/weights.ts'
import { kindOf } from '../../json.ts'
import { BertConfig } from '../../model/config.ts'
import { refuseInt8 } from '../../session/int8-weights.ts'
import { PreTrainedModel } from '../../session/pretrained.ts'

/** What is exported, wherever it comes from. */
export interface ModelSource {
  /** Begins errors. */
  readonly where: string
  readonly config: BertConfig
  /** The name of its class, if it says one. */
  readonly architecture: string | undefined
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>
  read(name: string): Promise<Float32Array>
  /** The tensors of a folder; undefined: it is a model, which has no tensor twice. */
  readonly stored?: TensorSource
  tokenizer(): Promise<BertTokenizer | undefined>
}

async function tokenizerOf(files: ModelFiles): Promise<BertTokenizer | undefined> {
  for (const name of ['tokenizer.json', 'vocab.txt'])
    if ((await files.read(name)) !== undefined) return BertTokenizer.fromPretrained(files)
  return undefined
}

async function withFolder<Result>(name: string, use: (source: ModelSource) => Promise<Result>): Promise<Result> {
  const files = await openModelFiles(name, 'model')
  const config = await BertConfig.fromPretrained(files)
  const weights = await openWeights(files)
  try {
    return await use({
      where: files.where,
      config,
      architecture: config.architectures?.[0],
      tensors: weights.tensors,
      read: (name) => weights.read(name),
      stored: weights,
      tokenizer: () => tokenizerOf(files),
    })
  } finally {
    await weights.close()
  }
}

/** A model's weights do not change while `use` runs: what is asked of the model meanwhile waits. */
function withModel<Result>(model: PreTrainedModel, use: (source: ModelSource) => Promise<Result>): Promise<Result> {
  const { runtime, config } = model
  refuseInt8(runtime.int8, 'exportOnnx')
  const { tensors } = runtime.layout
  const source: ModelSource = {
    where: model.architecture,
    config,
    architecture: model.architecture,
    tensors,
    read: async (name) => runtime.readTensor(tensors.get(name)!),
    tokenizer: async () => undefined,
  }
  return runtime.exclusive(() => use(source))
}

/** Opens a model, or the folder of one, for as long as `use` takes. */
export function withSource<Result>(
  model: PreTrainedModel | string,
  use: (source: ModelSource) => Promise<Result>,
): Promise<Result> {
  if (typeof model === 'string') return withFolder(model, use)
  if (model instanceof PreTrainedModel) return withModel(model, use)
  throw new ArgumentError(`Expected a model or the path of its folder but received ${kindOf(model)}`)
}
