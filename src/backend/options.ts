// What the options of every call are held to.
import { ArgumentError } from '../errors.ts'
import { kindOf } from '../json.ts'

export function checkObject(call: string, options: unknown): void {
  if (kindOf(options) !== 'an object')
    throw new ArgumentError(`${call}: expected options to be an object but received ${kindOf(options)}`)
}

/** An ArgumentError when `options` is no object, or has a name that is not known: a misspelt one would change nothing. */
export function checkNames(call: string, options: unknown, known: readonly string[]): void {
  checkObject(call, options)
  for (const name of Object.keys(options as object))
    if (!known.includes(name))
      throw new ArgumentError(`${call}: there is no option '${name}'; there are ${known.join(', ')}`)
}
