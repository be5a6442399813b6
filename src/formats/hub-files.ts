// Which files of a model are needed for what.
import { HubError } from '../errors.ts'
import { isJsonObject, parseJson } from '../json.ts'
import type { ModelPart } from '../platform.ts'

interface Needs {
  readonly ifThere: readonly string[]
  readonly always: readonly string[]
  /** The first of these that is there. */
  readonly oneOf: readonly string[]
}

const MODULES = 'modules.json'
const GENERATION_CONFIG = 'generation_config.json'
const OF_MODULES = ['1_Pooling/config.json', 'sentence_bert_config.json']

const NEEDS: Readonly<Record<ModelPart, Needs>> = {
  config: { ifThere: [], always: ['config.json'], oneOf: [] },
  tokenizer: {
    ifThere: ['tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json', 'vocab.txt'],
    always: [],
    oneOf: ['tokenizer.json', 'vocab.txt'],
  },
  model: {
    // how a decoder generates; and what sentence-transformers writes: how token vectors become one, and of how many tokens
    ifThere: [GENERATION_CONFIG, MODULES, ...OF_MODULES],
    always: ['config.json'],
    oneOf: ['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json'],
  },
}

/** Files without which a part could mean something else. */
const DECISIVE: Readonly<Record<ModelPart, readonly string[]>> = {
  config: [],
  // whether a vocabulary is lower-cased
  tokenizer: ['tokenizer_config.json'],
  // how token vectors become one, and how a decoder generates: Python's AutoModel fills a cache without them
  model: [MODULES, GENERATION_CONFIG],
}

/** Files that a model may lack. */
export const optionalFiles = (part: ModelPart): readonly string[] => NEEDS[part].ifThere

/** Files without which a cached part could mean something else; `has` says whether a file is cached. */
export const decisiveFiles = async (
  part: ModelPart,
  has: (file: string) => Promise<boolean>,
): Promise<readonly string[]> => (part === 'model' && (await has(MODULES)) ? [MODULES, ...OF_MODULES] : DECISIVE[part])

/** A snapshot or a repository. */
export interface FileList {
  has(file: string): boolean | Promise<boolean>
  /** The text of a file that is there. */
  read(file: string): Promise<string>
}

export interface FileChoice {
  /** In the order to fetch them: those without which the rest is of no use come last, so that they show completeness. */
  readonly files: string[]
  /** What a part cannot do without, in words; undefined if all is there. */
  readonly missing: string | undefined
}

const MAX_SHARDS = 512

/** File names of an index's weight_map, each a plain name beside the index. */
function shardsOf(text: string, index: string): string[] {
  const fail = (reason: string) => new HubError(`${index}: ${reason}`, 'invalid')
  const json = parseJson(text, fail)
  const map = isJsonObject(json) ? json.weight_map : undefined
  if (!isJsonObject(map)) throw fail('expected weight_map to be an object')
  const names = [...new Set(Object.values(map))]
  if (names.length === 0 || names.length > MAX_SHARDS) throw fail(`expected 1 to ${MAX_SHARDS} shards`)
  return names.map((name) => {
    if (typeof name === 'string' && /^\w[\w.+-]{0,240}\.(safetensors|bin)$/.test(name)) return name
    throw fail('expected weight_map to name .safetensors or .bin files in the same folder')
  })
}

/** Chooses the files of a part among those that are there. */
export async function chooseFiles(part: ModelPart, list: FileList): Promise<FileChoice> {
  const { ifThere, always, oneOf } = NEEDS[part]
  const there = async (names: readonly string[]): Promise<string[]> => {
    const has = await Promise.all(names.map((name) => list.has(name)))
    return names.filter((_, i) => has[i])
  }
  const [main] = await there(oneOf)
  const needed = main === undefined ? [] : [main]
  if (main?.endsWith('.index.json')) needed.push(...shardsOf(await list.read(main), main))
  needed.push(...always)
  const found = await there(needed)
  const lacking = needed.filter((name) => !found.includes(name))
  if (main === undefined && oneOf.length > 0) lacking.push(oneOf.join(' or '))
  return {
    files: [...new Set([...(await there(ifThere)), ...found])],
    missing: lacking.length === 0 ? undefined : lacking.slice(0, 5).join(', '),
  }
}
