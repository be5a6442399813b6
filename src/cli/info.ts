import type { Command } from 'commander'
import { describeBackend } from '../backend/open.ts'
import { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { HubError, UsageError } from '../errors.ts'
import { exists, joinPath } from '../formats/files.ts'
import { FolderFiles } from '../formats/folder-files.ts'
import { resolveModelFolder } from '../formats/hub.ts'
import type { HubOptions } from '../formats/hub-options.ts'
import { openWeights, type WeightsSource } from '../formats/weights.ts'
import { BertConfig } from '../model/config.ts'
import { modelClass } from '../session/classes.ts'
import { elementsOf } from '../tensor.ts'
import { problemTypeOf } from '../train/tasks/sequence-classification.ts'
import { hubOptions } from './hub.ts'
import { grouped, type Io, writeJsonLine, writeTable } from './io.ts'
import { addModelOptions, addRevision, type ModelOptions } from './options.ts'
import { version } from './version.ts'

interface InfoOptions extends ModelOptions {
  readonly model?: string
}

interface TokenizerInfo {
  readonly kind: 'WordPiece'
  readonly vocabulary: number
  readonly lowerCase: boolean
}

interface ModelInfo {
  readonly folder: string
  /** The class that config.json names. */
  readonly head: string
  readonly layers: number
  readonly hiddenSize: number
  readonly heads: number
  readonly intermediateSize: number
  readonly vocabulary: number
  readonly maxLength: number
  readonly decoder: boolean
  readonly crossAttention: boolean
  /** Of the class, a tied decoder counted once; of a class that bertkit does not have, those of the folder. */
  readonly parameters: number
  /** Of all tensors in the folder. */
  readonly bytes: number
  /** How the floating-point tensors are stored, such as float32. */
  readonly dtype: string
  readonly problemType?: string
  readonly labels?: string[]
  readonly tokenizer?: TokenizerInfo
  /** Names of the class that the folder lacks, has too many, or has in another shape; none of a class that bertkit does not have. */
  readonly missing?: string[]
  readonly unexpected?: string[]
  readonly mismatched?: string[]
}

const DTYPES: Readonly<Record<string, string>> = { F64: 'float64', F32: 'float32', F16: 'float16', BF16: 'bfloat16' }
const LABELLED = ['BertForSequenceClassification', 'BertForTokenClassification']

/** From the headers of the weights; no weight is read, and none is made. */
function describeWeights(head: string, config: BertConfig, weights: WeightsSource) {
  const stored = [...weights.tensors.values()]
  const bytes = stored.reduce((sum, { length }) => sum + length, 0)
  // Integers are no parameters: old checkpoints carry the positions 0, 1, 2, ...
  const real = stored.filter(({ dtype }) => Object.hasOwn(DTYPES, dtype))
  const dtype = [...new Set(real.map((tensor) => DTYPES[tensor.dtype]))].sort().join(' and ')
  const Model = modelClass(head)
  if (!Model) return { parameters: real.reduce((sum, { shape }) => sum + elementsOf(shape), 0), bytes, dtype }
  const model = new Model(config)
  try {
    const { missing, unexpected, mismatched } = model.matchFolder(weights)
    const parameters = model.parameters().reduce((sum, { size }) => sum + size, 0)
    return { parameters, bytes, dtype, missing, unexpected, mismatched: mismatched.map(({ name }) => name) }
  } finally {
    model.dispose()
  }
}

/** Undefined: the model has none. */
async function describeTokenizer(nameOrFolder: string, hub: HubOptions): Promise<TokenizerInfo | undefined> {
  let folder: string
  try {
    folder = await resolveModelFolder(nameOrFolder, 'tokenizer', hub)
  } catch (error) {
    if (error instanceof HubError && ['not-found', 'not-cached'].includes(error.reason)) return undefined
    throw error
  }
  const files = ['tokenizer.json', 'vocab.txt'].map((name) => exists(joinPath(folder, name)))
  if (!(await Promise.all(files)).includes(true)) return undefined
  const { vocabSize, doLowerCase } = await BertTokenizer.fromPretrained(folder)
  return { kind: 'WordPiece', vocabulary: vocabSize, lowerCase: doLowerCase }
}

async function describeModel(nameOrFolder: string, options: InfoOptions, io: Io): Promise<ModelInfo> {
  const hub = hubOptions(options, io)
  const folder = await resolveModelFolder(nameOrFolder, 'model', hub)
  const config = await BertConfig.fromPretrained(folder)
  const head = config.architectures?.[0] ?? 'BertModel'
  const weights = await openWeights(new FolderFiles(folder))
  try {
    return {
      folder,
      head,
      layers: config.numHiddenLayers,
      hiddenSize: config.hiddenSize,
      heads: config.numAttentionHeads,
      intermediateSize: config.intermediateSize,
      vocabulary: config.vocabSize,
      maxLength: config.maxPositionEmbeddings,
      decoder: config.isDecoder,
      crossAttention: config.addCrossAttention,
      ...describeWeights(head, config, weights),
      ...(head === LABELLED[0] ? { problemType: problemTypeOf(config) } : {}),
      ...(LABELLED.includes(head) ? { labels: config.labels } : {}),
      tokenizer: await describeTokenizer(nameOrFolder, hub),
    }
  } finally {
    await weights.close()
  }
}

/** Some of a list, and how many more there are. */
function some(names: readonly string[], most: number): string {
  const more = names.length - most
  return `${names.length}: ${names.slice(0, most).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

const MOST_LABELS = 8
const MOST_NAMES = 4

function modelRows(model: ModelInfo): [string, string][] {
  const rows: [string, string][] = [
    ['model', model.folder],
    [
      'head',
      `${model.head}${model.decoder ? `, a decoder${model.crossAttention ? ' with cross-attention' : ''}` : ''}`,
    ],
    [
      'size',
      `${model.layers} layers of ${model.hiddenSize}, ${model.heads} heads, intermediate ${model.intermediateSize}`,
    ],
    ['vocabulary', `${grouped(model.vocabulary)} tokens`],
    ['longest sequence', `${grouped(model.maxLength)} tokens`],
    ['parameters', grouped(model.parameters)],
    ['stored', `${(model.bytes / 2 ** 20).toFixed(1)} MiB, ${model.dtype}`],
  ]
  if (model.problemType !== undefined) rows.push(['problem type', model.problemType])
  if (model.labels !== undefined) rows.push(['labels', some(model.labels, MOST_LABELS)])
  const { tokenizer } = model
  const other =
    tokenizer && tokenizer.vocabulary !== model.vocabulary ? ` of the model's ${grouped(model.vocabulary)}` : ''
  const kind = tokenizer && `${tokenizer.kind}, ${grouped(tokenizer.vocabulary)} tokens${other}`
  rows.push(['tokenizer', tokenizer ? `${kind}, ${tokenizer.lowerCase ? 'lower-cased' : 'cased'}` : 'none'])
  for (const report of ['missing', 'unexpected', 'mismatched'] as const)
    if (model[report]?.length) rows.push([report, some(model[report], MOST_NAMES)])
  return rows
}

async function info(argument: string | undefined, options: InfoOptions, io: Io): Promise<void> {
  if (argument !== undefined && options.model !== undefined)
    throw new UsageError('Expected one model folder but received two')
  const folder = argument ?? options.model
  const model = folder === undefined ? undefined : await describeModel(folder, options, io)
  const { backend, cpu, isa, isas, auto, products, threads } = await describeBackend({
    backend: options.backend,
    threads: options.threads,
  })
  if (options.json) {
    writeJsonLine(io.stdout, { version: version(), backend, cpu, isa, isas, threads, auto, products, model })
    return
  }
  writeTable(io.stdout, [
    ['bertkit', version()],
    ['node', process.version],
    ['backend', backend],
    [backend === 'cuda' ? 'gpu' : 'cpu', cpu],
    ['instruction set', `${isa} (of ${isas.join(', ')})`],
    ['threads', String(threads)],
    ['faster dtype', auto],
    ...Object.entries(products).map(([dtype, { kernel, rows, columns }]): [string, string] => [
      `products ${dtype}`,
      `${kernel}, tiles of ${rows} x ${columns}`,
    ]),
    ...(model === undefined ? [] : modelRows(model)),
  ])
}

export function addInfo(program: Command, io: Io): void {
  const command = program
    .command('info')
    .description("show this machine's instruction set, threads and kernels, and what a model folder holds")
    .argument('[name]', 'model folder or Hub id')
    .option('--model <name>', 'model folder or Hub id')
  addModelOptions(addRevision(command)).action((folder: string | undefined, options: InfoOptions) =>
    info(folder, options, io),
  )
}
