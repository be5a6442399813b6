// The public tokenizer of BERT models.
import { ArgumentError, DataError } from '../../errors.ts'
import { type HubOptions, splitHubOptions } from '../../formats/hub-options.ts'
import type { ModelFiles } from '../../formats/model-files.ts'
import { openModelFiles, type PretrainedSource } from '../../formats/pretrained-source.ts'
import { type FileSink, saveFiles } from '../../formats/save-files.ts'
import { kindOf, quote } from '../../json.ts'
import { cleanUpText, decodeTokens } from './decoder.ts'
import { assemble, type Encoding, TokenList } from './encoding.ts'
import { emptyFolder, readTokenizerFolder, type SpecialTokens, type TokenizerFolder } from './files.ts'
import {
  type DecodeOptions,
  type EncodeOptions,
  resolveDecodeOptions,
  resolveEncodeOptions,
  type TokenizerOptions,
  withOptions,
} from './options.ts'
import { Pipeline, type TokenizerSpec } from './pipeline.ts'
import { tokenizerFiles } from './saved-files.ts'
import { trainWordPiece } from './trainer.ts'
import { resolveTrainTokenizerOptions, type TrainTokenizerOptions } from './training-options.ts'
import { type TruncationSide, truncate } from './truncation.ts'
import { characterLength } from './unicode.ts'
import { buildVocabulary } from './vocabulary.ts'

export type { Encoding } from './encoding.ts'
export type { DecodeOptions, EncodeOptions, TokenizerOptions } from './options.ts'
export type { TokenizerTrainingProgress } from './trainer.ts'
export type { TrainTokenizerOptions } from './training-options.ts'
export type { TruncationSide, TruncationStrategy } from './truncation.ts'

/** A text, or a text already split into words. */
export type TextInput = string | readonly string[]

/**
 * BERT's WordPiece tokenizer: the same ids, offsets and masks as Transformers 5.18 (`BertTokenizer`) and its Rust library, on
 * every version of Node. It never pads. Made by `fromPretrained`, `fromVocab` or `train`; immutable.
 */
export class BertTokenizer implements SpecialTokens {
  readonly unkToken: string
  readonly sepToken: string
  readonly padToken: string
  readonly clsToken: string
  readonly maskToken: string
  readonly unkTokenId: number
  readonly sepTokenId: number
  readonly padTokenId: number
  readonly clsTokenId: number
  readonly maskTokenId: number
  /** The longest input of the model in tokens; Infinity if nobody says. */
  readonly modelMaxLength: number
  /** Which end of a text is cut off where it is too long. */
  readonly truncationSide: TruncationSide
  /** What `decode` does where its `cleanUp` is not given. */
  readonly cleanUpTokenizationSpaces: boolean
  /** The number of different tokens, added ones included: Python's `len(tokenizer)`. */
  readonly vocabSize: number
  /** The ids that `decode` leaves out with `skipSpecialTokens`, in ascending order. */
  readonly allSpecialIds: readonly number[]
  readonly #spec: TokenizerSpec
  readonly #pipeline: Pipeline
  readonly #ids: ReadonlyMap<string, number>
  /** By id; made at the first use: who only encodes needs none. */
  #tokensOfIds: ReadonlyMap<number, string> | undefined
  /** What `decode` writes for added tokens that match normalised text: their normalised form. */
  readonly #written: ReadonlyMap<number, string>
  readonly #special: ReadonlySet<string>
  /** Where the tokens of the text and of the pair are put before they are copied out. */
  readonly #scratch = [new TokenList(), new TokenList()] as const

