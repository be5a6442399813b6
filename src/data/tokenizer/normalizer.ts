// BERT's normaliser, with the place in the original text of every character that it puts out.
import {
  BLANK,
  COMBINES,
  characterAt,
  characterLength,
  DECOMPOSES,
  DROPPED,
  decompose,
  IDEOGRAPH,
  LOWERS,
  NONSPACING,
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
  codes: number[] = []
  ranks: number[] = []
  /** Whether the mark came out of a decomposition after its first character, and so has no place of its own. */
  inserted: boolean[] = []
  starts: number[] = []
  sorted = true
  /** Whether any of them outlives the removal of nonspacing marks. */
  survives = false

  get length(): number {
    return this.codes.length
  }

  push(code: number, rank: number, inserted: boolean, start: number, survives: boolean): void {
    if (this.length > 0 && rank < this.ranks[this.length - 1]) this.sorted = false
    this.codes.push(code)
    this.ranks.push(rank)
    this.inserted.push(inserted)
    if (!inserted) this.starts.push(start)
    if (survives) this.survives = true
  }

  /** Indices in canonical order: a stable counting sort, so that hostile text costs no more than other text. */
  order(): Int32Array {
    const order = Int32Array.from({ length: this.length }, (_, i) => i)
    if (this.sorted) return order
    const places = new Int32Array(Math.max(...new Set(this.ranks)) + 2)
    for (const rank of this.ranks) places[rank + 1]++
    for (let rank = 1; rank < places.length; rank++) places[rank] += places[rank - 1]
    this.ranks.forEach((rank, i) => {
      order[places[rank]++] = i
    })
    return order
  }

  clear(): void {
    this.codes.length = this.ranks.length = this.inserted.length = this.starts.length = 0
    this.sorted = true
    this.survives = false
  }
}

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
          if (this.#marks.length > 0) this.#flush(out)
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
    else if ((this.#unicode.kinds[code] & DECOMPOSES) === 0) this.#ordered(code, false, start, out)
    else {
      const parts = decompose(this.#unicode, code)
      for (let i = 0; i < parts.length; i++) this.#ordered(parts[i], i > 0, start, out)
    }
  }

  #ordered(code: number, inserted: boolean, start: number, out: NormalizedText): void {
    const kind = this.#unicode.kinds[code]
    if ((kind & COMBINES) !== 0) {
      this.#marks.push(code, this.#unicode.combining.get(code) ?? 0, inserted, start, (kind & NONSPACING) === 0)
      return
    }
    if (this.#marks.length > 0) this.#flush(out)
    this.#base = start
    if ((kind & NONSPACING) === 0) this.#lower(code, start, out)
  }

  #flush(out: NormalizedText): void {
    const marks = this.#marks
    if (marks.survives) {
      let taken = 0
      for (const i of marks.order()) {
        if (!marks.inserted[i]) this.#base = marks.starts[taken++]
        if ((this.#unicode.kinds[marks.codes[i]] & NONSPACING) === 0) this.#lower(marks.codes[i], this.#base, out)
      }
    }
    marks.clear()
  }

  #lower(code: number, start: number, out: NormalizedText): void {
    if (!this.#options.doLowerCase || (this.#unicode.kinds[code] & LOWERS) === 0) out.push(code, start)
    else for (const part of this.#unicode.lower.get(code) ?? [code]) out.push(part, start)
  }
}
