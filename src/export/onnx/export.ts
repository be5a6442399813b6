import { BertTokenizer } from '../../data/tokenizer/tokenizer.ts'
import { AbortedError, ArgumentError, ConfigError, WeightsError } from '../../errors.ts'
import { exists, joinPath, makeFolder, removeFile, type StagedFile, stageFile, writeText } from '../../formats/files.ts'
import { matchWeights } from '../../formats/names.ts'
import { compareTables } from '../../formats/tied-tables.ts'
import { isJsonObject, kindOf, quote } from '../../json.ts'
import { BertConfig } from '../../model/config.ts'
import { checkCall } from '../../session/options.ts'
import type { PreTrainedModel } from '../../session/pretrained.ts'
import { ARCHITECTURES, type Architecture, isArchitecture } from './architectures.ts'
import type { GraphBuilder } from './graph.ts'
import { aliasesOf, buildGraph } from './heads.ts'
import { externalModel, inlineModel, MAX_MODEL_BYTES, type ModelFields, type ReadParameter } from './serialize.ts'
import { type ModelSource, withSource } from './source.ts'

const MODEL_FILE = 'model.onnx'
const DATA_FILE = 'model.onnx_data'
const FOLDER = 'onnx'

/** Version of the ai.onnx operators -> the least ir_version that may name it (onnx/helper.py, VERSION_TABLE). */
const IR_VERSIONS: Readonly<Record<number, number>> = {
  17: 8,
  18: 8,
  19: 9,
  20: 9,
  21: 10,
  22: 10,
  23: 11,
  24: 12,
  25: 13,
}
// LayerNormalization came with 17, which the most readers know.
export const MIN_OPSET = 17
export const MAX_OPSET = 25

export interface ExportOnnxOptions {
  /** The class to export; default: the model's own, or the first of `architectures` in config.json. */
  readonly architecture?: Architecture
  /** Version of ONNX's operators, 17 to 25; default 17. */
  readonly opset?: number
  /**
   * In bytes: a model file that would be larger keeps its weights in a second one, model.onnx_data. Default: protobuf's limit of
   * 2^31 - 1; 0: always.
   */
  readonly externalDataThreshold?: number
  /** Default: the tokenizer of the model's folder, if it has one. */
  readonly tokenizer?: BertTokenizer
  readonly signal?: AbortSignal
}

/** What an export wrote. */
export interface OnnxExport {
  readonly architecture: Architecture
  readonly opset: number
  /** Relative to the output folder. */
  readonly files: readonly string[]
  readonly externalData: boolean
}

const OPTIONS = ['architecture', 'opset', 'externalDataThreshold', 'tokenizer', 'signal']

function resolveExportOptions(options: ExportOnnxOptions) {
  checkCall('exportOnnx', options, OPTIONS)
  const { architecture, opset = MIN_OPSET, externalDataThreshold = MAX_MODEL_BYTES, tokenizer } = options
  if (tokenizer !== undefined && !(tokenizer instanceof BertTokenizer))
    throw new ArgumentError(`Expected tokenizer to be a BertTokenizer but received ${kindOf(tokenizer)}`)
  if (architecture !== undefined && !isArchitecture(architecture))
    throw new ArgumentError(
      `Expected architecture to be one of ${ARCHITECTURES.join(', ')} but received ${quote(architecture)}`,
    )
  if (!Number.isInteger(opset) || opset < MIN_OPSET || opset > MAX_OPSET)
    throw new ArgumentError(
      `Expected opset to be an integer from ${MIN_OPSET} to ${MAX_OPSET} but received ${quote(opset)}`,
    )
  if (!Number.isInteger(externalDataThreshold) || externalDataThreshold < 0 || externalDataThreshold > MAX_MODEL_BYTES)
    throw new ArgumentError(
      `Expected externalDataThreshold to be an integer from 0 to ${MAX_MODEL_BYTES} (the most that protobuf allows) but received ${quote(externalDataThreshold)}`,
    )
  return { architecture, opset, externalDataThreshold }
}

/** A folder's class; a config without one is that of a base model. */
function architectureOf({ architecture = 'BertModel', where }: ModelSource): Architecture {
  if (isArchitecture(architecture)) return architecture
  throw new ConfigError(
    `${where}: the class (architectures[0]) is ${quote(architecture)}; expected one of ${ARCHITECTURES.join(', ')}`,
  )
}

