import type { Command } from 'commander'
import { passageRows } from '../data/passages.ts'
import type { RowFormat } from '../data/readers/rows.ts'
import type { TextLayout } from '../data/readers/text.ts'
import { BertTokenizer, type TokenizerTrainingProgress } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError, UsageError } from '../errors.ts'
import { grouped, type Io, short, writeJsonLine, writeTable } from './io.ts'
import { checkDataOptions, integerOption, oneOf, readSettings, textLayoutOption } from './options.ts'

interface TokenizerTrainOptions {
  readonly trainFile: string[]
  readonly outputDir: string
  readonly vocabSize: number
  readonly minFrequency: number
  readonly limitAlphabet: number
  readonly lowercase: boolean
  readonly stripAccents?: boolean
  readonly tokenizeChineseChars: boolean
  readonly cleanText: boolean
  readonly modelMaxLength: number
  readonly fileFormat?: RowFormat
  readonly columns?: string
  readonly header: boolean
  readonly textColumn?: string
  readonly textLayout?: TextLayout
  readonly json?: boolean
}

/** Milliseconds between two lines of progress on a terminal. */
const REFRESH = 100

async function* passagesOf(options: TokenizerTrainOptions): AsyncGenerator<string> {
  for (const file of options.trainFile)
    for await (const { text } of passageRows(file, readSettings(options))) yield text
}

function lineOf({ distinctWords, stage, texts, tokens, words }: TokenizerTrainingProgress): string {
  return stage === 'words'
    ? `${grouped(texts)} texts, ${grouped(words)} words, ${grouped(distinctWords)} different ones`
    : `${grouped(tokens)} tokens`
}

/** One line for each stage: on a terminal it changes, elsewhere it comes when the stage has ended. */
function createDisplay({ stderr }: Io) {
  const isLive = stderr.isTTY === true
  let shown = Number.NEGATIVE_INFINITY
  let last: TokenizerTrainingProgress | undefined
  const end = (): void => {
    if (last !== undefined) stderr.write(isLive ? `\r${lineOf(last)}\u001b[K\n` : `${lineOf(last)}\n`)
    last = undefined
  }
  return {
    show(progress: TokenizerTrainingProgress): void {
      if (last !== undefined && last.stage !== progress.stage) end()
      last = progress
      if (!isLive || performance.now() - shown < REFRESH) return
      stderr.write(`\r${lineOf(progress)}\u001b[K`)
      shown = performance.now()
    },
    end,
    /** Leaves the terminal as it was, after an error. */
    stop(): void {
      if (isLive && last !== undefined) stderr.write('\n')
      last = undefined
    },
  }
}

/** What the person who trains may want to change. */
function adviceFor(progress: TokenizerTrainingProgress, { limitAlphabet, vocabSize }: TokenizerTrainOptions): string[] {
  const { characters, keptCharacters, tokens, unknownWords, words } = progress
  const advice: string[] = []
  if (unknownWords > 0) {
    advice.push(
      `warning: ${short((100 * unknownWords) / words)} % of the words have a character that the vocabulary lacks; it has ` +
        `${grouped(keptCharacters)} of ${grouped(characters)}, as --limit-alphabet ${limitAlphabet} says`,
    )
  }
  if (tokens < vocabSize) advice.push(`the texts give no more than ${grouped(tokens)} tokens`)
  return advice
}

/** Options of the API in a message become flags. */
const FLAGS: Readonly<Record<string, string>> = { vocabSize: '--vocab-size', limitAlphabet: '--limit-alphabet' }
const withFlags = (message: string): string => message.replace(/\b(vocabSize|limitAlphabet)\b/g, (name) => FLAGS[name])

async function train(options: TokenizerTrainOptions, io: Io): Promise<void> {
  checkDataOptions(options)
  const display = createDisplay(io)
  const { minFrequency, limitAlphabet, modelMaxLength, vocabSize, outputDir } = options
  let result: TokenizerTrainingProgress | undefined
  let tokenizer: BertTokenizer
  try {
    tokenizer = await BertTokenizer.train(passagesOf(options), {
      vocabSize,
      minFrequency,
      limitAlphabet,
      modelMaxLength,
      doLowerCase: options.lowercase,
      stripAccents: options.stripAccents,
      tokenizeChineseChars: options.tokenizeChineseChars,
      cleanText: options.cleanText,
      signal: io.signal,
      onProgress(progress) {
        result = progress
        if (!options.json) display.show(progress)
      },
    })
  } catch (error) {
    display.stop()
    throw error instanceof ArgumentError ? new UsageError(withFlags(error.message), { cause: error }) : error
  }
  display.end()
  await tokenizer.savePretrained(outputDir)
  if (result === undefined) return
  const { characters, distinctWords, keptCharacters, texts, unknownWords, words } = result
  if (options.json) {
    writeJsonLine(io.stdout, {
      vocab_size: tokenizer.vocabSize,
      texts,
      words,
      distinct_words: distinctWords,
      characters,
      kept_characters: keptCharacters,
      unknown_words: unknownWords,
      output_dir: outputDir,
    })
    return
  }
  for (const line of adviceFor(result, options)) io.stderr.write(`${line}\n`)
  writeTable(io.stdout, [
    ['vocabulary', `${grouped(tokenizer.vocabSize)} tokens`],
    ['saved to', outputDir],
  ])
}

export function addTokenizer(program: Command, io: Io): void {
  const tokenizer = program.command('tokenizer').description('make a tokenizer for a new model')
  const integer = (flag: string, help: string, least: number, fallback: number): void => {
    command.option(`${flag} <integer>`, help, integerOption(flag, least), fallback)
  }
  const command = tokenizer
    .command('train')
    .description('learn a WordPiece vocabulary from text')
    .requiredOption('--train-file <file...>', 'text: .txt (every line), .csv, .tsv or .jsonl, each also .gz')
    .requiredOption('--output-dir <folder>', 'for vocab.txt, tokenizer.json and tokenizer_config.json')
  integer('--vocab-size', 'tokens, special ones and characters included', 1, 30_000)
  integer('--min-frequency', 'two pieces that stand side by side less often make no new one', 0, 0)
  integer('--limit-alphabet', 'different characters, the most frequent ones', 1, 1000)
  integer('--model-max-length', 'longest input of the model that it is for, in tokens', 1, 512)
  command
    .option('--no-lowercase', 'tell upper case from lower case')
    .option('--strip-accents', 'remove accents (default: only of lower-cased text)')
    .option('--no-strip-accents', 'keep accents')
    .option('--no-tokenize-chinese-chars', 'do not make a word of every ideograph')
    .option('--no-clean-text', 'keep control characters')
    .option(
      '--file-format <name>',
      'txt, csv, tsv, jsonl, json or parquet (default: by the name of the file)',
      oneOf<RowFormat>('--file-format', ['txt', 'csv', 'tsv', 'jsonl', 'json', 'parquet']),
    )
    .option('--columns <names>', 'names of the columns, separated by commas; _ skips one')
    .option('--no-header', 'the first line is data (with --columns)')
    .option('--text-column <name>', "column of the text (default: 'text')")
    .addOption(textLayoutOption())
    .option('--json', 'write one JSON object to standard output and nothing else')
    .action((options: TokenizerTrainOptions) => train(options, io))
}
