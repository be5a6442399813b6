// Reads the files of a tokenizer folder: tokenizer.json, vocab.txt, tokenizer_config.json; of older versions of Transformers also
// special_tokens_map.json and added_tokens.json.
import { DataError } from '../../errors.ts'
import type { ModelFiles } from '../../formats/model-files.ts'
import { modelFolder } from '../../formats/model-folder.ts'
import { isJsonObject, type JsonObject, quote } from '../../json.ts'
import { defined } from '../../options.ts'
import { type AddedToken, specialToken } from './added-tokens.ts'
import { AN_ID, Fields, isId, readFields } from './json-fields.ts'
import { checkGenericTokenizer, isGenericClass } from './tokenizer-class.ts'
import type { TruncationSide } from './truncation.ts'

/** Names of the five special tokens of BERT. */
export interface SpecialTokens {
  unkToken: string
  sepToken: string
  padToken: string
  clsToken: string
  maskToken: string
}

export const DEFAULT_SPECIAL: SpecialTokens = {
  unkToken: '[UNK]',
  sepToken: '[SEP]',
  padToken: '[PAD]',
  clsToken: '[CLS]',
  maskToken: '[MASK]',
}

/** What a folder says; what it leaves open is undefined. */
export interface TokenizerFolder {
  vocabulary: Map<string, number>
  /** Where the vocabulary came from, for errors. */
  file: string
  addedTokens: Omit<AddedToken, 'id'>[]
  /** Ids of added tokens as the files give them. */
  addedIds: Map<string, number>
  special: Partial<SpecialTokens>
  /** Special tokens that files name otherwise, as bos_token and eos_token, by their keys. */
  namedTokens: Map<string, string>
  /** Special tokens without a name of their own. */
  furtherTokens: string[]
  continuingSubwordPrefix?: string
  maxInputCharsPerWord?: number
  cleanText?: boolean
  tokenizeChineseChars?: boolean
  /** null follows `doLowerCase`. */
  stripAccents?: boolean | null
  doLowerCase?: boolean
  modelMaxLength?: number
  cleanUpTokenizationSpaces?: boolean
  truncationSide?: TruncationSide
  splitSpecialTokens?: boolean
}

export const SPECIAL_KEYS = {
  unkToken: 'unk_token',
  sepToken: 'sep_token',
  padToken: 'pad_token',
  clsToken: 'cls_token',
  maskToken: 'mask_token',
} as const

const FIVE: ReadonlySet<string> = new Set(Object.values(SPECIAL_KEYS))

export const emptyFolder = (file: string): TokenizerFolder => ({
  vocabulary: new Map(),
  file,
  addedTokens: [],
  addedIds: new Map(),
  special: {},
  namedTokens: new Map(),
  furtherTokens: [],
})

/** Transformers writes 1e30 for "no limit". */
const UNLIMITED = 1e20

/** Reads a token with the fields of tokenizer.json's added_tokens. */
function addedToken(fields: Fields, special: boolean): Omit<AddedToken, 'id'> {
  const content = fields.string('content')
  if (content === undefined || content === '') throw fields.fail('content', 'a string that is not empty')
  const isSpecial = fields.boolean('special') ?? special
  return {
    content,
    singleWord: fields.boolean('single_word') ?? false,
    lstrip: fields.boolean('lstrip') ?? false,
    rstrip: fields.boolean('rstrip') ?? false,
    normalized: fields.boolean('normalized') ?? !isSpecial,
    special: isSpecial,
  }
}

function readTokenizerJson(root: Fields, folder: TokenizerFolder): void {
  const model = root.object('model')
  const vocabulary = model?.object('vocab')
  if (!model || !vocabulary) throw new DataError('Expected model.vocab, the vocabulary of a WordPiece model', root.file)
  const type = model.string('type')
  if (type !== undefined && type !== 'WordPiece') throw model.fail('type', "'WordPiece'")
  const owners: string[] = [] // by id
  for (const token of Object.keys(vocabulary.values)) {
    const id = vocabulary.id(token)
    const owner: string | undefined = owners[id]
    if (owner !== undefined) {
      throw new DataError(
        `Expected one token for each id but ${quote(owner)} and ${quote(token)} have ${id}`,
        root.file,
      )
    }
    owners[id] = token
    folder.vocabulary.set(token, id)
  }
  folder.special.unkToken = model.string('unk_token')
  folder.continuingSubwordPrefix = model.string('continuing_subword_prefix')
  folder.maxInputCharsPerWord = model.positive('max_input_chars_per_word')
  for (const [i, value] of (root.list('added_tokens') ?? []).entries()) {
    if (!isJsonObject(value)) throw new DataError(`Expected added_tokens[${i}] to be an object`, root.file)
    const fields = new Fields(value, root.file, `added_tokens[${i}].`)
    const token = addedToken(fields, false)
    folder.addedTokens.push(token)
    folder.addedIds.set(token.content, fields.id('id'))
  }
  const direction = root.object('truncation')?.oneOf('direction', ['Left', 'Right'])
  if (direction !== undefined) folder.truncationSide = direction === 'Left' ? 'left' : 'right'
  // Components of another kind give way to BERT's own, as in Transformers' BertTokenizer; of generic classes tokenizer-class.ts sees to it.
  const normalizer = root.object('normalizer')
  if (normalizer?.string('type') !== 'BertNormalizer') return
  folder.cleanText = normalizer.boolean('clean_text')
  folder.tokenizeChineseChars = normalizer.boolean('handle_chinese_chars')
  folder.stripAccents = normalizer.booleanOrNull('strip_accents')
  folder.doLowerCase = normalizer.boolean('lowercase')
}

