// A model's files below a URL.
import type { BertkitError } from '../errors.ts'
import { Absence, failure, fetchFile, nameOf, type Transfer } from './download.ts'
import { type Access, ModelFiles } from './model-files.ts'
import { BlobSource, type ByteSource } from './source.ts'
import { type Chunks, gather, gatherBlob, StreamSource } from './stream-source.ts'

/** Opens what was fetched; `again` fetches it once more. */
export async function openChunks(
  name: string,
  chunks: Chunks,
  access: Access,
  again?: () => Promise<Chunks>,
): Promise<ByteSource> {
  return access === 'in order' ? new StreamSource(name, chunks, again) : new BlobSource(name, await gatherBlob(chunks))
}

export class UrlFiles extends ModelFiles {
  readonly where: string
  readonly #base: URL
  readonly #absences = new Map<string, Absence>()

  /** `base` names a folder; its query goes with every file. */
  constructor(
    base: URL,
    private readonly transfer: Transfer,
  ) {
    super()
    this.#base = new URL(base)
    if (!this.#base.pathname.endsWith('/')) this.#base.pathname += '/'
    this.where = nameOf(this.#base)
  }

  #urlOf(name: string): URL {
    const url = new URL(name, this.#base)
    url.search = this.#base.search
    return url
  }

  pathOf(name: string): string {
    return nameOf(this.#urlOf(name))
  }

  async names(): Promise<readonly string[]> {
    return []
  }

  async open(name: string, access: Access): Promise<ByteSource | undefined> {
    const chunks = await this.#fetch(name)
    return chunks && openChunks(this.pathOf(name), chunks, access, () => this.#fetchAgain(name))
  }

  absence(name: string): BertkitError {
    const { text, reason, status } = this.#absences.get(name) ?? new Absence('it was not found', 'not-found', 404)
    return failure(this.pathOf(name), text, reason, this.transfer, status)
  }

  protected async load(name: string): Promise<Uint8Array | undefined> {
    const chunks = await this.#fetch(name)
    return chunks && gather(chunks, this.pathOf(name))
  }

  protected openFolder(path: string): ModelFiles {
    const url = new URL(`${path}/`, this.#base)
    url.search = this.#base.search
    return new UrlFiles(url, this.transfer)
  }

  async #fetch(name: string): Promise<Chunks | undefined> {
    const found = await fetchFile(this.#urlOf(name), name, this.transfer)
    if (!(found instanceof Absence)) return found
    this.#absences.set(name, found)
    return undefined
  }

  async #fetchAgain(name: string): Promise<Chunks> {
    const chunks = await this.#fetch(name)
    if (!chunks) throw this.absence(name)
    return chunks
  }
}
