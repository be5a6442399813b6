// Writes src/data/tokenizer/unicode-tables.ts: what the Rust library `tokenizers` does to every code point, found by
// asking it. Node's own Unicode data would differ from it and from one Node version to the next.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { AddedToken, bertNormalizer, bertPreTokenizer, nfdNormalizer, Tokenizer, WordPiece } from 'tokenizers'

const LAST = 0x10ffff
const isSurrogate = (code) => code >= 0xd800 && code <= 0xdfff
const none = { cleanText: false, handleChineseChars: false, stripAccents: false, lowercase: false }
const ask = (normalizer) => (code) => normalizer.normalizeString(String.fromCodePoint(code))
const clean = ask(bertNormalizer({ ...none, cleanText: true }))
const space = ask(bertNormalizer({ ...none, handleChineseChars: true }))
const strip = ask(bertNormalizer({ ...none, stripAccents: true }))
const lower = ask(bertNormalizer({ ...none, lowercase: true }))
const decompose = ask(nfdNormalizer())
const splitter = bertPreTokenizer()
const pieces = (code) => splitter.preTokenizeString(`a${String.fromCodePoint(code)}b`).length
const codes = (text) => Array.from(text, (char) => char.codePointAt(0))

/** Code points that `test` accepts, surrogates left out. */
function collect(test) {
  const found = []
  for (let code = 0; code <= LAST; code++) if (!isSurrogate(code) && test(code)) found.push(code)
  return found
}

const base36 = (number) => number.toString(36)

/** Pairs of (gap since the end of the previous range, length), in base 36. */
function ranges(found) {
  const words = []
  let end = 0
  for (let i = 0; i < found.length; ) {
    let length = 1
    while (found[i + length] === found[i] + length) length++
    words.push(base36(found[i] - end), base36(length))
    end = found[i] + length
    i += length
  }
  return words
}

/** Quadruples of (gap since the previous start, count, step, difference) for maps of one code point to one. */
function shifts(found, to) {
  const words = []
  let previous = 0
  for (let i = 0; i < found.length; ) {
    const difference = to(found[i]) - found[i]
    const step = found[i + 1] - found[i] === 1 && to(found[i + 1]) - found[i + 1] === difference ? 1 : 2
    let count = 1
    while (found[i + count] === found[i] + count * step && to(found[i + count]) - found[i + count] === difference)
      count++
    words.push(base36(found[i] - previous), base36(count), base36(step), base36(difference))
    previous = found[i]
    i += count
  }
  return words
}

/** Pairs of (gap since the previous code point, the code points it becomes joined by +). */
function expansions(found, to) {
  let previous = 0
  return found.flatMap((code) => {
    const gap = code - previous
    previous = code
    return [base36(gap), to(code).map(base36).join('+')]
  })
}

/** Canonical combining classes as ranks: NFD swaps two marks exactly when the first one's class is greater. */
function combiningRanks() {
  const nfd = nfdNormalizer()
  const swaps = (first, second) => {
    const text = String.fromCodePoint(first, second)
    return nfd.normalizeString(text) !== text
  }
  const OVERLAY = 0x334 // class 1, the lowest
  const ABOVE = 0x301
  const marks = collect(
    (code) => !isHangul(code) && !decomposed.has(code) && (swaps(code, OVERLAY) || swaps(ABOVE, code)),
  )
  marks.sort((a, b) => (swaps(a, b) ? 1 : swaps(b, a) ? -1 : a - b))
  const rank = new Map()
  let current = 1
  marks.forEach((mark, i) => {
    if (i > 0 && swaps(mark, marks[i - 1])) current++
    rank.set(mark, current)
  })
  return rank
}

/** The code points that the `\w` of single_word tokens accepts. */
async function wordCharacters() {
  const tokenizer = new Tokenizer(WordPiece.init({ '[UNK]': 0 }))
  tokenizer.addAddedTokens([new AddedToken('@@', true, { singleWord: true, normalized: false })])
  const found = []
  const id = tokenizer.tokenToId('@@')
  for (let block = 0; block <= LAST; block += 256) {
    const inBlock = Array.from({ length: 256 }, (_, i) => block + i).filter((code) => !isSurrogate(code))
    if (inBlock.length === 0) continue
    const encodings = await tokenizer.encodeBatch(inBlock.map((code) => `@@${String.fromCodePoint(code)}`))
    encodings.forEach((encoding, i) => {
      if (!encoding.getIds().includes(id)) found.push(inBlock[i])
    })
  }
  return found
}

const isHangul = (code) => code >= 0xac00 && code <= 0xd7a3
const decomposed = new Set(collect((code) => !isHangul(code) && decompose(code) !== String.fromCodePoint(code)))
const combining = combiningRanks()
const lowered = collect((code) => lower(code) !== String.fromCodePoint(code))
const oneToOne = lowered.filter((code) => codes(lower(code)).length === 1)

const tables = {
  DROPPED: [
    'Removed when text is cleaned: control characters, U+0000, U+FFFD.',
    ranges(collect((code) => clean(code) === '')),
  ],
  BLANK: ['Become a space when text is cleaned.', ranges(collect((code) => code !== 0x20 && clean(code) === ' '))],
  WHITESPACE: ['Separate words.', ranges(collect((code) => pieces(code) === 2))],
  PUNCTUATION: ['Words of their own.', ranges(collect((code) => pieces(code) === 3))],
  IDEOGRAPHS: ['Get a space on either side.', ranges(collect((code) => space(code) !== String.fromCodePoint(code)))],
  NONSPACING: [
    'Removed after decomposition when accents are stripped.',
    ranges(collect((code) => !decomposed.has(code) && strip(code) === '')),
  ],
  WORD: ['Word characters, for added tokens that match whole words only.', ranges(await wordCharacters())],
  LOWER: ['Lower case of one code point.', shifts(oneToOne, (code) => codes(lower(code))[0])],
  LOWER_LONGER: [
    'Lower case of several code points.',
    expansions(
      lowered.filter((code) => !oneToOne.includes(code)),
      (code) => codes(lower(code)),
    ),
  ],
  COMBINING: [
    'Ranks of the canonical combining classes, 0 elsewhere.',
    shifts(
      [...combining.keys()].sort((a, b) => a - b),
      (code) => code + combining.get(code),
    ),
  ],
  DECOMPOSED: [
    'Full canonical decompositions; Hangul syllables are computed.',
    expansions([...decomposed], (code) => codes(decompose(code))),
  ],
}

const version = JSON.parse(execFileSync('npm', ['ls', 'tokenizers', '--json', '--depth=0'], { encoding: 'utf8' }))
let output = `// Generated by scripts/unicode-tables.mjs from npm tokenizers ${version.dependencies.tokenizers.version}; unicode.ts reads it. Do not edit.\n`
for (const [name, [comment, words]] of Object.entries(tables)) {
  const lines = ['']
  for (const word of words) {
    if (lines.at(-1).length + word.length > 116) lines.push('')
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ' '}${word}`
  }
  output += `\n/** ${comment} */\nexport const ${name} = \`\n${lines.join('\n')}\n\`\n`
}
writeFileSync(fileURLToPath(new URL('../src/data/tokenizer/unicode-tables.ts', import.meta.url)), output)