/** What tokenizer_config.json says goes before tokenizer.json; what the older special_tokens_map.json says, before both. */
function readSettings(config: Fields, folder: TokenizerFolder): void {
  folder.doLowerCase = config.boolean('do_lower_case') ?? folder.doLowerCase
  folder.tokenizeChineseChars = config.boolean('tokenize_chinese_chars') ?? folder.tokenizeChineseChars
  const stripAccents = config.booleanOrNull('strip_accents')
  if (stripAccents !== undefined) folder.stripAccents = stripAccents
  folder.cleanUpTokenizationSpaces =
    config.booleanOrNull('clean_up_tokenization_spaces') ?? folder.cleanUpTokenizationSpaces
  folder.splitSpecialTokens = config.boolean('split_special_tokens') ?? folder.splitSpecialTokens
  folder.truncationSide = config.oneOf('truncation_side', ['left', 'right']) ?? folder.truncationSide
  // max_len is the older name, and null says as little as no limit at all
  const key = Object.hasOwn(config.values, 'model_max_length') ? 'model_max_length' : 'max_len'
  const limit = config.values[key] === null ? undefined : config.positive(key)
  if (limit !== undefined) folder.modelMaxLength = limit >= UNLIMITED ? Number.POSITIVE_INFINITY : Math.floor(limit)
  for (const [name, key] of Object.entries(SPECIAL_KEYS)) {
    const token = config.token(key)
    if (token !== undefined) folder.special[name as keyof SpecialTokens] = token
  }
  readNamedTokens(config, folder)
}

/** What ends in _token is a special token, as in Transformers, which looks at other keys than bos_token and eos_token for texts only. */
function readNamedTokens(config: Fields, folder: TokenizerFolder): void {
  for (const key of ['bos_token', 'eos_token', ...Object.keys(config.values)]) {
    if (!key.endsWith('_token') || FIVE.has(key)) continue
    const isKnown = key === 'bos_token' || key === 'eos_token'
    if (!isKnown && typeof config.values[key] !== 'string') continue
    const token = config.token(key)
    if (token !== undefined && token !== '') folder.namedTokens.set(key, token)
  }
}

/** The added tokens of tokenizer_config.json. */
function readDecoder(decoder: Fields, folder: TokenizerFolder): void {
  for (const key of Object.keys(decoder.values)) {
    // digits alone: Number() reads '', ' 7', '7.0' and '0x7' as integers, too
    const id = /^\d+$/.test(key) ? Number(key) : Number.NaN
    if (!isId(id))
      throw new DataError(
        `Expected each key of added_tokens_decoder to be ${AN_ID} but received ${quote(key)}`,
        decoder.file,
      )
    const fields = decoder.object(key)
    if (!fields) continue
    const token = addedToken(fields, false)
    if (folder.addedTokens.some((each) => each.content === token.content)) continue
    folder.addedTokens.push(token)
    folder.addedIds.set(token.content, id)
  }
}

/**
 * Reads added_tokens.json, token -> id, in which old tokenizers keep what vocab.txt lacks. `special`: the tokens that other files
 * call special. Transformers takes the ids for an order only, and so renumbers where one is taken or one is left out. Here an id
 * that is taken is an error, as a model would read another token's row, and one beyond a gap stays, as in the other files.
 */
function readAddedTokens({ values, file }: Fields, folder: TokenizerFolder, special: ReadonlySet<string>): void {
  const encoder = new Fields(values, file, 'the id of ')
  const owners = new Map(Array.from(folder.vocabulary, ([token, id]) => [id, token]))
  // tokenizer.json goes before, token by token and id by id
  const names = new Set(folder.addedTokens.map((each) => each.content))
  const ids = new Set(folder.addedIds.values())
  for (const content of Object.keys(values)) {
    const id = encoder.id(content)
    if (content === '') throw new DataError('Expected tokens that are not empty', file)
    if (names.has(content) || ids.has(id)) continue
    const known = folder.vocabulary.get(content)
    if (known !== undefined && known !== id) throw encoder.fail(content, `the one in the vocabulary, ${known},`)
    const owner = owners.get(id)
    if (owner !== undefined && owner !== content) {
      throw new DataError(`Expected one token for each id but ${quote(owner)} and ${quote(content)} have ${id}`, file)
    }
    owners.set(id, content)
    const isSpecial = special.has(content)
    folder.addedTokens.push({ ...specialToken(content), special: isSpecial, normalized: !isSpecial })
    folder.addedIds.set(content, id)
  }
}

