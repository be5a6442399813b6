// A model's files as the caller has them.
import { ArgumentError, type BertkitError, FileError, messageOf } from '../errors.ts'
import { kindOf, quote } from '../json.ts'
import { Absence, bodyOf, chunksOf, failure, fetchFile, nameOf, type Transfer } from './download.ts'
import { type Access, ModelFiles } from './model-files.ts'
import { BlobSource, type ByteSource, MemorySource } from './source.ts'
import { type Chunks, gather } from './stream-source.ts'
import { openChunks } from './url-files.ts'

/**
 * The content of a file: bytes, a Blob, an answer of fetch or a stream, which are read once, a URL to fetch it from, or its text. A
 * string is always the text; write `new URL(…)` for an address.
 */
export type FileContent = ArrayBuffer | Uint8Array | Blob | Response | ReadableStream<Uint8Array> | URL | string

/** Files by their names in a model's folder: `{ 'config.json': …, 'model.safetensors': …, 'vocab.txt': … }`. */
export type FileMap = Readonly<Record<string, FileContent>>

const EXPECTED = 'bytes, a Blob, a Response, a ReadableStream, a URL or a text'

const isContent = (value: unknown): value is FileContent =>
  typeof value === 'string' ||
  [ArrayBuffer, Uint8Array, Blob, Response, ReadableStream, URL].some((type) => value instanceof type)

/** Whether a value may be a FileMap: a plain object. Its values are checked when it is opened. */
export const isFileMap = (value: unknown): value is FileMap => {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

export class GivenFiles extends ModelFiles {
  readonly where: string

  constructor(
    private readonly files: FileMap,
    private readonly transfer: Transfer,
    private readonly prefix = '',
  ) {
    super()
    this.where = prefix === '' ? 'The given files' : `The given files, ${prefix}`
    for (const [name, content] of Object.entries(files)) {
      if (!isContent(content))
        throw new ArgumentError(`Expected ${quote(name)} to be ${EXPECTED} but received ${kindOf(content)}`)
      if (typeof content === 'string' && /\.(safetensors|bin)$/.test(name))
        throw new ArgumentError(
          `Expected ${quote(name)} to be bytes but received a text; to load an address, give new URL(…) or await fetch(…)`,
        )
    }
  }

  pathOf(name: string): string {
    const content = this.#content(name)
    if (content instanceof URL) return nameOf(content)
    if (content instanceof Response && content.url !== '') return nameOf(content.url)
    return `${this.prefix}${name}`
  }

  async names(): Promise<readonly string[]> {
    return Object.keys(this.files)
      .filter((name) => name.startsWith(this.prefix))
      .map((name) => name.slice(this.prefix.length))
  }

  async open(name: string, access: Access): Promise<ByteSource | undefined> {
    const content = this.#content(name)
    const path = this.pathOf(name)
    if (content === undefined) return undefined
    if (typeof content === 'string') return new MemorySource(path, new TextEncoder().encode(content))
    if (content instanceof ArrayBuffer) return new MemorySource(path, new Uint8Array(content))
    if (content instanceof Uint8Array) return new MemorySource(path, content)
    if (content instanceof Blob) return new BlobSource(path, content)
    const chunks = await this.#chunks(name, content)
    const again = content instanceof URL ? () => this.#chunks(name, content) : undefined
    return openChunks(path, chunks, access, again)
  }

  absence(name: string): BertkitError {
    const names = Object.keys(this.files).join(', ')
    return new FileError(`Expected a file ${quote(`${this.prefix}${name}`)} but the given ones are: ${names || 'none'}`)
  }

  protected async load(name: string): Promise<Uint8Array | undefined> {
    const content = this.#content(name)
    if (content === undefined) return undefined
    if (typeof content === 'string') return new TextEncoder().encode(content)
    if (content instanceof Uint8Array) return content
    if (content instanceof ArrayBuffer) return new Uint8Array(content)
    if (content instanceof Blob) return new Uint8Array(await content.arrayBuffer())
    return gather(await this.#chunks(name, content), name)
  }

  protected openFolder(path: string): ModelFiles {
    return new GivenFiles(this.files, this.transfer, `${this.prefix}${path}/`)
  }

  #content(name: string): FileContent | undefined {
    const key = `${this.prefix}${name}`
    return Object.hasOwn(this.files, key) ? this.files[key] : undefined
  }

  /** A file that was given is needed: that it is not there after all is a failure. */
  async #chunks(name: string, content: URL | Response | ReadableStream<Uint8Array>): Promise<Chunks> {
    const path = this.pathOf(name)
    const isRead =
      content instanceof Response ? content.bodyUsed || content.body?.locked : 'locked' in content && content.locked
    if (isRead) throw new ArgumentError(`${path}: the ${content.constructor.name} was read already, or is being read`)
    if (content instanceof ReadableStream) {
      const failed = (cause: unknown) =>
        new FileError(`Cannot read ${path}: the stream failed: ${messageOf(cause)}`, undefined, {
          cause,
        })
      return chunksOf(content, path, failed, this.transfer.signal)
    }
    const found =
      content instanceof URL
        ? await fetchFile(content, `${this.prefix}${name}`, this.transfer)
        : bodyOf(content, path, this.transfer)
    if (found instanceof Absence) throw failure(path, found.text, found.reason, this.transfer, found.status)
    return found
  }
}
