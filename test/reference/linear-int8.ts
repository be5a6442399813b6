// linear_int8 and the table of embedding_int8: int8 matrices as native/ops.def lays them out, and products that round x to int8 in blocks
// of columns. Each step that kernels take in float32 is rounded to it here, in their order, so that results are theirs bit for bit.
import { type Activation, activation } from './activation.ts'
import { embedding } from './embedding.ts'

const BLOCK = 64
const { fround } = Math

const halfToEven = (value: number): number => {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor
}

/** `values` as whole numbers from -127 to 127 times `scale`. */
function quantize(values: Float64Array): { whole: Float64Array; scale: number } {
  const scale = fround(values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127)
  if (!values.every(Number.isFinite)) return { whole: new Float64Array(values.length), scale: Number.NaN }
  if (scale < 2 ** -126) return { whole: new Float64Array(values.length), scale: 0 }
  const inverse = fround(1 / scale)
  return { whole: values.map((value) => halfToEven(Math.max(-127, Math.min(127, fround(value * inverse))))), scale }
}

/** A matrix [N, K] with a scale for each row. */
export interface Int8Matrix {
  /** [N, K] */
  readonly whole: Float64Array
  /** [N] */
  readonly scales: Float64Array
}

export function int8Matrix(w: Float64Array, N: number, K: number): Int8Matrix {
  const rows = Array.from({ length: N }, (_, n) => quantize(w.slice(n * K, (n + 1) * K)))
  return {
    whole: Float64Array.from(rows.flatMap(({ whole }) => [...whole])),
    scales: Float64Array.from(rows, ({ scale }) => scale),
  }
}

/** Panels of 16 rows; in each, for every four columns, a word of each row. */
export function int8Words({ whole }: Int8Matrix, N: number, K: number): Int32Array {
  const [panels, depth] = [Math.ceil(N / 16), Math.ceil(K / 4)]
  const words = new Int32Array(panels * depth * 16)
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++) {
      const word = (Math.floor(n / 16) * depth + Math.floor(k / 4)) * 16 + (n % 16)
      words[word] |= (whole[n * K + k] & 255) << (8 * (k % 4))
    }
  return words
}

export function linearInt8({
  x,
  w,
  bias,
  rows,
  K,
  N,
  act = 'linear',
}: {
  x: Float64Array
  w: Int8Matrix
  bias?: Float64Array
  rows: number
  K: number
  N: number
  act?: Activation
}): { y: Float64Array } {
  const z = new Float64Array(rows * N)
  for (let r = 0; r < rows; r++) {
    const blocks: ReturnType<typeof quantize>[] = []
    for (let k = 0; k < K; k += BLOCK) blocks.push(quantize(x.slice(r * K + k, r * K + Math.min(K, k + BLOCK))))
    for (let n = 0; n < N; n++) {
      let total = 0
      for (const [b, { whole, scale }] of blocks.entries()) {
        const sum = whole.reduce((s, value, k) => s + value * w.whole[n * K + b * BLOCK + k], 0)
        const term = fround(fround(sum) * scale)
        total = b === 0 ? term : fround(total + term)
      }
      z[r * N + n] = fround(fround(total * w.scales[n]) + (bias?.[n] ?? 0))
    }
  }
  return { y: activation(act, z) }
}

export function embeddingInt8({
  word,
  H,
  ...inputs
}: Omit<Parameters<typeof embedding>[0], 'word'> & { word: Int8Matrix }): { y: Float64Array } {
  return embedding({ ...inputs, H, word: word.whole.map((value, i) => fround(value * word.scales[Math.floor(i / H)])) })
}
