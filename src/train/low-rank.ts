// The largest singular values and vectors of a sparse matrix, by subspace iteration: Halko, Martinsson and Tropp (2011), "Finding Structure
// with Randomness", algorithm 4.4.
import type { Turn } from './slices.ts'

/** Rows one after another: row i has values[starts[i]] to values[starts[i + 1] - 1], in the columns of `indices`. */
export interface SparseMatrix {
  readonly columns: number
  readonly starts: Uint32Array
  readonly indices: Uint16Array
  readonly values: Float32Array
}

/** Passes over the matrix and its transpose. */
const ITERATIONS = 2
/** Vectors beyond those that are wanted, which the last of these need to converge. */
const SPARE = 16
const JACOBI_SWEEPS = 12
const SMALL = 1e-9

/** U sqrt(S) of a matrix U S V': a row of so many numbers for each of its rows. */
export interface Factors {
  readonly dimensions: number
  readonly rows: Float64Array
}

/**
 * At most `rank` dimensions of a sparse matrix's rows: their inner products are those of the matrix U S V' with singular values in place
 * of their squares, U S U'. `normal` gives normally distributed numbers; `onProgress` is told the share that is done.
 */
export async function lowRank(
  matrix: SparseMatrix,
  rank: number,
  normal: () => number,
  turn: Turn,
  onProgress?: (done: number) => void,
): Promise<Factors> {
  const rows = matrix.starts.length - 1
  const width = Math.min(rank + SPARE, rows, matrix.columns)
  let q = await filled(rows * width, normal, turn)
  let z = await timesTransposed(matrix, q, width, turn)
  for (let i = 0; i < ITERATIONS; i++) {
    await orthonormalize(z, width, turn)
    q = await times(matrix, z, width, turn)
    await orthonormalize(q, width, turn)
    z = await timesTransposed(matrix, q, width, turn)
    onProgress?.((i + 1) / (ITERATIONS + 1))
  }
  // the matrix is about Q Z', so that U S^2 U' is Q (Z' Z) Q'
  const { values, vectors } = await eigen(await gram(z, width, turn), width, turn)
  const order = Array.from(values.keys()).sort((a, b) => values[b] - values[a])
  const dimensions = Math.min(rank, width)
  const scaled = Array.from({ length: dimensions }, (_, k) =>
    Float64Array.from(
      { length: width },
      (_, i) => vectors[i * width + order[k]] * Math.max(values[order[k]], 0) ** 0.25,
    ),
  )
  // in the place of q: a row of the result never reaches beyond the one of q that makes it
  for (let i = 0; i < rows; i++) {
    const row = q.slice(i * width, (i + 1) * width)
    for (const [k, vector] of scaled.entries()) q[i * dimensions + k] = dot(row, vector)
    await turn()
  }
  return { dimensions, rows: q.subarray(0, rows * dimensions) }
}

export function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let k = 0; k < x.length; k++) sum += x[k] * y[k]
  return sum
}

/** Numbers one after another. */
export async function filled(length: number, next: () => number, turn: Turn): Promise<Float64Array> {
  const x = new Float64Array(length)
  for (let i = 0; i < length; i++) {
    x[i] = next()
    if (i % 1024 === 0) await turn()
  }
  return x
}

/** The matrix times `x` of `width` columns. */
async function times({ indices, starts, values }: SparseMatrix, x: Float64Array, width: number, turn: Turn) {
  const rows = starts.length - 1
  const y = new Float64Array(rows * width)
  for (let i = 0; i < rows; i++) {
    for (let at = starts[i]; at < starts[i + 1]; at++) {
      const [value, from] = [values[at], indices[at] * width]
      for (let k = 0, to = i * width; k < width; k++) y[to + k] += value * x[from + k]
    }
    await turn()
  }
  return y
}

