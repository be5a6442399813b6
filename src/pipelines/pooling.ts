// How the vectors of tokens become one: sentence_transformers/models/Pooling.py. No sequence is padded, so that all tokens count.
import type { PoolingMode } from '../formats/sentence-transformers.ts'

type Weights = (token: number, length: number) => number

/** Modes that are a weighted sum: the weight of each token. */
const SUMS: Readonly<Record<Exclude<PoolingMode, 'max'>, Weights>> = {
  cls: (token) => (token === 0 ? 1 : 0),
  lasttoken: (token, length) => (token === length - 1 ? 1 : 0),
  mean: (_, length) => 1 / length,
  mean_sqrt_len: (_, length) => 1 / Math.sqrt(length),
  weightedmean: (token, length) => (2 * (token + 1)) / (length * (length + 1)),
}

export const POOLING_MODES: readonly PoolingMode[] = ['max', ...(Object.keys(SUMS) as (keyof typeof SUMS)[])]

/** One vector [width] of rows [length, width]. */
function poolOne(rows: Float32Array, width: number, mode: PoolingMode): Float64Array {
  const length = rows.length / width
  const pooled = new Float64Array(width).fill(mode === 'max' ? Number.NEGATIVE_INFINITY : 0)
  for (let token = 0; token < length; token++) {
    const weight = mode === 'max' ? 1 : SUMS[mode](token, length)
    for (let i = 0; i < width; i++) {
      const value = rows[token * width + i]
      pooled[i] = mode === 'max' ? Math.max(pooled[i], value) : pooled[i] + weight * value
    }
  }
  return pooled
}

/** The vectors that `modes` make of rows [length, width], one after another: [modes * width]. */
export function pool(rows: Float32Array, width: number, modes: readonly PoolingMode[]): Float32Array {
  const pooled = new Float32Array(modes.length * width)
  for (const [i, mode] of modes.entries()) pooled.set(poolOne(rows, width, mode), i * width)
  return pooled
}

/** Scales each row of `width` values to length 1, in place; as torch.nn.functional.normalize, which leaves zeros alone. */
export function normalizeRows(data: Float32Array, width: number): void {
  for (let start = 0; start < data.length; start += width) {
    const row = data.subarray(start, start + width)
    const length = Math.max(Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)), 1e-12)
    for (let i = 0; i < width; i++) row[i] /= length
  }
}

/** From -1 to 1; 0 where a vector is zero. */
export function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, aa, bb] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i]
    aa += a[i] * a[i]
    bb += b[i] * b[i]
  }
  return dot / Math.max(Math.sqrt(aa) * Math.sqrt(bb), 1e-24)
}
