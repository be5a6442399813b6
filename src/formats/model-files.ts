import type { BertkitError } from '../errors.ts'
import type { ByteSource } from './source.ts'

/** How a file's bytes are read: from the first to the last, as they come, or at any place, for which a stream is kept whole. */
export type Access = 'in order' | 'anywhere'

/** The files of a model for one load, wherever they lie: a folder, a URL, or what the caller has. Names are relative, with '/'. */
export abstract class ModelFiles {
  /** Begins errors. */
  abstract readonly where: string
  readonly #read = new Map<string, Promise<Uint8Array | undefined>>()
  readonly #folders = new Map<string, ModelFiles>()

  /** A file as errors name it. */
  abstract pathOf(name: string): string
  /** Names of the files in the folder itself, as far as they can be listed: nobody lists a URL. */
  abstract names(): Promise<readonly string[]>
  /** Opens a large file, which the caller closes; undefined where it is not there. */
  abstract open(name: string, access: Access): Promise<ByteSource | undefined>
  /** The error about a file that is needed and is not there. */
  abstract absence(name: string): BertkitError
  protected abstract load(name: string): Promise<Uint8Array | undefined>
  protected abstract openFolder(path: string): ModelFiles

  /** A small file, of at most MAX_SMALL_FILE bytes, read once however often it is asked for; undefined where it is not there. */
  read(name: string): Promise<Uint8Array | undefined> {
    let found = this.#read.get(name)
    if (!found) {
      found = this.load(name)
      this.#read.set(name, found)
    }
    return found
  }

  /** The text of a small file. */
  async readText(name: string): Promise<string | undefined> {
    const bytes = await this.read(name)
    return bytes && new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  }

  /** A folder in this one; '' is this one. */
  folder(path: string): ModelFiles {
    if (path === '') return this
    let found = this.#folders.get(path)
    if (!found) {
      found = this.openFolder(path)
      this.#folders.set(path, found)
    }
    return found
  }
}
