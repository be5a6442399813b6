import { openSource } from './file-source.ts'
import { writeAtomic } from './files.ts'
import { encodeSafetensors, readSafetensors, type SafetensorsFile } from './safetensors.ts'

/**
 * Opens a safetensors file and checks its whole header; tensors are read when asked for. A malformed, truncated or
 * overlong file is a WeightsError, a file that cannot be opened a FileError.
 */
export async function openSafetensors(file: string): Promise<SafetensorsFile> {
  const source = await openSource(file)
  try {
    return await readSafetensors(source)
  } catch (error) {
    await source.close()
    throw error
  }
}

/** Writes what `encodeSafetensors` makes, and replaces `file` only when all is on disk: an error leaves the old file as it was. */
export async function writeSafetensors(file: string, ...content: Content): Promise<void> {
  await writeAtomic(file, encodeSafetensors(file, ...content).chunks)
}
type Content = Parameters<typeof encodeSafetensors> extends [string, ...infer Rest] ? Rest : never
