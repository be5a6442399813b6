// Where a pretrained model or tokenizer comes from.
import { ArgumentError } from '../errors.ts'
import { kindOf } from '../json.ts'
import { type ModelPart, platform } from '../platform.ts'
import { loadingAborted } from './download.ts'
import { type FileMap, GivenFiles, isFileMap } from './given-files.ts'
import { checkHubOptions, type HubOptions } from './hub-options.ts'
import { ModelFiles } from './model-files.ts'

/**
 * A model's files: a folder, in Node; the id of a model of the Hugging Face Hub; the URL of a folder, as a string that begins with
 * http:, https: or, on the web, with /, ./ or ../, or as a URL object; or the files themselves.
 */
export type PretrainedSource = string | URL | FileMap

/**
 * Opens the files of a source; those that are open already stay what they are.
 * @throws ArgumentError for what is no source; else what the platform's `openModel` throws.
 */
export async function openModelFiles(
  source: PretrainedSource | ModelFiles,
  part: ModelPart,
  options: HubOptions = {},
): Promise<ModelFiles> {
  if (source instanceof ModelFiles) return source
  checkHubOptions(options)
  if (options.signal?.aborted) throw loadingAborted(options.signal)
  if (typeof source === 'string' || source instanceof URL) return platform().openModel(source, part, options)
  if (isFileMap(source)) return new GivenFiles(source, options)
  throw new ArgumentError(`Expected a folder, a Hub id, a URL or an object of files but received ${kindOf(source)}`)
}
