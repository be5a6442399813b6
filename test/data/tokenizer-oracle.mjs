// Compares a BertTokenizer with npm `tokenizers` (the Rust library) over many strings; for tests and the long campaign.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Tokenizer } from 'tokenizers'

process.env.TOKENIZERS_PARALLELISM = 'false'

/** The folders of vocab/ and how the models that they belong to normalise. */
export const VOCABULARIES = [
  { name: 'bert-base-uncased', doLowerCase: true },
  { name: 'bert-base-cased', doLowerCase: false },
  { name: 'bert-base-chinese', doLowerCase: false },
  { name: 'bert-base-multilingual-cased', doLowerCase: false },
]

/** Seeded random numbers (mulberry32). */
export function randomNumbers(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit) => Math.floor(next() * limit)
  return { next, below, pick: (list) => list[below(list.length)], between: (low, high) => low + below(high - low + 1) }
}

const RANGES = [
  [0x20, 0x7e],
  [0x20, 0x7e],
  [0x61, 0x7a],
  [0x00, 0x1f],
  [0x7f, 0xff],
  [0x100, 0x24f],
  [0x300, 0x36f],
  [0x300, 0x36f],
  [0x370, 0x5ff],
  [0x590, 0x8ff],
  [0x900, 0xdff],
  [0xe00, 0x11ff],
  [0x1ab0, 0x1aff],
  [0x1dc0, 0x1fff],
  [0x2000, 0x206f],
  [0x2070, 0x2bff],
  [0x2e80, 0x33ff],
  [0x3400, 0x9fff],
  [0xa000, 0xabff],
  [0xac00, 0xd7a3],
  [0xd800, 0xdfff],
  [0xf900, 0xfaff],
  [0xfb00, 0xffff],
  [0x10000, 0x11fff],
  [0x16b00, 0x1d24f],
  [0x1d400, 0x1d7ff],
  [0x1e000, 0x1efff],
  [0x1f000, 0x1faff],
  [0x20000, 0x323af],
  [0x2a6d0, 0x2ceff],
  [0x2f800, 0x2fa1f],
  [0xe0000, 0xe01ef],
  [0xf0000, 0x10ffff],
  [0, 0x10ffff],
]
const PHRASES = [
  '[MASK]',
  '[CLS]',
  '[SEP]',
  '[UNK]',
  '[PAD]',
  '[mask]',
  '[MAS',
  '##ing',
  "don't",
  'unaffable',
  '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}',
  '\u{1f1e9}\u{1f1ea}',
  '\ufeff',
  '\u2028',
  '\u0130\u0307',
  'ẞß',
  'ΑΣ ',
  '\u0344\u0345',
  '\u1d165\u0301',
  'e\u0323\u0302\u0301\u302e',
  '한국어',
  '\u1112\u1161\u11ab',
  '漢字',
  '\u{20000}\u{2f800}',
  '  \t\r\n',
  '\u00a0\u3000',
]

/** A string of up to a few dozen pieces from one or several parts of Unicode. */
export function randomString(random) {
  const narrow = random.next() < 0.5 ? [random.pick(RANGES), [0x20, 0x7e]] : RANGES
  const pieces = random.between(0, 30)
  let text = ''
  for (let i = 0; i < pieces; i++) {
    const kind = random.next()
    if (kind < 0.08) text += random.pick(PHRASES)
    else if (kind < 0.25) text += ' '
    else {
      const [low, high] = random.pick(narrow)
      const code = random.between(low, high)
      text += code > 0xffff ? String.fromCodePoint(code) : String.fromCharCode(code)
    }
  }
  if (random.next() < 0.02) text += random.pick(['a', 'é', '\u0301', '한', '\u{1d15e}']).repeat(random.between(90, 110))
  return text
}

function stringsOf(value, found) {
  if (typeof value === 'string') found.push(value)
  else if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) stringsOf(each, found)
  return found
}

function readStrings(file) {
  const bytes = readFileSync(file)
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
  if (/\.json(\.gz)?$/.test(file)) {
    try {
      return stringsOf(JSON.parse(text), [])
    } catch {
      // JSON lines are read as lines.
    }
  }
  return text.split('\n')
}

/** `count` strings of at most `longest` units from all data sets, spread over them evenly. */
export function realStrings(folder, count, longest = 1500) {
  const files = readdirSync(folder, { recursive: true })
    .filter((file) => /\.(txt|tsv|csv|json|jsonl|raw|bmes|conll|annotated)(\.gz)?$/.test(file))
    .filter((file) => !/^(vocab|weights)/.test(file))
    .sort()
  const lists = files.map((file) => readStrings(path.join(folder, file)).filter((text) => text.trim() !== ''))
  const sizes = lists.map((list) => list.length).sort((a, b) => a - b)
  let share = 0
  for (let left = count, i = 0; i < sizes.length; i++) {
    const even = Math.ceil(left / (sizes.length - i))
    share = Math.max(share, even)
    left -= Math.min(sizes[i], even)
  }
  return lists
    .flatMap((list) => {
      const taken = Math.min(share, list.length)
      return Array.from({ length: taken }, (_, i) => list[Math.floor((i * list.length) / taken)].slice(0, longest))
    })
    .slice(0, count)
}

const special = (content, id) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
})

