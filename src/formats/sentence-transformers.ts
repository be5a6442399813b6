import { WeightsError } from '../errors.ts'
import { isJsonObject, type JsonObject, type JsonValue, kindOf, parseJson, quote } from '../json.ts'
import type { ModelFiles } from './model-files.ts'
import { isPlainName } from './shards.ts'

// A folder as sentence-transformers saves it: modules.json lists what computes an embedding, one after another, each with a folder of its own
// for its config; the transformer's is often the root itself (sentence_transformers/models/{Transformer,Pooling,Normalize}.py).

/** How token vectors become one: the key of Pooling's config, in the order in which several of them are joined. */
const POOLING_KEYS = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_mean_sqrt_len_tokens: 'mean_sqrt_len',
  pooling_mode_weightedmean_tokens: 'weightedmean',
  pooling_mode_lasttoken: 'lasttoken',
} as const
export type PoolingMode = (typeof POOLING_KEYS)[keyof typeof POOLING_KEYS]
const POOLING_MODES: readonly PoolingMode[] = Object.values(POOLING_KEYS)
const MAX_MODULES = 64

type Fail = (reason: string) => WeightsError

export interface SentenceModule {
  /** The class without its package: Transformer, Pooling, Normalize, Dense, ... */
  readonly type: string
  /** A folder in the model's folder; '' is the model's folder itself. */
  readonly path: string
}

export interface SentenceTransformerInfo {
  /** What pools, several joined in this order; undefined without a Pooling module. */
  readonly pooling: readonly PoolingMode[] | undefined
  /** Whether embeddings are scaled to length 1. */
  readonly normalize: boolean
  /** The longest input in tokens, where the folder says so. */
  readonly maxSeqLength: number | undefined
  /** Types of modules beyond Transformer, Pooling and Normalize, without which the embedding is another one. */
  readonly others: readonly string[]
}

const failIn =
  (file: string): Fail =>
  (reason) =>
    new WeightsError(`${file}: ${reason}`)

/** The content of a file, checked by `parse`; undefined where it is not there. */
async function readJson<Result>(
  files: ModelFiles,
  name: string,
  parse: (json: JsonValue, fail: Fail) => Result,
): Promise<Result | undefined> {
  const text = await files.readText(name)
  if (text === undefined) return undefined
  const fail = failIn(files.pathOf(name))
  return parse(parseJson(text, fail), fail)
}

/** The modules of a folder in their order; undefined where it has no modules.json. */
export const readModules = (root: ModelFiles): Promise<SentenceModule[] | undefined> =>
  readJson(root, 'modules.json', parseModules)

const own = (json: JsonObject, key: string): JsonValue | undefined => (Object.hasOwn(json, key) ? json[key] : undefined)

/** Checks the content of modules.json: a path is a plain name of a folder, so that nothing outside is read. */
export function parseModules(json: JsonValue, fail: Fail): SentenceModule[] {
  if (!Array.isArray(json)) throw fail(`expected a list of modules, but found ${kindOf(json)}`)
  if (json.length > MAX_MODULES) throw fail(`it lists ${json.length} modules; at most ${MAX_MODULES} are accepted`)
  return json.map((module, i) => {
    if (!isJsonObject(module)) throw fail(`expected module ${i} to be an object, but found ${kindOf(module)}`)
    const [type, path] = [own(module, 'type'), own(module, 'path')]
    if (typeof type !== 'string' || type === '')
      throw fail(`expected module ${i} to have the name of a class as its type, but found ${quote(type)}`)
    if (typeof path !== 'string' || (path !== '' && !isPlainName(path)))
      throw fail(`module ${i}: expected path to be the name of a folder in this one, but found ${quote(path)}`)
    return { type: type.slice(type.lastIndexOf('.') + 1), path }
  })
}

/** The content of a Pooling module's config.json: flags, or `pooling_mode` as newer versions write it. */
export function parsePooling(json: JsonValue, fail: Fail): PoolingMode[] {
  if (!isJsonObject(json)) throw fail(`expected an object, but found ${kindOf(json)}`)
  const flag = (key: string): boolean => {
    const value = own(json, key) ?? false
    if (typeof value !== 'boolean') throw fail(`expected ${key} to be true or false, but found ${quote(value)}`)
    return value
  }
  const flagged = Object.entries(POOLING_KEYS).flatMap(([key, mode]) => (flag(key) ? [mode] : []))
  const named = own(json, 'pooling_mode')
  const modes = named === undefined || named === null ? flagged : Array.isArray(named) ? named : [named]
  const pooling = POOLING_MODES.filter((mode) => modes.includes(mode))
  if (pooling.length === 0 || pooling.length !== modes.length)
    throw fail(
      `expected one or more pooling modes of ${POOLING_MODES.join(', ')}, but found ${quote(named ?? flagged)}`,
    )
  return pooling
}

/** max_seq_length of sentence_bert_config.json; undefined where it leaves that to the tokenizer. */
export function parseMaxSeqLength(json: JsonValue, fail: Fail): number | undefined {
  if (!isJsonObject(json)) throw fail(`expected an object, but found ${kindOf(json)}`)
  const value = own(json, 'max_seq_length') ?? undefined
  if (value === undefined || (Number.isSafeInteger(value) && (value as number) > 0)) return value as number | undefined
  throw fail(`expected max_seq_length to be a positive integer or null, but found ${quote(value)}`)
}

/**
 * How a folder of sentence-transformers makes embeddings; undefined where the folder is none. A WeightsError names the file and
 * what is wrong in it.
 */
export async function readSentenceTransformer(root: ModelFiles): Promise<SentenceTransformerInfo | undefined> {
  const modules = await readModules(root)
  if (modules === undefined) return undefined
  const transformers = modules.filter(({ type }) => type === 'Transformer')
  if (transformers.length !== 1)
    throw failIn(root.pathOf('modules.json'))(`expected one Transformer, but found ${transformers.length}`)
  const transformer = root.folder(transformers[0].path)
  const pooler = modules.find(({ type }) => type === 'Pooling')
  let pooling: PoolingMode[] | undefined
  if (pooler !== undefined) {
    const files = root.folder(pooler.path)
    pooling = await readJson(files, 'config.json', parsePooling)
    if (pooling === undefined) throw files.absence('config.json')
  }
  return {
    pooling,
    normalize: modules.some(({ type }) => type === 'Normalize'),
    maxSeqLength: await readJson(transformer, 'sentence_bert_config.json', parseMaxSeqLength),
    others: modules.map(({ type }) => type).filter((type) => !['Transformer', 'Pooling', 'Normalize'].includes(type)),
  }
}
