import { WeightsError } from '../errors.ts'
import type { ModelFiles } from './model-files.ts'
import { modelFolder } from './model-folder.ts'
import { readPytorch } from './pytorch.ts'
import { readSafetensors } from './safetensors.ts'
import { openShards, readOrClose, type ShardFormat } from './shards.ts'
import type { ByteSource } from './source.ts'
import { readTensorFlow } from './tensorflow.ts'
import type { TensorSource } from './tensors.ts'

/** The weights in a folder, whatever their format, in one file or in several. */
export type WeightsSource = TensorSource

const SAFETENSORS: ShardFormat = { extension: '.safetensors', access: 'in order', read: readSafetensors }
const PYTORCH: ShardFormat = { extension: '.bin', access: 'anywhere', read: readPytorch }
/** What Hugging Face calls the files, in the order in which they are looked for. */
const FILES: readonly (readonly [name: string, format: ShardFormat])[] = [
  ['model.safetensors', SAFETENSORS],
  ['pytorch_model.bin', PYTORCH],
]
/** Google's name of the index of BERT's checkpoints. */
const TENSORFLOW_INDEX = 'bert_model.ckpt.index'

/**
 * Opens the weights among a model's files, of the first format that is there: model.safetensors, its shards (an index.json),
 * pytorch_model.bin, its shards, a TensorFlow checkpoint (in a folder that can be listed). A folder of sentence-transformers means
 * its transformer. Every header is checked before this returns. A WeightsError names the place and what is missing or malformed in it.
 */
export async function openWeights(root: ModelFiles): Promise<WeightsSource> {
  const files = await modelFolder(root)
  for (const [name, format] of FILES) {
    const source = await files.open(name, format.access)
    if (source !== undefined) return readOrClose(source, format)
    const index = `${name}.index.json`
    const text = await files.readText(index)
    if (text !== undefined) return openShards(files, index, text, format)
  }
  const checkpoint = await findCheckpoint(files)
  if (checkpoint !== undefined) return openTensorFlow(files, checkpoint)
  const names = FILES.flatMap(([name]) => [name, `${name}.index.json`])
  throw new WeightsError(`${files.where}: found no weights: looked for ${names.join(', ')} and ${TENSORFLOW_INDEX}`)
}

/** The prefix of a TensorFlow checkpoint: Google's name, or whatever name the only one has. */
async function findCheckpoint(files: ModelFiles): Promise<string | undefined> {
  const names = await files.names()
  const isIndex = (name: string) =>
    name.endsWith('.index') &&
    names.some((other) => other.startsWith(`${name.slice(0, -'.index'.length)}.data-00000-of-`))
  const found = names.includes(TENSORFLOW_INDEX) ? [TENSORFLOW_INDEX] : names.filter(isIndex)
  if (found.length > 1)
    throw new WeightsError(
      `${files.where}: expected one TensorFlow checkpoint, but found ${found.length}: keep the files of one of them`,
    )
  return found[0]?.slice(0, -'.index'.length)
}

async function openTensorFlow(files: ModelFiles, prefix: string): Promise<WeightsSource> {
  const open = async (name: string): Promise<ByteSource> => {
    const source = await files.open(name, 'anywhere')
    if (source === undefined) throw files.absence(name)
    return source
  }
  const digits = (n: number) => String(n).padStart(5, '0')
  const index = await open(`${prefix}.index`)
  try {
    return await readTensorFlow(index, (i, n) => open(`${prefix}.data-${digits(i)}-of-${digits(n)}`))
  } finally {
    await index.close()
  }
}
