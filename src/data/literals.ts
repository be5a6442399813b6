// Lists and objects in a cell of a table: JSON, or what Python prints of the same, as pandas writes it into a csv.
import { type JsonValue, parseJson } from '../json.ts'

/** A string in either quotes, to the end of the text where it is not closed; or one of Python's words. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?$)|'[^'\\]*(?:\\.[^'\\]*)*(?:'|\\?$)|\b(?:True|False|None)\b/gs
const WORDS: Readonly<Record<string, string>> = { True: 'true', False: 'false', None: 'null' }
/** What is behind a backslash, of which JSON lacks some; or a quote that needs one in JSON. */
const CHARACTER = /\\x([\da-fA-F]{2})|\\U(00(?:0[\da-fA-F]|10)[\da-fA-F]{4})|\\(.)|"/gs

/** The inside of a string as it is in JSON. What is JSON already stays as it is. */
const inDoubleQuotes = (inside: string): string =>
  inside.replace(CHARACTER, (found, byte?: string, point?: string, char?: string) => {
    if (byte !== undefined) return `\\u00${byte}`
    if (point !== undefined) return JSON.stringify(String.fromCodePoint(Number.parseInt(point, 16))).slice(1, -1)
    if (found === '"') return '\\"'
    return char === "'" ? char : found
  })

function tokenAsJson(token: string): string {
  if (Object.hasOwn(WORDS, token)) return WORDS[token]
  const isClosed = token.length > 1 && token.endsWith(token[0])
  return isClosed ? `"${inDoubleQuotes(token.slice(1, -1))}"` : token
}

/** Characters of the longest text in which Python's notation is looked for: in a longer one the stack of a regular expression may end. */
const LONGEST = 2 ** 22

/** What numpy prints, where strings have been put in place of all words: ["" ""], [1 0], array([""], dtype=object). */
const NUMPY = /""\s+""|[\d.]\s+[-\d.]|\barray\(/

/** Why a text that is neither JSON nor Python's notation may be none. Data frames have arrays in place of lists, and csv has what they print. */
const reasonFor = (text: string, reason: string): string =>
  text.length <= LONGEST && NUMPY.test(text.replace(TOKEN, '""'))
    ? "not valid JSON: it is an array as numpy prints it; write it as a list with commas (.tolist(), before pandas' to_csv)"
    : reason

/** The value of a text in JSON or in Python's notation: `["joy", "love"]` or `['joy', 'love']`. `fail` makes the error. */
export const parseLiteral = (text: string, fail: (reason: string) => Error): JsonValue =>
  parseJson(text.length > LONGEST ? text : text.replace(TOKEN, tokenAsJson), (reason) => fail(reasonFor(text, reason)))

/** Whether a text begins as a list in JSON or in Python's notation, or as an array of numpy, which is none. */
export const beginsAsList = (text: string): boolean => /^\s*(?:\[|array\()/.test(text)
