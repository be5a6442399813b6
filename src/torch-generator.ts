import { slices } from './turns.ts'

// PyTorch's random numbers on a CPU (torch 2.13), so that a run can repeat one of Transformers: the Mersenne Twister of Matsumoto and
// Nishimura, "Mersenne Twister" (1998), and what ATen makes of its words (aten/src/ATen/core/DistributionsHelper.h,
// aten/src/ATen/native/cpu/DistributionTemplates.h).

const WORDS = 624
const SHIFT = 397
/** Draws between two looks at the clock, of which the slowest kind takes well below a millisecond. */
const STRETCH = 1 << 13
/** Normals at a time. */
const PIECE = 1 << 14

const temper = (word: number): number => {
  let y = word ^ (word >>> 11)
  y ^= (y << 7) & 0x9d2c5680
  y ^= (y << 15) & 0xefc60000
  return y ^ (y >>> 18)
}

const twist = (upper: number, lower: number): number =>
  (((upper & 0x80000000) | (lower & 0x7fffffff)) >>> 1) ^ (-(lower & 1) & 0x9908b0df)

/** torch.Generator on the CPU: the same numbers for the same seed and the same calls. */
export class TorchGenerator {
  readonly #words = new Int32Array(WORDS)
  #next = WORDS
  /** The second of a pair of normals, until it is asked for. */
  #spare: number | undefined

  /** torch.manual_seed(seed); the low 32 bits count. */
  constructor(seed: number) {
    const words = this.#words
    words[0] = seed
    for (let i = 1; i < WORDS; i++) {
      const previous = words[i - 1] ^ (words[i - 1] >>> 30)
      words[i] = Math.imul(previous, 1812433253) + i
    }
  }

  /** A copy that draws on by itself. */
  clone(): TorchGenerator {
    const copy = new TorchGenerator(0)
    copy.#words.set(this.#words)
    copy.#next = this.#next
    copy.#spare = this.#spare
    return copy
  }