  private constructor(folder: TokenizerFolder, fail: (reason: string) => Error) {
    const { ids, addedTokens, special } = buildVocabulary(folder, fail)
    const idOf = (token: string): number => ids.get(token) as number
    this.#ids = ids
    this.allSpecialIds = addedTokens.flatMap((each) => (each.special ? [each.id] : [])).sort((a, b) => a - b)
    this.#special = new Set(addedTokens.flatMap((each) => (each.special ? [each.content] : [])))
    this.vocabSize = ids.size
    this.modelMaxLength = folder.modelMaxLength ?? Number.POSITIVE_INFINITY
    this.truncationSide = folder.truncationSide ?? 'right'
    this.cleanUpTokenizationSpaces = folder.cleanUpTokenizationSpaces ?? false
    this.unkToken = special.unkToken
    this.sepToken = special.sepToken
    this.padToken = special.padToken
    this.clsToken = special.clsToken
    this.maskToken = special.maskToken
    this.unkTokenId = idOf(special.unkToken)
    this.sepTokenId = idOf(special.sepToken)
    this.padTokenId = idOf(special.padToken)
    this.clsTokenId = idOf(special.clsToken)
    this.maskTokenId = idOf(special.maskToken)
    this.#spec = {
      normalizer: {
        cleanText: folder.cleanText ?? true,
        tokenizeChineseChars: folder.tokenizeChineseChars ?? true,
        stripAccents: folder.stripAccents ?? null,
        doLowerCase: folder.doLowerCase ?? true,
      },
      vocabulary: folder.vocabulary,
      addedTokens,
      namedTokens: folder.namedTokens,
      splitSpecialTokens: folder.splitSpecialTokens ?? false,
      unkToken: special.unkToken,
      continuingSubwordPrefix: folder.continuingSubwordPrefix ?? '##',
      maxInputCharsPerWord: folder.maxInputCharsPerWord ?? 100,
    }
    this.#pipeline = new Pipeline(this.#spec, this.unkTokenId)
    const normalized = addedTokens.filter((each) => each.normalized)
    this.#written = new Map(normalized.map((each) => [each.id, this.#pipeline.normalize(each.content)]))
  }

  get #tokens(): ReadonlyMap<number, string> {
    this.#tokensOfIds ??= new Map(Array.from(this.#ids, ([token, id]) => [id, token]))
    return this.#tokensOfIds
  }

  /** Whether texts are lower-cased. */
  get doLowerCase(): boolean {
    return this.#spec.normalizer.doLowerCase
  }

  /** Whether accents are taken from the letters, which is more than accents: also the vowel signs of Indic scripts. */
  get stripAccents(): boolean {
    return this.#spec.normalizer.stripAccents ?? this.doLowerCase
  }

  /** What the later pieces of a word begin with in the vocabulary: '##'. */
  get continuingSubwordPrefix(): string {
    return this.#spec.continuingSubwordPrefix
  }

  /**
   * Reads a tokenizer of a folder, a Hub id, a URL or given files: tokenizer.json (normaliser options, vocabulary, added tokens),
   * else vocab.txt; then tokenizer_config.json, whose do_lower_case, strip_accents, tokenize_chinese_chars and special tokens,
   * where it has them, go before tokenizer.json's. Only where it has no added_tokens_decoder, the older special_tokens_map.json and
   * added_tokens.json count, too. `options` go before all files.
   *
   * tokenizer_class has to be BertTokenizer or one like it; a generic one, as PreTrainedTokenizerFast, needs BERT's parts in tokenizer.json,
   * whose normaliser then counts alone.
   *
   * That is as in Transformers but for one thing: what tokenizer_config.json does not say is as tokenizer.json has it. Transformers'
   * `BertTokenizer` takes its own defaults there, lower case for one, whatever tokenizer.json says.
   * @throws DataError for a broken file, naming it and the field or line; FileError if one cannot be read; HubError; DownloadError.
   */
  static async fromPretrained(
    source: PretrainedSource | ModelFiles,
    options: TokenizerOptions & HubOptions = {},
  ): Promise<BertTokenizer> {
    const [hub, rest] = splitHubOptions(options)
    const found = await readTokenizerFolder(await openModelFiles(source, 'tokenizer', hub))
    return new BertTokenizer(withOptions(found, rest), (reason) => new DataError(reason, found.file))
  }

  /**
   * A tokenizer whose ids are the places of `tokens`; of equal tokens the last one counts.
   * @throws ArgumentError if a special token is not among them (the mask may be missing: it then gets the next id).
   */
  static fromVocab(tokens: readonly string[], options: TokenizerOptions = {}): BertTokenizer {
    if (!Array.isArray(tokens)) throw new ArgumentError(`Expected a list of tokens but received ${kindOf(tokens)}`)
    // forEach would not see holes, which are no tokens
    Array.from(tokens).forEach((token, id) => {
      if (typeof token === 'string' && !/\p{Surrogate}/u.test(token)) return
      throw new ArgumentError(
        `Expected tokens[${id}] to be a string without lone surrogates but received ${quote(token)}`,
      )
    })
    const folder = { ...emptyFolder(''), vocabulary: new Map(tokens.map((token, id) => [token, id])) }
    return new BertTokenizer(withOptions(folder, options), (reason) => new ArgumentError(reason))
  }

  /**
   * Learns a vocabulary from texts, as `WordPieceTrainer` of the Rust library does, and makes a tokenizer of it. The same texts, in
   * any order, give the same vocabulary. Needs memory for the different words, of which it keeps a million at most (the rarest go
   * first), and gives the event loop its turns.
   * @throws ArgumentError for unknown options and for a `vocabSize` too small for the characters of the texts, saying the least one;
   *   DataError if the texts have no word; AbortedError.
   */
  static async train(
    texts: Iterable<string> | AsyncIterable<string>,
    options: TrainTokenizerOptions = {},
  ): Promise<BertTokenizer> {
    if (typeof texts === 'string' || !isIterable(texts)) {
      throw new ArgumentError(`Expected texts to be a list or a stream of strings but received ${kindOf(texts)}`)
    }
    const { trainer, tokenizer } = resolveTrainTokenizerOptions(options)
    return BertTokenizer.fromVocab(await trainWordPiece(texts, trainer), tokenizer)
  }

  /**
   * Encodes a text, or a pair of them: `[CLS] text [SEP]` or `[CLS] text [SEP] pair [SEP]`. A list is a text already split
   * into words; its word ids count in that list, its offsets in each word. An empty pair is none, as where Transformers is called with
   * one text: there is no second [SEP]. Takes time linear in the length.
   * @throws ArgumentError for unknown options, or a `maxLength` or `stride` that cannot be met.
   */
  encode(text: TextInput, options?: EncodeOptions): Encoding
  encode(text: TextInput, pair?: TextInput | null, options?: EncodeOptions): Encoding
  encode(text: TextInput, pairOrOptions?: TextInput | EncodeOptions | null, last?: EncodeOptions): Encoding {
    const given = isText(pairOrOptions) ? pairOrOptions : null
    const pair = given?.length === 0 ? null : given
    const options = resolveEncodeOptions(pickOptions(pairOrOptions, last), this.modelMaxLength)
    const { addSpecialTokens, maxLength, strategy, stride, codePoints, isSplitIntoWords } = options
    checkText(text, 'text', isSplitIntoWords)
    if (given !== null) checkText(given, 'pair', Array.isArray(text))

    const special = addSpecialTokens ? { cls: this.clsTokenId, sep: this.sepTokenId } : null
    const added = special === null ? 0 : pair === null ? 2 : 3
    const room = maxLength - added
    if (room < 0) {
      throw new ArgumentError(`Expected maxLength to hold ${added} special tokens but received ${maxLength}`)
    }
    if (stride > 0 && stride >= room) {
      throw new ArgumentError(
        `Expected stride below ${room} (maxLength less ${added} special tokens) but received ${stride}`,
      )
    }
    const first = this.#tokenize(text, this.#scratch[0], codePoints)
    const second = pair === null ? null : this.#tokenize(pair, this.#scratch[1], codePoints)
    const windows = truncate(
      first.length,
      second === null ? null : second.length,
      room,
      strategy,
      stride,
      this.truncationSide,
    )
    return assemble(
      { tokens: first, windows: windows.first },
      second === null || windows.second === null ? null : { tokens: second, windows: windows.second },
      special,
      { offsets: options.returnOffsets, overflowing: options.returnOverflowingTokens },
    )
  }

  /** The tokens of a text as strings, without special tokens around them. */
  tokenize(text: TextInput): string[] {
    checkText(text, 'text', undefined)
    const { ids, length } = this.#tokenize(text, this.#scratch[0], false)
    return this.convertIdsToTokens(ids.subarray(0, length))
  }

  /**
   * The text of token ids, as far as tokens tell; ids that no token has are skipped, as in Transformers. The space before a full stop,
   * a comma, a question or an exclamation mark is left out; what else is cleaned up says `cleanUp`.
   * @throws ArgumentError for what is no list of integers, and for unknown options.
   */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    checkIds(ids)
    const { skipSpecialTokens, cleanUp } = resolveDecodeOptions(options, this.cleanUpTokenizationSpaces)
    const tokens: string[] = []
    for (const id of ids) {
      if (!Number.isInteger(id)) throw new ArgumentError(`Expected token ids to be integers but received ${quote(id)}`)
      const token = this.#written.get(id) ?? this.#tokens.get(id)
      if (token !== undefined && !(skipSpecialTokens && this.#special.has(token))) tokens.push(token)
    }
    const text = decodeTokens(tokens, this.#spec.continuingSubwordPrefix)
    return cleanUp ? cleanUpText(text) : text
  }

  /** Ids of tokens; `unkTokenId` for a string that is no token. @throws ArgumentError for what is no list of strings. */
  convertTokensToIds(tokens: readonly string[]): number[] {
    checkTokens(tokens)
    return tokens.map((token) => this.#ids.get(token) ?? this.unkTokenId)
  }

  /** Tokens of ids. @throws ArgumentError for what is no list, and for an id that no token has. */
  convertIdsToTokens(ids: Iterable<number>): string[] {
    checkIds(ids)
    return Array.from(ids, (id) => {
      const token = this.#tokens.get(id)
      if (token === undefined) throw new ArgumentError(`Expected ids of the vocabulary but received ${quote(id)}`)
      return token
    })
  }

  /** The text of tokens, as `decode` puts it together without `cleanUp`. @throws ArgumentError for what is no list of strings. */
  convertTokensToString(tokens: readonly string[]): string {
    checkTokens(tokens)
    return decodeTokens(tokens, this.#spec.continuingSubwordPrefix)
  }

  /** Every token and its id; a copy. */
  getVocab(): Map<string, number> {
    return new Map(this.#ids)
  }

  /**
   * Writes vocab.txt, tokenizer.json and tokenizer_config.json, which Transformers and `tokenizers` load: into a folder, or a sink.
   * Without a target the files are returned as Blobs.
   */
  async savePretrained(target: string | FileSink): Promise<void>
  async savePretrained(): Promise<Record<string, Blob>>
  async savePretrained(target?: string | FileSink): Promise<unknown> {
    return saveFiles(target, tokenizerFiles(this.#spec, this, this.#ids))
  }

  #tokenize(text: TextInput, list: TokenList, codePoints: boolean): TokenList {
    list.clear()
    if (typeof text === 'string') {
      this.#pipeline.tokenize(text, list)
      if (codePoints) countCodePoints(text, list, 0)
      return list
    }
    text.forEach((word, number) => {
      const before = list.length
      this.#pipeline.tokenize(word, list, number)
      if (codePoints) countCodePoints(word, list, before)
    })
    return list
  }
}

const isIterable = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value)

/** A string is iterable, too, but no list of ids. */
function checkIds(ids: unknown): void {
  if (typeof ids === 'object' && ids !== null && Symbol.iterator in ids) return
  throw new ArgumentError(`Expected ids to be a list of token ids but received ${kindOf(ids)}`)
}

function checkTokens(tokens: unknown): void {
  if (!Array.isArray(tokens))
    throw new ArgumentError(`Expected tokens to be a list of strings but received ${kindOf(tokens)}`)
  checkStrings('tokens', tokens)
}

function checkStrings(name: string, list: readonly unknown[]): void {
  Array.from(list).forEach((each, i) => {
    if (typeof each !== 'string')
      throw new ArgumentError(`Expected ${name}[${i}] to be a string but received ${kindOf(each)}`)
  })
}

const isText = (value: unknown): value is TextInput => typeof value === 'string' || Array.isArray(value)

/** Tells `encode(text, options)` from `encode(text, pair, options)`. */
function pickOptions(
  second: TextInput | EncodeOptions | null | undefined,
  third: EncodeOptions | undefined,
): EncodeOptions {
  if (second === null || second === undefined || isText(second)) return third ?? {}
  if (third === undefined) return second
  throw new ArgumentError(`Expected pair to be a string or a list of words but received ${kindOf(second)}`)
}

/** `words`: whether a list is expected, if that is known. */
function checkText(text: unknown, name: string, words: boolean | undefined): asserts text is TextInput {
  const isList = Array.isArray(text)
  const kind = words === undefined ? 'a string or a list of words' : words ? 'a list of words' : 'a string'
  if (!isText(text) || (words !== undefined && words !== isList)) {
    throw new ArgumentError(`Expected ${name} to be ${kind} but received ${kindOf(text)}`)
  }
  if (typeof text !== 'string') checkStrings(name, text)
}

/** Turns offsets of the tokens from `first` on from UTF-16 units of `text` into code points. */
function countCodePoints(text: string, list: TokenList, first: number): void {
  for (const offsets of [list.starts, list.ends]) {
    let unit = 0
    let count = 0
    for (let i = first; i < list.length; i++) {
      for (; unit < offsets[i]; unit += characterLength(text, unit)) count++
      offsets[i] = count
    }
  }
}