/** Special tokens beyond BERT's five under a key: a list, or named ones. */
function furtherTokens(config: Fields | null, key: string): string[] {
  const value = config?.values[key]
  const values: JsonObject = Array.isArray(value)
    ? Object.fromEntries(value.entries())
    : isJsonObject(value)
      ? value
      : {}
  const fields = new Fields(values, config?.file ?? '', `${key}.`)
  return Object.keys(values).flatMap((each) => fields.token(each) || [])
}

/** Whether further special tokens are given as something else than named ones. */
const listsTokens = (config: Fields | null, key: string): boolean =>
  config !== null && Object.hasOwn(config.values, key) && !isJsonObject(config.values[key])

/**
 * Reads the files beside the vocabulary, by Transformers' rule: special_tokens_map.json and added_tokens.json count only if
 * tokenizer_config.json has no added_tokens_decoder, which newer versions write. So what an earlier save left is not read.
 */
async function readSettingsFiles(files: ModelFiles, config: Fields | null, folder: TokenizerFolder): Promise<void> {
  if (config !== null) readSettings(config, folder)
  const decoder = config?.object('added_tokens_decoder') ?? null
  if (decoder !== null) readDecoder(decoder, folder)
  const map = decoder === null ? await readFields(files, 'special_tokens_map.json') : null
  if (map !== null) readSettings(map, folder)

  // v4 and v5 have a key each; of the map, Transformers takes v4's only where no file lists tokens in another way
  const [v4, v5] = ['additional_special_tokens', 'extra_special_tokens']
  const isListed = listsTokens(config, v4) || listsTokens(config, v5) || listsTokens(map, v5)
  const special = [...furtherTokens(config, v4), ...furtherTokens(config, v5), ...furtherTokens(map, v5)]
  const mapped = isListed ? [] : furtherTokens(map, v4)

  const added = decoder === null ? await readFields(files, 'added_tokens.json') : null
  if (added !== null) {
    const keys = [...Object.values(SPECIAL_KEYS), 'bos_token', 'eos_token']
    const named = keys.flatMap((key) => map?.token(key) ?? config?.token(key) ?? [])
    // without `mapped`: what only the map's v4 list calls special is an ordinary token, as in Transformers
    readAddedTokens(added, folder, new Set([...named, ...special]))
  }
  folder.furtherTokens.push(...special, ...mapped)
}

/**
 * The lines of vocab.txt, one token each. Only "\n" and "\r\n" end a line, and nothing is trimmed: U+2028 is a token of
 * bert-base-chinese. @throws DataError with the line that is no UTF-8.
 */
export function vocabularyTokens(bytes: Uint8Array, file: string): string[] {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    throw new DataError('not valid UTF-8', file, invalidLine(bytes))
  }
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line))
}

/** The 1-based number of the first line that is no UTF-8. */
function invalidLine(bytes: Uint8Array): number {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let line = 1
  for (let from = 0; from < bytes.length; line++) {
    const end = bytes.indexOf(10, from)
    const to = end < 0 ? bytes.length : end
    try {
      decoder.decode(bytes.subarray(from, to))
    } catch {
      break
    }
    from = to + 1
  }
  return line
}

/** Where a model's tokenizer is: in its folder or, in a folder of sentence-transformers, maybe beside its transformer. */
async function tokenizerFolder(root: ModelFiles): Promise<ModelFiles> {
  for (const name of ['tokenizer.json', 'vocab.txt']) if ((await root.read(name)) !== undefined) return root
  return modelFolder(root)
}

/**
 * Reads a folder's tokenizer: tokenizer.json if there, else vocab.txt.
 * @throws DataError that names the file and the field or line; what reading a file throws.
 */
export async function readTokenizerFolder(root: ModelFiles): Promise<TokenizerFolder> {
  const folder = await tokenizerFolder(root)
  const json = await readFields(folder, 'tokenizer.json')
  const vocabulary = json === null ? await folder.read('vocab.txt') : undefined
  if (json === null && vocabulary === undefined) {
    throw new DataError('Expected tokenizer.json or vocab.txt but found neither', folder.where)
  }
  const file = folder.pathOf(json === null ? 'vocab.txt' : 'tokenizer.json')
  const found = emptyFolder(file)
  if (json !== null) readTokenizerJson(json, found)
  else if (vocabulary !== undefined)
    found.vocabulary = new Map(vocabularyTokens(vocabulary, file).map((token, id) => [token, id]))
  const config = await readFields(folder, 'tokenizer_config.json')
  const isGeneric = config !== null && isGenericClass(config)
  await readSettingsFiles(folder, config, found)
  if (json !== null && isGeneric) {
    const { clsToken, sepToken } = { ...DEFAULT_SPECIAL, ...defined(found.special) }
    Object.assign(found, checkGenericTokenizer(json, clsToken, sepToken))
  }
  return found
}