  /** Where the stream stands, for `TorchGenerator.parse`. */
  toText(): string {
    const hex = Array.from(this.#words, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
    return [this.#next, this.#spare ?? '', hex].join(' ')
  }

  /** Undefined where the text is none of `toText`. */
  static parse(text: string): TorchGenerator | undefined {
    const [, next, spare, hex] = /^(\d{1,3}) (\S*) ([0-9a-f]{4992})$/.exec(text) ?? []
    if (hex === undefined || Number(next) > WORDS || Number.isNaN(Number(spare))) return undefined
    const generator = new TorchGenerator(0)
    for (let i = 0; i < WORDS; i++) generator.#words[i] = Number.parseInt(hex.slice(8 * i, 8 * i + 8), 16)
    generator.#next = Number(next)
    generator.#spare = spare === '' ? undefined : Number(spare)
    return generator
  }

  #refill(): void {
    const words = this.#words
    for (let i = 0; i < WORDS - SHIFT; i++) words[i] = words[i + SHIFT] ^ twist(words[i], words[i + 1])
    for (let i = WORDS - SHIFT; i < WORDS - 1; i++) words[i] = words[i + SHIFT - WORDS] ^ twist(words[i], words[i + 1])
    words[WORDS - 1] = words[SHIFT - 1] ^ twist(words[WORDS - 1], words[0])
    this.#next = 0
  }

  #word(): number {
    if (this.#next === WORDS) this.#refill()
    return temper(this.#words[this.#next++]) >>> 0
  }

  /** torch.rand, of one element. */
  rand(): number {
    return (this.#word() & 0xffffff) / 2 ** 24
  }

  /** What an iterator of a DataLoader draws for its workers: `random_()` of an int64. */
  drawLoaderSeed(): void {
    this.#word()
    this.#word()
  }

  /** A double in [0, 1) of 53 bits from two words, the high one first. */
  #double(): number {
    const high = this.#word()
    const low = this.#word()
    return ((high & 0x1fffff) * 2 ** 32 + low) / 2 ** 53
  }

  /** torch.randperm(n) */
  async randperm(n: number): Promise<Uint32Array> {
    const order = new Uint32Array(n)
    for (let i = 0; i < n; i++) order[i] = i
    const turn = slices()
    for (let i = 0; i < n - 1; i++) {
      if (i % STRETCH === 0) await turn()
      const other = i + (this.#word() % (n - i))
      const kept = order[i]
      order[i] = order[other]
      order[other] = kept
    }
    return order
  }

  /**
   * The mask of torch.nn.functional.dropout over `elements`, in the order of memory: 1 keeps an element, with probability 1 - p. Two
   * words for each; what it multiplies with is 1 / (1 - p).
   */
  async dropout(elements: number, p: number): Promise<Uint8Array> {
    const kept = new Uint8Array(elements)
    const turn = slices()
    for (let start = 0; start < elements; start += STRETCH) {
      this.#drop(kept, start, Math.min(start + STRETCH, elements), 1 - p)
      await turn()
    }
    return kept
  }

  #drop(kept: Uint8Array, start: number, end: number, probability: number): void {
    const words = this.#words
    // an integer of 53 bits is below this one with the probability that is asked for
    const limit = Math.ceil(probability * 2 ** 53)
    const limitHigh = Math.floor(limit / 2 ** 32)
    const limitLow = limit % 2 ** 32
    let next = this.#next
    for (let i = start; i < end; i++) {
      if (next === WORDS) {
        this.#refill()
        next = 0
      }
      const high = temper(words[next++]) & 0x1fffff
      if (next === WORDS) {
        this.#refill()
        next = 0
      }
      const low = words[next++]
      kept[i] = high === limitHigh ? Number(temper(low) >>> 0 < limitLow) : Number(high < limitHigh)
    }
    this.#next = next
  }

  /**
   * tensor.normal_(0, std) of a contiguous float32 tensor; the last digit may differ from PyTorch's, whose vectors approximate log and
   * cos. From 16 elements on by blocks of 16, where what is left over is a last block that overlaps the one before; fewer in pairs,
   * in double precision.
   */
  async normal(elements: number, std: number): Promise<Float32Array> {
    const values = new Float32Array(elements)
    for await (const piece of this.normals(elements, std)) values.set(piece.values, piece.start)
    return values
  }

  /** The same, piece by piece. */
  async *normals(elements: number, std: number): AsyncGenerator<{ start: number; values: Float32Array }> {
    const turn = slices()
    for (let start = 0, end = 0; start < elements; start = end) {
      // what is left over is with the block before it
      end = elements - start < PIECE + 16 ? elements : start + PIECE
      const values = new Float32Array(end - start)
      if (elements >= 16) this.#fill(values, std)
      else for (let i = 0; i < elements; i++) values[i] = this.#pairedNormal() * std
      yield { start, values }
      await turn()
    }
  }

  /** At least 16. The words of a block are drawn one after another, so that it makes no difference when it is computed. */
  #fill(values: Float32Array, std: number): void {
    for (let start = 0; start < values.length; start += 16) {
      const end = Math.min(start + 16, values.length)
      for (let i = start; i < end; i++) values[i] = this.rand()
      if (end === start + 16) boxMuller(values, start, std)
    }
    if (values.length % 16 === 0) return
    const last = values.length - 16
    for (let i = last; i < values.length; i++) values[i] = this.rand()
    boxMuller(values, last, std)
  }

  #pairedNormal(): number {
    const spare = this.#spare
    this.#spare = undefined
    if (spare !== undefined) return spare
    const angle = 2 * Math.PI * this.#double()
    const radius = Math.sqrt(-2 * Math.log1p(-this.#double()))
    this.#spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  /** Draws `words` and forgets them. */
  async skip(words: number): Promise<void> {
    const turn = slices()
    for (let i = 0; i < words; i++) {
      if (i % STRETCH === 0) await turn()
      if (this.#next === WORDS) this.#refill()
      this.#next++
    }
  }
}

const { fround } = Math
const TWO_PI = fround(2 * Math.PI)

/** Normals from the 16 uniforms of values[start ..], in their place. Rounded as PyTorch rounds, of the angle above all. */
function boxMuller(values: Float32Array, start: number, std: number): void {
  for (let i = start; i < start + 8; i++) {
    const radius = fround(Math.sqrt(fround(-2 * fround(Math.log(1 - values[i])))))
    const angle = fround(TWO_PI * values[i + 8])
    values[i] = fround(radius * fround(Math.cos(angle))) * fround(std)
    values[i + 8] = fround(radius * fround(Math.sin(angle))) * fround(std)
  }
}
