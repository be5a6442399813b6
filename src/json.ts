/** Any value that JSON can hold. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue }
export type JsonObject = { [key: string]: JsonValue }

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A field's key in the files of Transformers: maxLength is max_length. */
export const snakeCase = (field: string): string => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Names the kind of a JSON value for an error message. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** A number that JSON has no word for, as JavaScript writes it. */
const wordOf = (value: unknown): unknown => {
  if (typeof value === 'bigint') return `${value}n`
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
}

/**
 * Shows any value in an error message, cut so that a message never echoes a file. Never throws: a message about a wrong value must
 * not fail at it.
 */
export function quote(value: unknown, limit = 80): string {
  let text: string
  try {
    if (typeof value === 'bigint' || typeof value === 'number') text = String(wordOf(value))
    else text = JSON.stringify(value, (_, inner) => wordOf(inner)) ?? String(value)
  } catch {
    // a cycle, a getter or toJSON that throws, a nesting too deep
    text = typeof value === 'object' ? 'an object' : `a ${typeof value}`
  }
  return text.length <= limit ? text : `${text.slice(0, limit)}...`
}

const [QUOTE, BACKSLASH, COLON] = ['"', '\\', ':'].map((char) => char.charCodeAt(0))
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = ['{', '}', '[', ']'].map((char) => char.charCodeAt(0))

/** The place of the quote that closes a string, or the length of the text. */
function endOfString(text: string, start: number): number {
  for (let from = start; ; ) {
    const quote = text.indexOf('"', from)
    if (quote < 0) return text.length
    let escapes = 0
    while (text.charCodeAt(quote - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return quote
    from = quote + 1
  }
}

/** Counts the keys and the nesting of well-formed JSON without recursion. */
function scan(text: string): { keys: number; depth: number } {
  let keys = 0
  let depth = 0
  let deepest = 0
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i)
    if (char === QUOTE) i = endOfString(text, i + 1)
    else if (char === COLON) keys++
    else if (char === OPEN_OBJECT || char === OPEN_ARRAY) deepest = Math.max(deepest, ++depth)
    else if (char === CLOSE_OBJECT || char === CLOSE_ARRAY) depth--
  }
  return { keys, depth: deepest }
}

function countKeys(value: JsonValue): number {
  if (typeof value !== 'object' || value === null) return 0
  const inner = Object.values(value)
  return inner.reduce<number>((sum, each) => sum + countKeys(each), Array.isArray(value) ? 0 : inner.length)
}

/**
 * Parses JSON from a file nobody vouches for. `fail` makes the error to throw from a reason.
 * Nesting beyond `maxDepth` is refused because later recursion (JSON.stringify too) would overflow the stack;
 * `uniqueKeys` refuses duplicate keys, of which JSON.parse would silently keep the last.
 */
export function parseJson(
  text: string,
  fail: (reason: string) => Error,
  { maxDepth = 32, uniqueKeys = false }: { maxDepth?: number; uniqueKeys?: boolean } = {},
): JsonValue {
  const { keys, depth } = scan(text)
  if (depth > maxDepth) throw fail(`JSON nested ${depth} deep; at most ${maxDepth} is accepted`)
  let value: JsonValue
  try {
    value = JSON.parse(text)
  } catch (error) {
    // V8's message quotes the text around the fault; the position alone is enough and shows no content.
    const at = error instanceof Error ? /at position \d+/.exec(error.message)?.[0] : undefined
    throw fail(`not valid JSON${at === undefined ? '' : ` (${at})`}`)
  }
  if (uniqueKeys && countKeys(value) !== keys) throw fail('a JSON key appears twice')
  return value
}
