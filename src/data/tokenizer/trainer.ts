// Learns the pieces of a WordPiece vocabulary from texts.
import { AbortedError, ArgumentError, DataError } from '../../errors.ts'
import { kindOf } from '../../json.ts'
import { slices } from '../../turns.ts'
import { Merger, SymbolWords } from './merger.ts'
import type { NormalizerOptions } from './normalizer.ts'
import { MAX_WORD_LENGTH, WordCounter } from './word-counter.ts'

/** How far the training of a tokenizer is. */
export interface TokenizerTrainingProgress {
  /** 'words' while texts are read and their words counted, 'pieces' while the vocabulary grows. */
  readonly stage: 'words' | 'pieces'
  /** Texts read. */
  readonly texts: number
  /** Words read. */
  readonly words: number
  readonly distinctWords: number
  /** Different characters in the words; 0 before the second stage. */
  readonly characters: number
  /** How many of these the vocabulary has. */
  readonly keptCharacters: number
  /** Of `words`, those that have a character which the vocabulary does not have: the tokenizer will know none of them. */
  readonly unknownWords: number
  /** Tokens that the vocabulary has so far. */
  readonly tokens: number
}

export interface WordPieceTrainerOptions {
  readonly vocabSize: number
  readonly minFrequency: number
  readonly limitAlphabet: number
  readonly initialAlphabet: readonly string[]
  readonly specialTokens: readonly string[]
  readonly normalizer: NormalizerOptions
  readonly onProgress?: (progress: TokenizerTrainingProgress) => void
  readonly signal?: AbortSignal
}

/** Milliseconds between two reports of progress within a stage: turns of the event loop come far more often. */
const REPORT_INTERVAL = 250

/** Marks a piece that is not the first of its word. */
const PREFIX = '##'

/** What all stages of one training share: its progress, and turns for the event loop. */
class Training {
  readonly progress = {
    stage: 'words' as 'words' | 'pieces',
    texts: 0,
    words: 0,
    distinctWords: 0,
    characters: 0,
    keptCharacters: 0,
    unknownWords: 0,
    tokens: 0,
  }
  readonly #options: WordPieceTrainerOptions
  readonly #turn = slices()
  #nextReport = performance.now() + REPORT_INTERVAL

  constructor(options: WordPieceTrainerOptions) {
    this.#options = options
  }

  readonly pause = (): Promise<void> | undefined =>
    this.#turn()?.then(() => {
      if (performance.now() >= this.#nextReport) this.report()
      this.check()
    })

  report(): void {
    this.#nextReport = performance.now() + REPORT_INTERVAL
    this.#options.onProgress?.({ ...this.progress })
  }

  /** Throws AbortedError once the signal has fired. */
  check(): void {
    if (this.#options.signal?.aborted) {
      throw new AbortedError('The training of the tokenizer was aborted by its signal')
    }
  }
}

async function countWords(
  texts: Iterable<string> | AsyncIterable<string>,
  { normalizer }: WordPieceTrainerOptions,
  training: Training,
): Promise<ReadonlyMap<string, number>> {
  const counter = new WordCounter(normalizer)
  const { progress } = training
  for await (const text of texts) {
    if (typeof text !== 'string') {
      throw new ArgumentError(`Expected texts[${progress.texts}] to be a string but received ${kindOf(text)}`)
    }
    training.check()
    await counter.add(text, training.pause)
    progress.texts++
    progress.words = counter.words
    progress.distinctWords = counter.counts.size
  }
  if (counter.counts.size === 0) {
    throw new DataError(
      `Expected texts with words of up to ${MAX_WORD_LENGTH} characters but found none in ${progress.texts}`,
    )
  }
  return counter.counts
}

/** The tokens of a vocabulary in the making; ids are places. */
class Tokens {
  readonly list: string[] = []
  readonly #ids = new Map<string, number>()

  id(token: string): number | undefined {
    return this.#ids.get(token)
  }

  /** The id of a token, which is added if it is not there. */
  add(token: string): number {
    let id = this.#ids.get(token)
    if (id === undefined) {
      id = this.list.length
      this.#ids.set(token, id)
      this.list.push(token)
    }
    return id
  }
}

/** -1, 0 or 1 by code points; `<` would go by UTF-16 units. */
const byCodePoint = (a: string, b: string): number => (a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0)

