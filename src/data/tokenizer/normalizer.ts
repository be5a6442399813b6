// BERT's normaliser, with the place in the original text of every character that it puts out.
import {
  BLANK,
  characterAt,
  characterLength,
  DECOMPOSES,
  DROPPED,
  IDEOGRAPH,
  LOWERS,
  NONSPACING,
  RANK,
  type UnicodeData,
  unicodeData,
} from './unicode.ts'

export interface NormalizerOptions {
  /** Remove control characters and turn white space into spaces. */
  cleanText: boolean
  /** Put a space on either side of an ideograph. */
  tokenizeChineseChars: boolean
  /** Decompose and remove nonspacing marks; null follows `doLowerCase`. */
  stripAccents: boolean | null
  doLowerCase: boolean
}

const SPACE = 0x20
const ASCII = 128
const GONE = -1
const KEPT_CAPACITY = 1 << 16
const HANGUL = { first: 0xac00, last: 0xd7a3, lead: 0x1100, vowel: 0x1161, trail: 0x11a7, vowels: 21, trails: 28 }

/** Normalised characters: code points, and where in the original text (UTF-16) the source of each one starts. */
export class NormalizedText {
  length = 0
  codes = new Int32Array(1024)
  starts = new Int32Array(1024)

  push(code: number, start: number): void {
    if (this.length === this.codes.length) this.#grow()
    this.codes[this.length] = code
    this.starts[this.length++] = start
  }

  /** Empties it; memory taken by an unusually long text is given back. */
  clear(): void {
    this.length = 0
    if (this.codes.length <= KEPT_CAPACITY) return
    this.codes = new Int32Array(KEPT_CAPACITY)
    this.starts = new Int32Array(KEPT_CAPACITY)
  }

  #grow(): void {
    const codes = new Int32Array(this.codes.length * 2)
    const starts = new Int32Array(codes.length)
    codes.set(this.codes)
    starts.set(this.starts)
    this.codes = codes
    this.starts = starts
  }
}

/**
 * Marks that follow a base character, kept until the next base: canonical order may move them. A mark that stays takes
 * the place of the character it ends up as, not of the one it was: that is how the Rust library aligns them.
 */
class PendingMarks {
  /** Where each mark starts that is a character of the text, not an inserted part of one before it. */
  readonly starts: number[] = []
  /** Marks: code point, rank and whether it is inserted, in 21, 6 and 1 bits. */
  readonly #marks: number[] = []
  #lastRank = 0
  #sorted = true
  /** Whether any of them outlives the removal of nonspacing marks. */
  survives = false

  get isEmpty(): boolean {
    return this.#marks.length === 0
  }

