import type { Command } from 'commander'
import { describeBackend } from '../backend/open.ts'
import { UsageError } from '../errors.ts'
import { resolveModelFolder } from '../formats/hub.ts'
import { openWeights } from '../formats/weights.ts'
import { BertConfig } from '../model/config.ts'
import { problemTypeOf } from './classification.ts'
import { hubOptions } from './hub.ts'
import { grouped, type Io, writeJsonLine, writeTable } from './io.ts'
import { addModelOptions, addRevision, type ModelOptions } from './options.ts'
import { version } from './version.ts'

interface InfoOptions extends ModelOptions {
  readonly model?: string
}

interface ModelInfo {
  readonly folder: string
  readonly head: string
  readonly layers: number
  readonly hiddenSize: number
  readonly heads: number
  readonly intermediateSize: number
  readonly vocabulary: number
  readonly maxLength: number
  readonly parameters: number
  readonly bytes: number
  readonly problemType?: string
  readonly labels?: string[]
}

/** From config.json and the headers of the weights; no weight is read. */
async function describeModel(nameOrFolder: string, options: InfoOptions, io: Io): Promise<ModelInfo> {
  const folder = await resolveModelFolder(nameOrFolder, 'model', hubOptions(options, io))
  const config = await BertConfig.fromPretrained(folder)
  const weights = await openWeights(folder)
  let parameters = 0
  let bytes = 0
  for (const { dtype, length, shape } of weights.tensors.values()) {
    bytes += length
    // Integers are no parameters: old checkpoints carry the positions 0, 1, 2, ...; nor are the single numbers of xielu's buffers.
    if (/^B?F/.test(dtype) && shape.length > 0) parameters += shape.reduce((product, size) => product * size, 1)
  }
  await weights.close()
  const head = config.architectures?.[0] ?? 'BertModel'
  const isClassifier = head === 'BertForSequenceClassification'
  return {
    folder,
    head,
    layers: config.numHiddenLayers,
    hiddenSize: config.hiddenSize,
    heads: config.numAttentionHeads,
    intermediateSize: config.intermediateSize,
    vocabulary: config.vocabSize,
    maxLength: config.maxPositionEmbeddings,
    parameters,
    bytes,
    ...(isClassifier ? { problemType: problemTypeOf(config), labels: config.labels } : {}),
  }
}

const MOST_LABELS = 8

function modelRows(model: ModelInfo): [string, string][] {
  const rows: [string, string][] = [
    ['model', model.folder],
    ['head', model.head],
    [
      'size',
      `${model.layers} layers of ${model.hiddenSize}, ${model.heads} heads, intermediate ${model.intermediateSize}`,
    ],
    ['vocabulary', `${grouped(model.vocabulary)} tokens`],
    ['longest sequence', `${grouped(model.maxLength)} tokens`],
    ['parameters', `${grouped(model.parameters)} (${(model.bytes / 2 ** 20).toFixed(1)} MiB)`],
  ]
  if (model.problemType !== undefined) rows.push(['problem type', model.problemType])
  if (model.labels !== undefined) {
    const more = model.labels.length - MOST_LABELS
    const shown = model.labels.slice(0, MOST_LABELS).join(', ')
    rows.push(['labels', `${model.labels.length}: ${shown}${more > 0 ? ` and ${more} more` : ''}`])
  }
  return rows
}

async function info(argument: string | undefined, options: InfoOptions, io: Io): Promise<void> {
  if (argument !== undefined && options.model !== undefined)
    throw new UsageError('Expected one model folder but received two')
  const folder = argument ?? options.model
  const model = folder === undefined ? undefined : await describeModel(folder, options, io)
  const { backend, cpu, isa, isas, kernels, threads } = describeBackend({
    backend: options.backend,
    threads: options.threads,
  })
  if (options.json) {
    writeJsonLine(io.stdout, { version: version(), backend, cpu, isa, isas, threads, kernels, model })
    return
  }
  writeTable(io.stdout, [
    ['bertkit', version()],
    ['node', process.version],
    ['backend', backend],
    ['cpu', cpu],
    ['instruction set', `${isa} (of ${isas.join(', ')})`],
    ['threads', String(threads)],
    ...Object.entries(kernels).map(([name, kernel]): [string, string] => [`kernel ${name}`, kernel]),
    ...(model === undefined ? [] : modelRows(model)),
  ])
}

export function addInfo(program: Command, io: Io): void {
  const command = program
    .command('info')
    .description("show this machine's instruction set, threads and kernels, and a model folder's size and head")
    .argument('[name]', 'model folder or Hub id')
    .option('--model <name>', 'model folder or Hub id')
  addModelOptions(addRevision(command)).action((folder: string | undefined, options: InfoOptions) =>
    info(folder, options, io),
  )
}