/**
 * The characters of the vocabulary in the order of code points: the most frequent ones, of equally frequent ones those with the
 * smaller code points. `inside` are those of them that occur behind the first place of a word.
 */
async function chooseAlphabet(
  counts: ReadonlyMap<string, number>,
  { initialAlphabet, limitAlphabet }: WordPieceTrainerOptions,
  { pause, progress }: Training,
): Promise<{ characters: string[]; inside: string[] }> {
  const found = new Map<string, number>()
  const inside = new Set<string>()
  let seen = 0
  for (const [word, count] of counts) {
    let isFirst = true
    for (const character of word) {
      found.set(character, (found.get(character) ?? 0) + count)
      if (!isFirst) inside.add(character)
      isFirst = false
    }
    if (++seen % WORDS_AT_A_TIME === 0) await pause()
  }
  const first = new Set(initialAlphabet)
  const rank = (character: string): number => (first.has(character) ? Infinity : (found.get(character) ?? 0))
  const characters = [...new Set([...found.keys(), ...first])]
    .sort((a, b) => (rank(a) === rank(b) ? byCodePoint(a, b) : rank(b) > rank(a) ? 1 : -1))
    .slice(0, limitAlphabet)
  characters.sort(byCodePoint)
  progress.characters = found.size
  progress.keptCharacters = characters.filter((character) => found.has(character)).length
  return { characters, inside: characters.filter((character) => inside.has(character)) }
}

const WORDS_AT_A_TIME = 256

/** Splits words into characters of the vocabulary; others are left out, as if the word did not have them. */
async function splitWords(
  counts: ReadonlyMap<string, number>,
  tokens: Tokens,
  { pause, progress }: Training,
): Promise<SymbolWords> {
  const words = new SymbolWords()
  const symbols: number[] = []
  let seen = 0
  for (const [word, count] of counts) {
    symbols.length = 0
    let prefix = ''
    let known = true
    for (const character of word) {
      const id = tokens.id(character) === undefined ? undefined : tokens.id(prefix + character)
      if (id === undefined) known = false
      else symbols.push(id)
      prefix = PREFIX
    }
    words.push(symbols, count)
    if (!known) progress.unknownWords += count
    if (++seen % WORDS_AT_A_TIME === 0) await pause()
  }
  return words
}

/**
 * The tokens of a vocabulary: special tokens, characters, characters inside of words with their prefix, and then pieces in the order
 * in which they were merged. As `WordPieceTrainer` of the Rust library `tokenizers` 0.23, in which chance decides the order of
 * the characters inside of words and so between equally frequent pairs; here it is the order of code points. The same texts in
 * any order give the same vocabulary.
 * @throws ArgumentError if `vocabSize` does not hold the alphabet; DataError if there is no word; AbortedError.
 */
export async function trainWordPiece(
  texts: Iterable<string> | AsyncIterable<string>,
  options: WordPieceTrainerOptions,
): Promise<string[]> {
  const { minFrequency, specialTokens, vocabSize } = options
  const training = new Training(options)
  const { pause, progress } = training
  training.check()
  const counts = await countWords(texts, options, training)
  training.report()
  progress.stage = 'pieces'

  const tokens = new Tokens()
  for (const token of specialTokens) tokens.add(token)
  const { characters, inside } = await chooseAlphabet(counts, options, training)
  for (const character of characters) tokens.add(character)
  for (const character of inside) tokens.add(PREFIX + character)
  if (tokens.list.length > vocabSize) {
    throw new ArgumentError(
      `Expected vocabSize to be at least ${tokens.list.length} (${specialTokens.length} special tokens, ${characters.length} characters ` +
        `and ${inside.length} of these inside of words) but received ${vocabSize}; with a smaller limitAlphabet less will do`,
    )
  }

  progress.tokens = tokens.list.length
  const words = await splitWords(counts, tokens, training)
  const merger = new Merger(words, pause)
  await merger.countPairs()
  while (tokens.list.length < vocabSize) {
    const pair = merger.next()
    if (pair === undefined || pair.count < minFrequency) break
    await merger.merge(pair, tokens.add(tokens.list[pair.left] + tokens.list[pair.right].slice(PREFIX.length)))
    progress.tokens = tokens.list.length
  }
  training.report()
  return tokens.list
}
