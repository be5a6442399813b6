import type { Command } from 'commander'
import { ARCHITECTURES, type Architecture } from '../export/onnx/architectures.ts'
import { MAX_OPSET, MIN_OPSET } from '../export/onnx/export.ts'
import { MAX_MODEL_BYTES } from '../export/onnx/serialize.ts'
import { exportOnnx } from '../export/onnx.ts'
import { type Io, writeJsonLine } from './io.ts'
import { integerOption, oneOf } from './options.ts'

interface ExportOptions {
  readonly format: 'onnx'
  readonly model: string
  readonly output: string
  readonly architecture?: Architecture
  readonly opset?: number
  readonly externalDataThreshold?: number
  readonly json?: boolean
}

async function exportModel({ format, model, output, json, ...options }: ExportOptions, io: Io): Promise<void> {
  const result = await exportOnnx(model, output, { ...options, signal: io.signal })
  if (json) writeJsonLine(io.stdout, { format, output, ...result })
  else for (const file of result.files) io.stdout.write(`${output}/${file}\n`)
}

export function addExport(program: Command, io: Io): void {
  const [opsetFlag, thresholdFlag] = ['--opset', '--external-data-threshold']
  program
    .command('export')
    .description('write a model for other runtimes: ONNX, for ONNX Runtime and transformers.js')
    .requiredOption('--format <name>', 'onnx', oneOf('--format', ['onnx']))
    .requiredOption('--model <folder>', 'model folder, or the id of one on the Hub')
    .requiredOption('--output <folder>', 'where to write: onnx/model.onnx, config.json and the tokenizer')
    .option(
      '--architecture <name>',
      `one of ${ARCHITECTURES.join(', ')} (default: what config.json says)`,
      oneOf('--architecture', ARCHITECTURES),
    )
    .option(
      `${opsetFlag} <integer>`,
      "version of ONNX's operators (default: 17)",
      integerOption(opsetFlag, MIN_OPSET, MAX_OPSET),
    )
    .option(
      `${thresholdFlag} <bytes>`,
      'put the weights into a file of their own where the model would be larger (default: 2147483647)',
      integerOption(thresholdFlag, 0, MAX_MODEL_BYTES),
    )
    .option('--json', 'write one JSON object to standard output and nothing else')
    .action((options: ExportOptions) => exportModel(options, io))
}
