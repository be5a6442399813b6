import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { parseLiteral } from '../../src/data/literals.ts'

const parse = (text: string) => parseLiteral(text, (reason) => new Error(reason))

describe('parseLiteral', () => {
  test.each([
    `["joy", "it's", "a \\"b\\"", "\\u00e9abcd\\ud83d\\ude00 \\\\U0001f600 \\\\x41", "True", "'", "\\n\\/"]`,
    '{"text": ["x"], "answer_start": [3], "none": null, "yes": [true, false, -1.5e3]}',
    '[[], {}, ""]',
  ])('reads JSON as it is: %s', (text) => {
    expect(parse(text)).toEqual(JSON.parse(text))
  })

  test.each([
    ["['joy', 'love']", ['joy', 'love']],
    [`["it's", 'a "q" b', 'both \\' and "']`, ["it's", 'a "q" b', 'both \' and "']],
    ["['x\\ty\\\\z\\x01\\x7f\\xe9', '\\u4e2d\\U0001f600\\U00100000']", ['x\ty\\z\u0001\u007fé', '中😀\u{100000}']],
    ["[True, False, None, 'True', 2.5]", [true, false, null, 'True', 2.5]],
    ["{'text': ['x, \\'y\\''], 'answer_start': [3]}", { text: ["x, 'y'"], answer_start: [3] }],
    ['[]', []],
  ])('reads what Python prints: %s', (text, value) => {
    expect(parse(text)).toEqual(value)
  })

  test.each([
    '["a"',
    "['a",
    "['a' 'b']",
    "['a\\'",
    '[joy]',
    '[Truely]',
    "array(['a'])",
    '("a", "b")',
    "['\\U00110000']",
    `['a"]`,
  ])('refuses %s', (text) => {
    expect(() => parse(text)).toThrow(/^not valid JSON/)
  })

  test.each([
    "['a' 'b']",
    "['a'\n 'b' 'c']",
    '[1 0 0]',
    '[0.5 -1.]',
    '[ True False]',
    "array(['a', 'b'], dtype=object)",
    "{'text': array(['x y'], dtype=object), 'answer_start': array([3])}",
  ])('says of %s that numpy prints so', (text) => {
    expect(() => parse(text)).toThrow(/^not valid JSON: it is an array as numpy prints it; .*\.tolist\(\)/)
  })

  test.each(["['a', ' '", '[joy]', "['1 2']x"])('does not say so of %s', (text) => {
    expect(() => parse(text)).toThrow(/^not valid JSON(?!: it is)/)
  })

  test('comes to an end with quotes that nothing closes', () => {
    const quotes = `[${"\\'".repeat(200_000)}`
    expect(() => parse(quotes)).toThrow(/^not valid JSON/)
    expect(() => parse(`['${'\\"'.repeat(200_000)}`)).toThrow(/^not valid JSON/)
    expect(() => parse(`['${"\\'".repeat(2 ** 22)}`)).toThrow(/^not valid JSON/)
    expect(parse(`["${'\\"'.repeat(2 ** 22)}"]`)).toHaveLength(1)
    expect(() => parse(`["${'\\"'.repeat(200_000)}\\`)).toThrow(/^not valid JSON/)
  })

  const python = ((): string | undefined => {
    try {
      return execFileSync('python3', ['-c', 'print(1)']).toString()
    } catch {
      return undefined
    }
  })()
  test.skipIf(python === undefined)('reads what Python itself prints (skipped without python3)', () => {
    const program = `
import json, random
random.seed(1)
signs = ["'", '"', "\\\\", "a", "\\n", "\\x00", "\\x7f", "\\xa0", "\\u200b", "\\u4e2d", "\\ud800", "\\U0001f600", "\\U000e0001", "x41", "U0001f600"]
made = [["".join(random.choices(signs, k=random.randint(0, 6))) for _ in range(random.randint(0, 4))] for _ in range(300)]
print(json.dumps([[repr(each), each] for each in made]))
`
    const made = JSON.parse(execFileSync('python3', ['-c', program]).toString()) as [string, string[]][]
    for (const [text, value] of made) expect(parse(text), text).toEqual(value)
  })
})
