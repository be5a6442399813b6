import { type Command, Option } from 'commander'
import { BertTokenizer, type TokenizerTrainingProgress } from '../data/tokenizer/tokenizer.ts'
import { UsageError } from '../errors.ts'
import { exists, joinPath } from '../formats/files.ts'
import { BertConfig } from '../model/config.ts'
import { showLearning, textsOf, warn } from './data.ts'
import { withFolder } from './folders.ts'
import { addHelpParagraph } from './help.ts'
import { grouped, type Io } from './io.ts'
import { type Blueprint, maxLengthOf, readConfig } from './models.ts'
import { flagError, integerOption, numberOption } from './options.ts'
import { createProgress } from './progress.ts'
import { addTrainOptions, type TrainOptions, train } from './train.ts'
import { readVocabulary } from './vocabulary.ts'

interface PretrainOptions extends Omit<TrainOptions, 'task'> {
  readonly vocabSize: number
  readonly limitAlphabet: number
  readonly lowercase: boolean
  readonly hiddenSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads?: number
  readonly intermediateSize?: number
  readonly maxPositionEmbeddings: number
  readonly hiddenDropoutProb?: number
  readonly attentionProbsDropoutProb?: number
  readonly resumeFromCheckpoint?: string | boolean
}

/** What describes a new model. */
const FIELDS = [
  '--hidden-size',
  '--num-hidden-layers',
  '--num-attention-heads',
  '--intermediate-size',
  '--max-position-embeddings',
  '--hidden-dropout-prob',
  '--attention-probs-dropout-prob',
]

/** Width of an attention head where nobody says, as in every BERT. */
const HEAD_SIZE = 64

/** Learns a tokenizer from the texts, and saves it: a run that is interrupted has to find it again. */
async function learnTokenizer(options: PretrainOptions, io: Io): Promise<BertTokenizer> {
  const { limitAlphabet, lowercase, maxPositionEmbeddings: modelMaxLength, outputDir, trainFile, vocabSize } = options
  const json = options.json === true
  const progress = createProgress(io, { quiet: json })
  let learnt: TokenizerTrainingProgress | undefined
  try {
    const onProgress = (now: TokenizerTrainingProgress): void => {
      learnt = now
      showLearning(progress, now, vocabSize)
    }
    const settings = { vocabSize, limitAlphabet, doLowerCase: lowercase, modelMaxLength, onProgress, signal: io.signal }
    const tokenizer = await BertTokenizer.train(textsOf(trainFile, options), settings)
    await tokenizer.savePretrained(outputDir)
    progress.stop()
    const { unknownWords, words } = learnt ?? { unknownWords: 0, words: 1 }
    if (unknownWords > words / 100)
      warn(
        `${Math.round((100 * unknownWords) / words)} % of the words have a character that the vocabulary lacks; a greater --limit-alphabet (${limitAlphabet}) keeps more`,
        json,
        io,
      )
    if (!json) io.stderr.write(`vocabulary: ${grouped(tokenizer.vocabSize)} tokens learnt\n`)
    return tokenizer
  } catch (error) {
    throw flagError(error)
  } finally {
    progress.stop()
  }
}

/** The tokenizer given, the one that an interrupted run has made, or a new one. */
async function tokenizerOf(options: PretrainOptions, io: Io): Promise<BertTokenizer> {
  const { lowercase, outputDir, resumeFromCheckpoint, vocab } = options
  if (vocab !== undefined) return readVocabulary(vocab, lowercase ? {} : { doLowerCase: false })
  if (resumeFromCheckpoint !== undefined && (await exists(joinPath(outputDir, 'vocab.txt'))))
    return BertTokenizer.fromPretrained(outputDir)
  return withFolder(outputDir, () => learnTokenizer(options, io))
}