/** The Rust tokenizer of a vocabulary folder; vocab.txt becomes the tokenizer.json that Transformers would build of it. */
export function rustTokenizer(folder, doLowerCase) {
  try {
    return Tokenizer.fromString(readFileSync(path.join(folder, 'tokenizer.json'), 'utf8'))
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
  const lines = readFileSync(path.join(folder, 'vocab.txt'), 'utf8').split('\n')
  if (lines.at(-1) === '') lines.pop()
  return Tokenizer.fromString(rustJson(Object.fromEntries(lines.map((line, id) => [line, id])), { doLowerCase }))
}

/**
 * A tokenizer.json with BERT's components around a vocabulary.
 * @param {Record<string, number>} vocab
 * @param {{ doLowerCase?: boolean, stripAccents?: boolean | null, cleanText?: boolean, chinese?: boolean, added?: any[] }} [options]
 */
export function rustJson(
  vocab,
  { doLowerCase = true, stripAccents = null, cleanText = true, chinese = true, added = [] } = {},
) {
  const names = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'].filter((name) => name in vocab)
  const cls = { SpecialToken: { id: '[CLS]', type_id: 0 } }
  const sep = (type) => ({ SpecialToken: { id: '[SEP]', type_id: type } })
  const part = (id, type) => ({ Sequence: { id, type_id: type } })
  const named = (id) => [id, { id, ids: [vocab[id]], tokens: [id] }]
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...names.map((name) => special(name, vocab[name])), ...added].sort((a, b) => a.id - b.id),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: cleanText,
      handle_chinese_chars: chinese,
      strip_accents: stripAccents,
      lowercase: doLowerCase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [cls, part('A', 0), sep(0)],
      pair: [cls, part('A', 0), sep(0), part('B', 1), sep(1)],
      special_tokens: Object.fromEntries([named('[CLS]'), named('[SEP]')]),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  })
}

/** A Rust encoding in the form of ours. */
export function fromRust(encoding, overflow = true) {
  return {
    inputIds: encoding.getIds(),
    tokenTypeIds: encoding.getTypeIds(),
    attentionMask: encoding.getAttentionMask(),
    specialTokensMask: encoding.getSpecialTokensMask(),
    wordIds: encoding.getWordIds().map((word) => word ?? null),
    sequenceIds: encoding.getSequenceIds().map((sequence) => sequence ?? null),
    offsets: encoding.getOffsets(),
    ...(overflow ? { overflowing: encoding.getOverflowing().map((each) => fromRust(each, false)) } : {}),
  }
}

const STRATEGIES = { longest_first: 'LongestFirst', only_first: 'OnlyFirst', only_second: 'OnlySecond' }
const OPTIONS = { returnOffsets: true, offsetUnit: 'codepoint', returnOverflowingTokens: true }

/**
 * Encodes every string alone, and with the next one as a pair cut at random, by both tokenizers.
 * Returns how many encodings were compared, how many differ, and ten that do.
 */
export async function compare(ours, rust, strings, seed = 1) {
  const random = randomNumbers(seed)
  const differences = []
  let compared = 0
  let different = 0
  const check = (what, mine, theirs) => {
    compared++
    if (JSON.stringify(mine) === JSON.stringify(theirs)) return
    different++
    if (differences.length < 10) differences.push({ what, mine, theirs })
  }
  for (let start = 0; start < strings.length; start += 500) {
    const block = strings.slice(start, start + 500)
    const encoded = await rust.encodeBatch(block, { addSpecialTokens: true })
    const bare = await rust.encodeBatch(block, { addSpecialTokens: false })
    for (let i = 0; i < block.length; i++) {
      check({ text: block[i] }, ours.encode(block[i], OPTIONS), fromRust(encoded[i]))
      const j = (i + 1) % block.length
      const truncation = random.pick(Object.keys(STRATEGIES))
      const isPair = truncation === 'only_second' || random.next() < 0.7
      // an empty pair is one to the Rust library only: Transformers does not hand it on
      const pair = isPair && block[j] !== '' ? block[j] : null
      // Around half of the tokens, so that all cases come up; 3 is the least that holds the special tokens.
      const total = bare[i].getLength() + (pair === null ? 0 : bare[j].getLength())
      const maxLength = Math.max(3, random.between(Math.floor(total / 4), total + 3))
      const options = { ...OPTIONS, truncation, maxLength, stride: random.below(Math.min(4, maxLength - 2)) }
      let mine
      try {
        mine = ours.encode(block[i], pair, options)
      } catch (error) {
        if (error.code !== 'ERR_ARGUMENT') throw error
        // The Rust library would abort the process.
        if (error.message.includes('stride')) continue
        mine = 'refused'
      }
      const texts = [block[i], pair]
      check({ texts, options }, mine, truncateByRust(rust, bare[i], pair === null ? null : bare[j], options))
    }
  }
  return { compared, different, differences }
}

/**
 * What the Rust library cuts encodings without special tokens to. `encode` of version 0.23.2 looks at no more than maxLength tokens
 * of each text, which loses what overflows beyond and may give the odd token of 'longest_first' to the shorter text; 0.23.3 and
 * Python do not. `postProcess` gets whole encodings and so does what they do.
 */
function truncateByRust(rust, first, second, { truncation, maxLength, stride }) {
  rust.setTruncation(maxLength, { strategy: STRATEGIES[truncation], stride })
  try {
    const encoding = fromRust(rust.postProcess(first, second, true))
    for (const part of [encoding, ...encoding.overflowing]) {
      // `second` was encoded alone: its overflowing parts are left with type 0, and the ids of sequence 0 are mixed up.
      part.tokenTypeIds = part.tokenTypeIds.map((type, i) => (part.sequenceIds[i] === 1 ? 1 : type))
      part.sequenceIds = part.tokenTypeIds.map((type, i) => (part.specialTokensMask[i] === 1 ? null : type))
    }
    return encoding
  } catch (error) {
    if (!error.message.startsWith('Truncation error')) throw error
    return 'refused'
  } finally {
    rust.disableTruncation()
  }
}
