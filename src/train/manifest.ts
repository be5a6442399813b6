// A list of a checkpoint's files with their sizes and SHA-256, written last: what it names is what was saved, bit by bit.
import { createHash } from 'node:crypto'
import * as path from 'node:path'
import { DataError } from '../errors.ts'
import { exists, readText, streamBytes, writeText } from '../formats/files.ts'
import { isJsonObject, parseJson } from '../json.ts'
import { slices } from '../turns.ts'
import { listFolder } from './folders.ts'

export const MANIFEST_FILE = 'manifest.json'
const VERSION = 1
/** What a checkpoint consists of; a desktop's or a person's notes may lie beside it. */
const SAVED = /\.safetensors$|^(?:config|trainer_state|tokenizer|tokenizer_config)\.json$|^vocab\.txt$/

interface FileDigest {
  readonly bytes: number
  readonly sha256: string
}

const PIECE = 2 ** 20

async function digestOf(file: string): Promise<FileDigest> {
  const hash = createHash('sha256')
  let bytes = 0
  const turn = slices()
  for await (const chunk of streamBytes(file)) {
    bytes += chunk.length
    for (let at = 0; at < chunk.length; at += PIECE) {
      hash.update(chunk.subarray(at, at + PIECE))
      await turn()
    }
  }
  return { bytes, sha256: hash.digest('hex') }
}

/** Writes the manifest of everything that is in `folder`. */
export async function writeManifest(folder: string): Promise<void> {
  const files: Record<string, FileDigest> = {}
  for (const name of (await listFolder(folder)).sort()) files[name] = await digestOf(path.join(folder, name))
  await writeText(path.join(folder, MANIFEST_FILE), `${JSON.stringify({ version: VERSION, files }, null, 2)}\n`)
}

/**
 * Reads every file that the manifest names. Throws DataError, naming the file, where one is missing or is not what was saved, and
 * where there is no manifest: saving then did not end.
 */
export async function verifyManifest(folder: string): Promise<void> {
  const manifest = path.join(folder, MANIFEST_FILE)
  const advice = 'resume from another checkpoint, or delete this one to resume from the one before it'
  if (!(await exists(manifest)))
    throw new DataError(`there is no ${MANIFEST_FILE}: this is not a whole checkpoint; ${advice}`, folder)
  const json = parseJson(await readText(manifest), (reason) => new DataError(reason, manifest))
  const files = isJsonObject(json) && isJsonObject(json.files) ? json.files : undefined
  if (!isJsonObject(json) || json.version !== VERSION || files === undefined)
    throw new DataError(`expected an object with version ${VERSION} and files`, manifest)
  const names = Object.keys(files)
  const unnamed = (await listFolder(folder)).find((name) => SAVED.test(name) && !names.includes(name))
  if (unnamed !== undefined || !names.some((name) => name.endsWith('.safetensors')))
    throw new DataError(`it does not name ${unnamed ?? 'any weights'}; ${advice}`, manifest)
  for (const [name, saved] of Object.entries(files)) {
    const file = path.join(folder, path.basename(name))
    if (!(await exists(file))) throw new DataError(`the checkpoint had this file, and it is gone; ${advice}`, file)
    const found = await digestOf(file)
    if (!isJsonObject(saved) || saved.bytes !== found.bytes || saved.sha256 !== found.sha256)
      throw new DataError(`the file is not what was saved (${MANIFEST_FILE} has another SHA-256); ${advice}`, file)
  }
}
