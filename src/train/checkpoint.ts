import * as path from 'node:path'
import { ArgumentError, DataError } from '../errors.ts'
import { exists, makeFolder, readText, removeFile, syncFolder, writeText } from '../formats/files.ts'
import { isJsonObject, type JsonObject, parseJson } from '../json.ts'
import type { TrainingArguments } from './argument-rules.ts'
import { listFolder, modifiedAt, removeFolder, renameFolder } from './folders.ts'
import { MANIFEST_FILE, verifyManifest, writeManifest } from './manifest.ts'
import { readTensors, writeTensors } from './tensors.ts'
import type { SavableTokenizer, StateDict, TrainableModel, TrainableOptimizer } from './types.ts'

// A checkpoint folder holds model.safetensors, config.json and the tokenizer (a Hugging Face folder), and what training needs besides:
// optimizer.safetensors, trainer_state.json and, last, a manifest. It is written under a temporary name, synced, and renamed: `checkpoint-<step>` is
// always complete, also after a crash. Replacing one of the same name moves the old one away first; `recoverCheckpoints` undoes
// that if the process dies in between.

const STATE_FILE = 'trainer_state.json'
const OPTIMIZER_FILE = 'optimizer.safetensors'
const CONFIG_FILE = 'config.json'
const TEMPORARY = '.tmp'
const REPLACED = '.old'
const NAME = /^checkpoint-(\d+)$/

export interface CheckpointContents {
  readonly model: TrainableModel
  /** Absent: the folder can be used, not resumed. */
  readonly optimizer?: TrainableOptimizer
  readonly tokenizer?: SavableTokenizer
  /** The text of trainer_state.json. */
  readonly state: string
}

export const checkpointFolder = (outputDir: string, step: number): string => path.join(outputDir, `checkpoint-${step}`)

/**
 * Writes a checkpoint folder. A failure (a full disk, say) removes what was written, leaves an older checkpoint of that name as it
 * was, and throws FileError.
 */
export async function saveCheckpoint(folder: string, contents: CheckpointContents): Promise<void> {
  const temporary = folder + TEMPORARY
  await removeFolder(temporary)
  try {
    await makeFolder(temporary)
    await contents.model.savePretrained(temporary)
    await contents.tokenizer?.savePretrained(temporary)
    if (contents.optimizer !== undefined) {
      await writeTensors(path.join(temporary, OPTIMIZER_FILE), await contents.optimizer.stateDict())
    }
    await writeText(path.join(temporary, STATE_FILE), contents.state)
    await writeManifest(temporary)
    await syncFolder(temporary)
    await putInPlace(temporary, folder)
  } catch (error) {
    // The first error is the one to report, also where cleaning up fails too.
    await removeFolder(temporary).catch(() => undefined)
    throw error
  }
}

/** Renames `temporary` to `folder`; where that fails, an older `folder` is put back. */
async function putInPlace(temporary: string, folder: string): Promise<void> {
  const replaced = folder + REPLACED
  const replaces = await exists(folder)
  if (replaces) {
    await removeFolder(replaced)
    await renameFolder(folder, replaced)
  }
  try {
    await renameFolder(temporary, folder)
  } catch (error) {
    // The first error is the one to report; recoverCheckpoints tries once more.
    if (replaces) await renameFolder(replaced, folder).catch(() => undefined)
    throw error
  }
  await syncFolder(path.dirname(folder))
  // The new checkpoint is whole; a rest of the old one is no reason to stop training, and recoverCheckpoints removes it.
  if (replaces) await removeFolder(replaced).catch(() => undefined)
}

/** Undoes what a process that died while saving left behind: temporaries go, a checkpoint that was being replaced comes back. */
export async function recoverCheckpoints(outputDir: string): Promise<void> {
  for (const name of await listFolder(outputDir)) {
    const whole = path.join(outputDir, name)
    const stem = name.replace(/\.(tmp|old)$/, '')
    if (stem === name || !NAME.test(stem)) continue
    const target = path.join(outputDir, stem)
    if (name.endsWith(REPLACED) && !(await exists(target))) await renameFolder(whole, target)
    else await removeFolder(whole)
  }
}

/**
 * Makes the output folder ready: undoes what a process that died left behind, and finds out whether it can be written. Throws FileError.
 */
export async function prepareOutput(args: TrainingArguments): Promise<void> {
  const { outputDir, resumeFromCheckpoint, saveStrategy } = args
  const saves = saveStrategy !== 'no'
  // what others have left in the folder is none of the business of a run that neither saves nor resumes
  if (saves || resumeFromCheckpoint) await recoverCheckpoints(outputDir)
  if (saves) await probeFolder(outputDir)
}

/** Makes a folder and writes a file there, so that nobody finds out after hours that it cannot be done. Throws FileError. */
export async function probeFolder(folder: string): Promise<void> {
  await makeFolder(folder)
  const probe = path.join(folder, `.${process.pid}.probe`)
  await writeText(probe, '')
  await removeFile(probe)
}

