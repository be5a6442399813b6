// What the options of every call are held to: one that is wrong or unknown is an ArgumentError, never ignored.
import { ArgumentError } from './errors.ts'
import { kindOf, quote } from './json.ts'

export function checkObject(call: string, options: unknown): void {
  if (kindOf(options) !== 'an object')
    throw new ArgumentError(`${call}: expected options to be an object but received ${kindOf(options)}`)
}

/** An ArgumentError when `options` is no object, or has a name that is not known: a misspelt one would change nothing. */
export function checkOptionNames(call: string, options: unknown, known: readonly string[]): void {
  checkObject(call, options)
  for (const name of Object.keys(options as object))
    if (!known.includes(name))
      throw new ArgumentError(`${call}: there is no option '${name}'; there are ${known.join(', ')}`)
}

/** What an option may hold, in words and as a test. */
export type Check = readonly [expected: string, accepts: (value: unknown) => boolean]

export const BOOLEAN: Check = ['true or false', (value) => typeof value === 'boolean']
export const atLeast = (least: number): Check => [
  `an integer of at least ${least}`,
  (value) => Number.isInteger(value) && (value as number) >= least,
]
export const oneOf = (...values: unknown[]): Check => [
  values.map((value) => quote(value)).join(', '),
  (value) => values.includes(value),
]

/** Refuses options that do not exist or hold something wrong; undefined is as good as absent. */
export function checkOptions(call: string, options: unknown, checks: Record<string, Check>): void {
  checkOptionNames(call, options, Object.keys(checks))
  for (const [name, value] of Object.entries(options as object)) {
    const [expected, accepts] = checks[name]
    if (value !== undefined && !accepts(value))
      throw new ArgumentError(`${call}: expected ${name} to be ${expected} but received ${quote(value)}`)
  }
}

/** Without the entries that are undefined, which would otherwise cover a default. */
export function defined<Fields extends object>(fields: Fields): Partial<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Fields>
}