/** Finds every parameter of the graph among the source's tensors; a WeightsError names the first that is not as it must be. */
async function findParameters(
  graph: GraphBuilder,
  { config, tensors, where, read, stored }: ModelSource,
): Promise<ReadParameter> {
  const { sources, twins, missing, mismatched } = matchWeights(graph.parameters, tensors, {
    aliases: aliasesOf(config),
  })
  const more = (count: number) => (count > 1 ? ` (and ${count - 1} more)` : '')
  if (mismatched.length > 0) {
    const [{ name, expected, found }] = mismatched
    throw new WeightsError(
      `${where}: expected ${name} of shape ${quote(expected)} but found ${quote(found)}${more(mismatched.length)}`,
    )
  }
  if (missing.length > 0)
    throw new WeightsError(
      `${where}: there is no ${missing[0]}${more(missing.length)}; an export has no weights to put there`,
    )
  // of a graph that has no output for words, the other table is no part
  if (stored && graph.parameters.has('cls.predictions.bias')) await compareTables(where, stored, twins)
  return (name) => read(sources.get(name)!)
}

/** What transformers.js has to know of the folder: it would look for a quantised model in a browser, and for no second file. */
function forTransformersJs(config: BertConfig, externalData: boolean): BertConfig {
  const json = config.toJSON()
  const key = 'transformers.js_config'
  const { use_external_data_format: _, ...kept } = isJsonObject(json[key]) ? json[key] : {}
  const external = externalData ? { use_external_data_format: { [MODEL_FILE]: 1 } } : {}
  return BertConfig.fromJSON({ ...json, [key]: { ...kept, dtype: 'fp32', ...external } })
}

/** Puts the files in place such that a model never meets the data of another, wherever a crash falls. */
async function commit(folder: string, model: StagedFile, data: StagedFile | undefined): Promise<void> {
  if (data !== undefined) {
    await removeFile(joinPath(folder, MODEL_FILE))
    await data.commit()
  }
  await model.commit()
  if (data === undefined) await removeFile(joinPath(folder, DATA_FILE))
}

/** Writes the model under temporary names, and then `rest` and the model's real ones; after a failure the old files are there. */
async function writeModel(
  folder: string,
  fields: ModelFields,
  threshold: number,
  read: ReadParameter,
  rest: (externalData: boolean) => Promise<void>,
): Promise<boolean> {
  const inline = inlineModel(fields)
  const external = inline.size > threshold ? await externalModel(fields, DATA_FILE, read) : undefined
  const staged: StagedFile[] = []
  try {
    const data = external && (await stageFile(joinPath(folder, DATA_FILE), external.chunks()))
    if (data) staged.push(data)
    const model = await stageFile(joinPath(folder, MODEL_FILE), external ? [external.model] : inline.chunks(read))
    staged.push(model)
    await rest(external !== undefined)
    await commit(folder, model, data)
    return external !== undefined
  } catch (error) {
    for (const file of staged) await file.discard()
    throw error
  }
}

/** What `exportOnnx` does. */
export async function writeOnnx(
  model: PreTrainedModel | string,
  outputDir: string,
  options: ExportOnnxOptions,
): Promise<OnnxExport> {
  const { architecture: wanted, opset, externalDataThreshold } = resolveExportOptions(options)
  if (typeof outputDir !== 'string')
    throw new ArgumentError(`Expected outputDir to be a folder's path but received ${kindOf(outputDir)}`)
  return withSource(model, async (source) => {
    const architecture = wanted ?? architectureOf(source)
    const config = source.config.with({ architectures: [architecture], dtype: 'float32' }, source.where)
    const pooler = [...source.tensors.keys()].some((name) => /(^|\.)pooler\.dense\.weight$/.test(name))
    const graph = buildGraph(architecture, config, { pooler }, source.where)
    const stored = await findParameters(graph, source)
    const read: ReadParameter = async (name) => {
      if (options.signal?.aborted) throw new AbortedError('The export was stopped; the files are as they were')
      return stored(name)
    }
    const tokenizer = options.tokenizer ?? (await source.tokenizer())
    const folder = joinPath(outputDir, FOLDER)
    await makeFolder(folder)
    const files = [`${FOLDER}/${MODEL_FILE}`]
    const fields = { graph, name: architecture, opset, irVersion: IR_VERSIONS[opset] }
    const externalData = await writeModel(folder, fields, externalDataThreshold, read, async (external) => {
      await writeText(joinPath(outputDir, 'config.json'), forTransformersJs(config, external).toText())
      await tokenizer?.savePretrained(outputDir)
    })
    if (externalData) files.push(`${FOLDER}/${DATA_FILE}`)
    files.push('config.json')
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'vocab.txt'])
      if (tokenizer !== undefined && (await exists(joinPath(outputDir, name)))) files.push(name)
    return { architecture, opset, files, externalData }
  })
}