/** Its transpose times `x`. */
async function timesTransposed(matrix: SparseMatrix, x: Float64Array, width: number, turn: Turn) {
  const { columns, indices, starts, values } = matrix
  const y = new Float64Array(columns * width)
  for (let i = 0; i + 1 < starts.length; i++) {
    for (let at = starts[i]; at < starts[i + 1]; at++) {
      const [value, to] = [values[at], indices[at] * width]
      for (let k = 0, from = i * width; k < width; k++) y[to + k] += value * x[from + k]
    }
    await turn()
  }
  return y
}

/** x' x, of rows of `width` numbers. */
async function gram(x: Float64Array, width: number, turn: Turn): Promise<Float64Array> {
  const g = new Float64Array(width * width)
  for (let row = 0; row < x.length; row += width) {
    for (let i = 0; i < width; i++) {
      const value = x[row + i]
      for (let k = 0; k <= i; k++) g[i * width + k] += value * x[row + k]
    }
    await turn()
  }
  for (let i = 0; i < width; i++) for (let k = 0; k < i; k++) g[k * width + i] = g[i * width + k]
  return g
}

/** Makes the columns of `x` orthonormal, in place: x (L')^-1 with L L' = x' x. A column that the others make up becomes 0. */
export async function orthonormalize(x: Float64Array, width: number, turn: Turn): Promise<void> {
  const l = await gram(x, width, turn)
  for (let i = 0; i < width; i++)
    for (let k = 0; k <= i; k++) {
      let sum = l[i * width + k]
      for (let j = 0; j < k; j++) sum -= l[i * width + j] * l[k * width + j]
      const pivot = l[k * width + k]
      if (i === k) l[i * width + i] = sum > SMALL * l[i * width + i] ? Math.sqrt(sum) : 0
      else l[i * width + k] = pivot === 0 ? 0 : sum / pivot
    }
  for (let row = 0; row < x.length; row += width) {
    for (let i = 0; i < width; i++) {
      let sum = x[row + i]
      for (let j = 0; j < i; j++) sum -= l[i * width + j] * x[row + j]
      const pivot = l[i * width + i]
      x[row + i] = pivot === 0 ? 0 : sum / pivot
    }
    await turn()
  }
}

/** Eigenvalues and, in columns, eigenvectors of a symmetric matrix, by Jacobi's rotations. */
async function eigen(
  a: Float64Array,
  size: number,
  turn: Turn,
): Promise<{ values: Float64Array; vectors: Float64Array }> {
  const vectors = new Float64Array(size * size)
  for (let i = 0; i < size; i++) vectors[i * size + i] = 1
  for (let sweep = 0; sweep < JACOBI_SWEEPS; sweep++) {
    let rotated = false
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) {
        const off = a[p * size + q]
        if (Math.abs(off) <= SMALL * Math.sqrt(Math.abs(a[p * size + p] * a[q * size + q]))) continue
        rotated = true
        const theta = (a[q * size + q] - a[p * size + p]) / (2 * off)
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1))
        const c = 1 / Math.hypot(t, 1)
        rotate(a, size, p, q, c, t * c)
        rotateColumns(vectors, size, p, q, c, t * c)
      }
      await turn()
    }
    if (!rotated) break
  }
  return { values: Float64Array.from({ length: size }, (_, i) => a[i * size + i]), vectors }
}

/** The columns p and q turned by an angle of cosine c and sine s. */
function rotateColumns(a: Float64Array, size: number, p: number, q: number, c: number, s: number): void {
  for (let i = 0; i < a.length; i += size) {
    const [x, y] = [a[i + p], a[i + q]]
    a[i + p] = c * x - s * y
    a[i + q] = s * x + c * y
  }
}

function rotate(a: Float64Array, size: number, p: number, q: number, c: number, s: number): void {
  rotateColumns(a, size, p, q, c, s)
  for (let i = 0; i < size; i++) {
    const [x, y] = [a[p * size + i], a[q * size + i]]
    a[p * size + i] = c * x - s * y
    a[q * size + i] = s * x + c * y
  }
}
