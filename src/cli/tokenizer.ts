import type { Command } from 'commander'
import type { RowFormat } from '../data/readers/rows.ts'
import type { TextLayout } from '../data/readers/text.ts'
import { BertTokenizer, type TokenizerTrainingProgress } from '../data/tokenizer/tokenizer.ts'
import { showLearning, textsOf } from './data.ts'
import { withFolder } from './folders.ts'
import { grouped, type Io, short, writeJsonLine, writeTable } from './io.ts'
import {
  addTextOptions,
  checkDataOptions,
  flagError,
  integerOption,
  TEXT_FORMATS,
  textLayoutOption,
} from './options.ts'
import { createProgress } from './progress.ts'

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
  readonly header?: boolean
  readonly textColumn?: string
  readonly textLayout?: TextLayout
  readonly json?: boolean
}

/** What was read, and what came of it. */
const summaryOf = ({ distinctWords, texts, tokens, words }: TokenizerTrainingProgress): string =>
  `${grouped(texts)} texts, ${grouped(words)} words, ${grouped(distinctWords)} different ones\n${grouped(tokens)} tokens\n`

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

async function train(options: TokenizerTrainOptions, io: Io): Promise<void> {
  checkDataOptions(options, options.trainFile)
  const progress = createProgress(io, { quiet: options.json === true })
  const { minFrequency, limitAlphabet, modelMaxLength, vocabSize, outputDir } = options
  let result: TokenizerTrainingProgress | undefined
  const learn = async (): Promise<BertTokenizer> => {
    const learnt = await BertTokenizer.train(textsOf(options.trainFile, options), {
      vocabSize,
      minFrequency,
      limitAlphabet,
      modelMaxLength,
      doLowerCase: options.lowercase,
      stripAccents: options.stripAccents,
      tokenizeChineseChars: options.tokenizeChineseChars,
      cleanText: options.cleanText,
      signal: io.signal,
      onProgress(now) {
        result = now
        showLearning(progress, now, vocabSize)
      },
    })
    await learnt.savePretrained(outputDir)
    return learnt
  }
  const tokenizer = await withFolder(outputDir, learn)
    .catch((error) => {
      throw flagError(error)
    })
    .finally(() => progress.stop())
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
  io.stderr.write(summaryOf(result))
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
    .requiredOption(
      '--train-file <file...>',
      'text: .txt (every line), .jsonl, .json, .csv, .tsv or .parquet, each also .gz',
    )
    .requiredOption('--output-dir <folder>', 'for vocab.txt, tokenizer.json and tokenizer_config.json')
  integer('--vocab-size', 'tokens, special ones and characters included', 1, 30_000)
  integer('--min-frequency', 'join only pairs of pieces that are seen at least this often', 0, 0)
  integer('--limit-alphabet', 'distinct characters to keep, the most frequent first', 1, 1000)
  integer('--model-max-length', 'longest input of the model that it is for, in tokens', 1, 512)
  command
    .option('--no-lowercase', 'tell upper case from lower case')
    .option('--strip-accents', 'remove accents (default: only of lower-cased text)')
    .option('--no-strip-accents', 'keep accents')
    .option('--no-tokenize-chinese-chars', 'do not make a word of every ideograph')
    .option('--no-clean-text', 'keep control characters')
  addTextOptions(command, TEXT_FORMATS)
    .addOption(textLayoutOption())
    .option('--json', 'write one JSON object to standard output and nothing else')
    .action((options: TokenizerTrainOptions) => train(options, io))
}
