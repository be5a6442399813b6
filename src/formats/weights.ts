import { WeightsError } from '../errors.ts'
import { exists, joinPath } from './files.ts'
import { modelFolder } from './model-folder.ts'
import { openPytorch } from './pytorch.ts'
import { openSafetensors } from './safetensors.ts'
import { openShards, type ShardFormat } from './shards.ts'
import type { TensorSource } from './tensors.ts'

/** The weights in a folder, whatever their format, in one file or in several. */
export type WeightsSource = TensorSource

const SAFETENSORS: ShardFormat = { extension: '.safetensors', open: openSafetensors }
const PYTORCH: ShardFormat = { extension: '.bin', open: openPytorch }
/** What Hugging Face calls the files, in the order in which they are looked for. */
const FILES: readonly (readonly [name: string, format: ShardFormat])[] = [
  ['model.safetensors', SAFETENSORS],
  ['pytorch_model.bin', PYTORCH],
]

/**
 * Opens the weights of a model folder, of the first format that is there: model.safetensors, its shards (an index.json),
 * pytorch_model.bin, its shards. A folder of sentence-transformers means its transformer. Every header is checked before this
 * returns. A WeightsError names the folder and what is missing or malformed in it.
 */
export async function openWeights(root: string): Promise<WeightsSource> {
  const folder = await modelFolder(root)
  for (const [name, format] of FILES) {
    const single = joinPath(folder, name)
    if (await exists(single)) return format.open(single)
    const index = `${single}.index.json`
    if (await exists(index)) return openShards(folder, index, format)
  }
  const names = FILES.flatMap(([name]) => [name, `${name}.index.json`])
  throw new WeightsError(`${folder}: found no weights: looked for ${names.join(', ')}`)
}
