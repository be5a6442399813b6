// What checkpoints need of the file system: whole folders.
import * as fs from 'node:fs/promises'
import { exists, guarded } from '../formats/files.ts'

/** Does nothing where there is no such folder. */
export const removeFolder = (folder: string): Promise<void> =>
  guarded('remove', folder, () => fs.rm(folder, { recursive: true, force: true }))

export const renameFolder = (from: string, to: string): Promise<void> =>
  guarded('rename', from, () => fs.rename(from, to))

/** The names in `folder`; none where it does not exist. */
export const listFolder = async (folder: string): Promise<string[]> =>
  (await exists(folder)) ? guarded('list', folder, () => fs.readdir(folder)) : []

/** When `folder` was last changed, in milliseconds. */
export const modifiedAt = async (folder: string): Promise<number> =>
  (await guarded('look at', folder, () => fs.stat(folder))).mtimeMs