/** The checkpoints of `outputDir` that are not of the run `runId`, or do not say of which they are. */
export async function foreignCheckpoints(outputDir: string, runId: string): Promise<Set<string>> {
  const foreign = new Set<string>()
  for (const { folder } of await listCheckpoints(outputDir)) {
    // one that is damaged, or of another program, is not of this run
    const state = await readText(path.join(folder, STATE_FILE)).catch(() => '')
    if (!state.includes(JSON.stringify(runId))) foreign.add(folder)
  }
  return foreign
}

/** The step that the name of a checkpoint folder says, or null where it is another folder. */
export function stepOf(folder: string): number | null {
  const step = NAME.exec(path.basename(folder))?.[1]
  return step === undefined ? null : Number(step)
}

/** The checkpoints of `outputDir`, by step. */
async function listCheckpoints(outputDir: string): Promise<{ step: number; folder: string }[]> {
  const found: { step: number; folder: string }[] = []
  for (const name of await listFolder(outputDir)) {
    const step = stepOf(name)
    if (step !== null) found.push({ step, folder: path.join(outputDir, name) })
  }
  return found.sort((a, b) => a.step - b.step)
}

/** The checkpoint of the highest step that can be resumed. Throws ArgumentError where there is none. */
export async function latestCheckpoint(outputDir: string): Promise<string> {
  const candidates = (await listCheckpoints(outputDir)).reverse()
  const needed = [STATE_FILE, OPTIMIZER_FILE, MANIFEST_FILE]
  for (const { folder } of candidates) {
    const names = await listFolder(folder)
    if (needed.every((name) => names.includes(name))) return folder
  }
  throw new ArgumentError(
    `Expected ${outputDir} to hold a checkpoint to resume from but there is no checkpoint-<step> with ${needed.join(', ')} in it`,
  )
}

/**
 * Deletes the oldest checkpoints until `limit` are left; null: none. `kept` (the best one) is never deleted; it counts, and where the limit is 1
 * the newest stays beside it; those of `foreign` runs are neither counted nor deleted (Transformers' trainer_utils.py, sort_checkpoints and rotate_checkpoints).
 */
export async function rotateCheckpoints(
  outputDir: string,
  limit: number | null,
  newest: string,
  kept: string | null,
  foreign: ReadonlySet<string> = new Set(),
): Promise<void> {
  if (limit === null) return
  const checkpoints = (await listCheckpoints(outputDir)).filter(({ folder }) => !foreign.has(folder))
  const aged = await Promise.all(
    checkpoints.map(async ({ folder, step }) => ({ folder, step, modified: await modifiedAt(folder) })),
  )
  aged.sort((a, b) => a.modified - b.modified || a.step - b.step)
  const protectedFolders = new Set([newest, ...(kept === null ? [] : [kept])].map((folder) => path.resolve(folder)))
  let excess = aged.length - limit
  for (const { folder } of aged) {
    if (excess <= 0) return
    if (protectedFolders.has(path.resolve(folder))) continue
    // a process that dies here leaves nothing that looks like a checkpoint
    await removeFolder(folder + TEMPORARY)
    await renameFolder(folder, folder + TEMPORARY)
    await removeFolder(folder + TEMPORARY)
    excess--
  }
}

/** A checkpoint that can be resumed; the tensors are read when asked for, one after the other, to hold only one of them. */
export interface OpenCheckpoint {
  readonly stateFile: string
  readonly stateText: string
  /** Of its model; undefined where that has none. */
  readonly config: JsonObject | undefined
  readonly weights: () => Promise<StateDict>
  readonly optimizer: () => Promise<StateDict>
}

export const readWeights = (folder: string): Promise<StateDict> => readTensors(path.join(folder, 'model.safetensors'))

/** Throws ArgumentError where the folder cannot be resumed; DataError where a file is not what was saved. */
export async function openCheckpoint(folder: string): Promise<OpenCheckpoint> {
  const stateFile = path.join(folder, STATE_FILE)
  if (!(await exists(stateFile)))
    throw new ArgumentError(`Expected a checkpoint folder but there is no ${STATE_FILE} in ${folder}`)
  const optimizerFile = path.join(folder, OPTIMIZER_FILE)
  if (!(await exists(optimizerFile))) {
    throw new ArgumentError(
      `Expected ${folder} to hold ${OPTIMIZER_FILE}: it was saved with saveOnlyModel and cannot be resumed`,
    )
  }
  await verifyManifest(folder)
  return {
    stateFile,
    stateText: await readText(stateFile),
    config: await readConfig(path.join(folder, CONFIG_FILE)),
    weights: () => readWeights(folder),
    optimizer: () => readTensors(optimizerFile),
  }
}

async function readConfig(file: string): Promise<JsonObject | undefined> {
  if (!(await exists(file))) return undefined
  const json = parseJson(await readText(file), (reason) => new DataError(reason, file))
  return isJsonObject(json) ? json : undefined
}
