import { rmdir } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { makeFolder } from '../formats/files.ts'

/** Removes `folder` and those above it up to `last`, until one is not empty. */
async function removeEmpty(folder: string, last: string): Promise<void> {
  try {
    for (let each = folder; ; each = dirname(each)) {
      await rmdir(each)
      if (each === last) return
    }
  } catch {
    // somebody has put something there; it is left as it is
  }
}

/** Makes a folder before work for it that takes long; where the work fails and has left it empty, it goes again. */
export async function withFolder<Result>(folder: string, work: () => Promise<Result>): Promise<Result> {
  const first = await makeFolder(folder)
  try {
    return await work()
  } catch (error) {
    if (typeof first === 'string') await removeEmpty(resolve(folder), resolve(first))
    throw error
  }
}