async function configOf(
  options: PretrainOptions,
  { vocabSize }: Pick<BertTokenizer, 'vocabSize'>,
): Promise<BertConfig> {
  if (options.config !== undefined) return readConfig(options.config)
  const { attentionProbsDropoutProb, hiddenDropoutProb, hiddenSize, maxPositionEmbeddings, numHiddenLayers } = options
  if (options.numAttentionHeads === undefined && hiddenSize % HEAD_SIZE !== 0)
    throw new UsageError(
      `Expected --num-attention-heads, because --hidden-size is no multiple of ${HEAD_SIZE}, but received none`,
    )
  return new BertConfig({
    vocabSize,
    hiddenSize,
    numHiddenLayers,
    numAttentionHeads: options.numAttentionHeads ?? hiddenSize / HEAD_SIZE,
    intermediateSize: options.intermediateSize ?? 4 * hiddenSize,
    maxPositionEmbeddings,
    hiddenDropoutProb,
    attentionProbsDropoutProb,
  })
}

/** Throws UsageError for an option that would mean nothing. */
function checkUse(command: Command, { config, model, vocab }: PretrainOptions): void {
  const refuse = (flags: readonly string[], why: string): void => {
    for (const flag of flags) {
      const name = flag.replace(/^--(no-)?/, '').replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
      if (command.getOptionValueSource(name) === 'cli')
        throw new UsageError(`Expected ${why} or ${flag} but received both`)
    }
  }
  const learning = ['--vocab-size', '--limit-alphabet']
  if (model !== undefined) refuse(['--vocab', '--config', ...learning, '--no-lowercase', ...FIELDS], '--model')
  if (config !== undefined) refuse(FIELDS, '--config')
  if (vocab !== undefined) refuse(learning, '--vocab')
}

async function pretrain(options: PretrainOptions, io: Io): Promise<void> {
  const { config: _, vocab: __, ...rest } = options
  if (options.model !== undefined) return train({ ...rest, task: 'pretraining' }, io)
  // what cannot be built is found out before a vocabulary is learnt
  const { config, maxLength, maxPositionEmbeddings } = options
  if (config === undefined && maxLength !== undefined && maxLength > maxPositionEmbeddings)
    throw new UsageError(
      `Expected --max-length to be at most --max-position-embeddings, ${maxPositionEmbeddings}, but received ${maxLength}`,
    )
  maxLengthOf(options, await configOf(options, { vocabSize: options.vocabSize }))
  const blueprint = async (): Promise<Blueprint> => {
    const tokenizer = await tokenizerOf(options, io)
    return { tokenizer, config: await configOf(options, tokenizer) }
  }
  return train({ ...rest, task: 'pretraining' }, io, blueprint)
}

export function addPretrain(program: Command, io: Io): void {
  const command = program
    .command('pretrain')
    .description('pre-train a model from plain text: masked words and next sentences, with a vocabulary learnt from it')
  addTrainOptions(command)
  const size = (flag: string, help: string, fallback?: number) =>
    command.addOption(new Option(`${flag} <integer>`, help).argParser(integerOption(flag, 1)).default(fallback))
  size('--vocab-size', 'tokens of the vocabulary to learn (without --vocab)', 30_000)
  size('--limit-alphabet', 'distinct characters to keep, the most frequent first', 1000)
  command.option('--no-lowercase', 'the vocabulary to learn keeps upper case and accents')
  size('--hidden-size', 'width of a new model (without --config)', 256)
  size('--num-hidden-layers', 'its layers', 4)
  size('--num-attention-heads', 'its heads (default: one for each 64 of its width)')
  size('--intermediate-size', 'width of its feed-forward layers (default: 4 times its width)')
  size('--max-position-embeddings', 'its longest sequence in tokens', 128)
  const dropout = (flag: string, what: string) =>
    command.option(
      `${flag} <number>`,
      `dropout of ${what} (default: 0.1)`,
      numberOption(flag, 'a number of at least 0 and below 1', (value) => value >= 0 && value < 1),
    )
  dropout('--hidden-dropout-prob', 'its embeddings and layers')
  dropout('--attention-probs-dropout-prob', 'its attention')
  addHelpParagraph(
    command,
    'The text: .txt with a passage on each line and a blank line between documents, or paragraphs as books have them (--text-layout paragraphs); .jsonl, .json, .csv, .tsv or .parquet with a column text (--text-column); each also .gz.',
  )
  command.action((options: PretrainOptions) => {
    checkUse(command, options)
    return pretrain(options, io)
  })
}
