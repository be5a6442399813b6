import { WeightsError } from '../errors.ts'
import { exists, joinPath, listNames } from './files.ts'
import { modelFolder } from './model-folder.ts'
import { openPytorch } from './pytorch.ts'
import { openSafetensors } from './safetensors.ts'
import { openShards, type ShardFormat } from './shards.ts'
import { openSource } from './source.ts'
import { readTensorFlow } from './tensorflow.ts'
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
/** Google's name of the index of BERT's checkpoints. */
const TENSORFLOW_INDEX = 'bert_model.ckpt.index'

/**
 * Opens the weights of a model folder, of the first format that is there: model.safetensors, its shards (an index.json),
 * pytorch_model.bin, its shards, a TensorFlow checkpoint. A folder of sentence-transformers means its transformer. Every header is
 * checked before this returns. A WeightsError names the folder and what is missing or malformed in it.
 */
export async function openWeights(root: string): Promise<WeightsSource> {
  const folder = await modelFolder(root)
  for (const [name, format] of FILES) {
    const single = joinPath(folder, name)
    if (await exists(single)) return format.open(single)
    const index = `${single}.index.json`
    if (await exists(index)) return openShards(folder, index, format)
  }
  const checkpoint = await findCheckpoint(folder)
  if (checkpoint !== undefined) return openTensorFlow(folder, checkpoint)
  const names = FILES.flatMap(([name]) => [name, `${name}.index.json`])
  throw new WeightsError(`${folder}: found no weights: looked for ${names.join(', ')} and ${TENSORFLOW_INDEX}`)
}

/** The prefix of the folder's TensorFlow checkpoint: Google's name, or whatever name the only one has. */
async function findCheckpoint(folder: string): Promise<string | undefined> {
  const names = await listNames(folder)
  const isIndex = (name: string) =>
    name.endsWith('.index') &&
    names.some((other) => other.startsWith(`${name.slice(0, -'.index'.length)}.data-00000-of-`))
  const found = names.includes(TENSORFLOW_INDEX) ? [TENSORFLOW_INDEX] : names.filter(isIndex)
  if (found.length > 1)
    throw new WeightsError(
      `${folder}: expected one TensorFlow checkpoint, but found ${found.length}: keep the files of one of them`,
    )
  return found[0]?.slice(0, -'.index'.length)
}

async function openTensorFlow(folder: string, prefix: string): Promise<WeightsSource> {
  const index = await openSource(joinPath(folder, `${prefix}.index`))
  const digits = (n: number) => String(n).padStart(5, '0')
  try {
    return await readTensorFlow(index, (i, n) =>
      openSource(joinPath(folder, `${prefix}.data-${digits(i)}-of-${digits(n)}`)),
    )
  } finally {
    await index.close()
  }
}
