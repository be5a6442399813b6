// Fields of a JSON file of a folder, checked as they are read.
import { DataError } from '../../errors.ts'
import type { ModelFiles } from '../../formats/model-files.ts'
import { isJsonObject, type JsonObject, type JsonValue, kindOf, parseJson, quote } from '../../json.ts'

/** Ids beyond this are a broken file rather than a vocabulary. */
const MAX_ID = 2 ** 24
export const AN_ID = `an integer from 0 to ${MAX_ID - 1}`
export const isId = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) < MAX_ID

/** Reads fields of one JSON object of a file; a wrong kind is a DataError that names file and field. */
export class Fields {
  constructor(
    readonly values: JsonObject,
    readonly file: string,
    readonly path = '',
  ) {}

  fail(key: string, expected: string): DataError {
    const value = this.values[key]
    const what = typeof value === 'object' ? kindOf(value) : quote(value)
    return new DataError(`Expected ${this.path}${key} to be ${expected} but received ${what}`, this.file)
  }

  #optional<Value>(key: string, expected: string, accepts: (value: JsonValue) => value is JsonValue & Value) {
    const value = this.values[key]
    if (value === undefined) return undefined
    if (!accepts(value)) throw this.fail(key, expected)
    return value
  }

  boolean = (key: string) => this.#optional(key, 'true or false', (value) => typeof value === 'boolean')
  booleanOrNull = (key: string) =>
    this.#optional(key, 'true, false or null', (value) => value === null || typeof value === 'boolean')
  string = (key: string) => this.#optional(key, 'a string', (value) => typeof value === 'string')
  positive = (key: string) =>
    this.#optional(key, 'a positive number', (value): value is number => typeof value === 'number' && value > 0)
  oneOf = <Word extends string>(key: string, words: readonly Word[]) =>
    this.#optional(key, words.map((word) => quote(word)).join(' or '), (value): value is Word =>
      words.some((word) => word === value),
    )
  list = (key: string) => this.#optional(key, 'a list', (value) => Array.isArray(value))

  /** The object under `key`, or null if there is none. */
  object(key: string): Fields | null {
    const value = this.values[key] ?? null
    if (value === null) return null
    if (!isJsonObject(value)) throw this.fail(key, 'an object')
    return new Fields(value, this.file, `${this.path}${key}.`)
  }

  id(key: string): number {
    const id = this.values[key]
    if (!isId(id)) throw this.fail(key, AN_ID)
    return id
  }

  /** The name of a token: a string, or an object with its content; null is none. */
  token(key: string): string | undefined {
    const value = this.values[key] ?? undefined
    if (value === undefined) return undefined
    return isJsonObject(value) ? this.object(key)?.string('content') : this.string(key)
  }
}

/** The fields of a file, or null if it is not there. */
export async function readFields(files: ModelFiles, name: string): Promise<Fields | null> {
  const text = await files.readText(name)
  if (text === undefined) return null
  const file = files.pathOf(name)
  const value = parseJson(text, (reason) => new DataError(reason, file))
  if (!isJsonObject(value)) throw new DataError(`Expected a JSON object but received ${kindOf(value)}`, file)
  return new Fields(value, file)
}