  push(code: number, rank: number, inserted: boolean, start: number, survives: boolean): void {
    if (rank < this.#lastRank) this.#sorted = false
    this.#lastRank = rank
    this.#marks.push(code | (rank << 21) | (inserted ? INSERTED : 0))
    if (!inserted) this.starts.push(start)
    if (survives) this.survives = true
  }

  /** The marks in canonical order: a stable counting sort, so that hostile text costs no more than other text. */
  ordered(): readonly number[] {
    if (this.#sorted) return this.#marks
    const places = new Int32Array(RANKS + 1)
    for (const mark of this.#marks) places[rankOf(mark) + 1]++
    for (let rank = 1; rank <= RANKS; rank++) places[rank] += places[rank - 1]
    const ordered = new Array<number>(this.#marks.length)
    for (const mark of this.#marks) ordered[places[rankOf(mark)]++] = mark
    return ordered
  }

  clear(): void {
    this.#marks.length = this.starts.length = this.#lastRank = 0
    this.#sorted = true
    this.survives = false
  }
}

const RANKS = 64
const INSERTED = 1 << 27
const codeOf = (mark: number): number => mark & 0x1fffff
const rankOf = (mark: number): number => (mark >>> 21) & (RANKS - 1)

/**
 * Cleans, spaces ideographs, strips accents and lower-cases, in this order, as `BertNormalizer` of the Rust library
 * `tokenizers` 0.23 (src/normalizers/bert.rs) does, with its version of Unicode.
 */
export class Normalizer {
  readonly #unicode: UnicodeData = unicodeData()
  readonly #options: NormalizerOptions
  readonly #strip: boolean
  /** What an ASCII character becomes: one character, or none (GONE). */
  readonly #ascii = new Int16Array(ASCII)
  readonly #marks = new PendingMarks()
  /** Where the source of the last base character starts. */
  #base = 0

  constructor(options: NormalizerOptions) {
    this.#options = options
    this.#strip = options.stripAccents ?? options.doLowerCase
    const { kinds, lower } = this.#unicode
    for (let code = 0; code < ASCII; code++) {
      let to = options.doLowerCase ? (lower.get(code)?.[0] ?? code) : code
      if (options.cleanText && (kinds[code] & BLANK) !== 0) to = SPACE
      if (options.cleanText && (kinds[code] & DROPPED) !== 0) to = GONE
      this.#ascii[code] = to
    }
  }

  /** Normalises `text[from, to)` (UTF-16 units) into `out`, which it empties first. Linear in the length. */
  normalize(text: string, from: number, to: number, out: NormalizedText): void {
    out.clear()
    for (let i = from; i < to; ) {
      const unit = text.charCodeAt(i)
      if (unit < ASCII) {
        const code = this.#ascii[unit]
        if (code !== GONE) {
          if (!this.#marks.isEmpty) this.#flush(out)
          out.push(code, i)
          this.#base = i
        }
        i++
      } else {
        const length = Math.min(characterLength(text, i), to - i)
        this.#add(characterAt(text, i, length), i, out)
        i += length
      }
    }
    this.#flush(out)
  }

  #add(code: number, start: number, out: NormalizedText): void {
    const { cleanText, tokenizeChineseChars } = this.#options
    const kind = this.#unicode.kinds[code]
    if (cleanText && (kind & DROPPED) !== 0) return
    if (cleanText && (kind & BLANK) !== 0) this.#put(SPACE, start, out)
    else if (tokenizeChineseChars && (kind & IDEOGRAPH) !== 0) {
      this.#put(SPACE, start, out)
      this.#put(code, start, out)
      this.#put(SPACE, start, out)
    } else this.#put(code, start, out)
  }

  #put(code: number, start: number, out: NormalizedText): void {
    if (!this.#strip) this.#lower(code, start, out)
    else if (code >= HANGUL.first && code <= HANGUL.last) this.#putSyllable(code - HANGUL.first, start, out)
    else if ((this.#unicode.kinds[code] & DECOMPOSES) === 0) this.#putPart(code, false, start, out)
    else {
      const parts = this.#unicode.decomposition.get(code) ?? [code]
      for (let i = 0; i < parts.length; i++) this.#putPart(parts[i], i > 0, start, out)
    }
  }

  /** Decomposes a Hangul syllable (Unicode, section 3.12); its parts are base characters without case. */
  #putSyllable(index: number, start: number, out: NormalizedText): void {
    if (!this.#marks.isEmpty) this.#flush(out)
    const trail = index % HANGUL.trails
    const block = (index - trail) / HANGUL.trails
    const vowel = block % HANGUL.vowels
    out.push(HANGUL.lead + (block - vowel) / HANGUL.vowels, start)
    out.push(HANGUL.vowel + vowel, start)
    if (trail > 0) out.push(HANGUL.trail + trail, start)
    this.#base = start
  }

  #putPart(code: number, inserted: boolean, start: number, out: NormalizedText): void {
    const kind = this.#unicode.kinds[code]
    if (kind >>> RANK !== 0) {
      this.#marks.push(code, kind >>> RANK, inserted, start, (kind & NONSPACING) === 0)
      return
    }
    if (!this.#marks.isEmpty) this.#flush(out)
    this.#base = start
    if ((kind & NONSPACING) === 0) this.#lower(code, start, out)
  }

  #flush(out: NormalizedText): void {
    const marks = this.#marks
    if (marks.survives) {
      let taken = 0
      for (const mark of marks.ordered()) {
        if ((mark & INSERTED) === 0) this.#base = marks.starts[taken++]
        if ((this.#unicode.kinds[codeOf(mark)] & NONSPACING) === 0) this.#lower(codeOf(mark), this.#base, out)
      }
    }
    marks.clear()
  }

  #lower(code: number, start: number, out: NormalizedText): void {
    if (!this.#options.doLowerCase || (this.#unicode.kinds[code] & LOWERS) === 0) out.push(code, start)
    else for (const part of this.#unicode.lower.get(code) ?? [code]) out.push(part, start)
  }
}
