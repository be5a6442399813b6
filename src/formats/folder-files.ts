// A model's files on disk.
import { type BertkitError, FileError } from '../errors.ts'
import { openSource } from './file-source.ts'
import { joinPath, listNames, readModelBytes } from './files.ts'
import { ModelFiles } from './model-files.ts'
import type { ByteSource } from './source.ts'

/** Undefined where there is no such file. */
async function ifThere<Result>(call: Promise<Result>): Promise<Result | undefined> {
  try {
    return await call
  } catch (error) {
    if (error instanceof FileError && (error.errno === 'ENOENT' || error.errno === 'ENOTDIR')) return undefined
    throw error
  }
}

export class FolderFiles extends ModelFiles {
  constructor(readonly where: string) {
    super()
  }

  pathOf(name: string): string {
    return joinPath(this.where, name)
  }

  names(): Promise<string[]> {
    return listNames(this.where)
  }

  open(name: string): Promise<ByteSource | undefined> {
    return ifThere(openSource(this.pathOf(name)))
  }

  absence(name: string): BertkitError {
    return new FileError(`Cannot open ${this.pathOf(name)}: no such file or folder`, 'ENOENT')
  }

  protected load(name: string): Promise<Uint8Array | undefined> {
    return ifThere(readModelBytes(this.pathOf(name)))
  }

  protected openFolder(path: string): ModelFiles {
    return new FolderFiles(joinPath(this.where, path))
  }
}
