import type { PreTrainedModel } from '../session/pretrained.ts'
import type { ExportOnnxOptions, OnnxExport } from './onnx/export.ts'

/**
 * Writes a model for ONNX Runtime and transformers.js: onnx/model.onnx (float32, any batch and sequence length), config.json, and
 * tokenizer.json, tokenizer_config.json and vocab.txt where there is a tokenizer. The model that was there is replaced when the new
 * one is whole on disk. Dropout is left out; a decoder (config.isDecoder) is causal and has no past.
 *
 * `model`: a model, or the folder of one, of which config.json, weights and tokenizer are read; one tensor at a time is in memory.
 * @throws ArgumentError for an option; ConfigError for a class that is not among the nine, or cross-attention; WeightsError where
 * the folder lacks a tensor; FileError where a file cannot be read or written; AbortedError when `signal` fires.
 */
export async function exportOnnx(
  model: PreTrainedModel | string,
  outputDir: string,
  options: ExportOnnxOptions = {},
): Promise<OnnxExport> {
  // Imported when it is called: a program that exports nothing needs no protobuf.
  const { writeOnnx } = await import('./onnx/export.ts')
  return writeOnnx(model, outputDir, options)
}
