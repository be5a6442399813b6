// Losses: a sum over rows (and columns) divided by a denominator that the caller counts. Their backward is of that quotient.

export const IGNORE_INDEX = -100

interface CrossEntropy {
  /** [rows, C] */
  logits: Float64Array
  /** [rows]; -100 leaves the row out. */
  labels: ArrayLike<number>
  rows: number
  C: number
  denominator: number
  /** This part of each label goes to all classes alike. */
  smoothing?: number
}

interface SegmentCrossEntropy {
  /** [rows, C], of which one column counts. */
  logits: Float64Array
  column: number
  C: number
  /** [segments + 1], the first row of each segment. */
  cuSegments: ArrayLike<number>
  /** [segments], rows in their segment; -100 leaves the segment out. */
  positions: ArrayLike<number>
  denominator: number
  smoothing?: number
}

interface Elementwise {
  /** [rows, C] */
  logits: Float64Array
  targets: Float64Array
  rows: number
  C: number
  denominator: number
}

const targetOf = (c: number, label: number, C: number, smoothing: number): number =>
  (c === label ? 1 - smoothing : 0) + smoothing / C

/** The greatest value, and the logarithm of the sum of exponentials relative to it; the term of `own`, which may be the greatest, is taken apart. */
function logSumExp(values: Float64Array, own: number): [number, number] {
  const greatest = values.reduce((a, b) => Math.max(a, b))
  const others = values.reduce((sum, value, i) => (i === own ? sum : sum + Math.exp(value - greatest)), 0)
  return [greatest, Math.log1p(others + Math.expm1(values[own] - greatest))]
}

/**
 * loss = sum over rows of -sum over classes of target log softmax, / denominator, where target is smoothing / C for every class and
 * 1 - smoothing more for the label; lse [rows, 2], whose sum is the log-sum-exp of a row, also of the rows left out.
 */
export function crossEntropy({ logits, labels, rows, C, denominator, smoothing = 0 }: CrossEntropy): {
  loss: number
  lse: Float64Array
} {
  const lse = new Float64Array(rows * 2)
  let loss = 0
  for (let r = 0; r < rows; r++) {
    const [top, logSum] = logSumExp(logits.subarray(r * C, (r + 1) * C), labels[r] === IGNORE_INDEX ? 0 : labels[r])
    lse.set([top, logSum], r * 2)
    if (labels[r] === IGNORE_INDEX) continue
    for (let c = 0; c < C; c++)
      loss += (targetOf(c, labels[r], C, smoothing) * (top - logits[r * C + c] + logSum)) / denominator
  }
  return { loss, lse }
}

/** dlogits = (softmax - target) / denominator; 0 in the rows left out. */
export function crossEntropyBackward({ logits, labels, rows, C, denominator, smoothing = 0 }: CrossEntropy): {
  dlogits: Float64Array
} {
  const { lse } = crossEntropy({ logits, labels, rows, C, denominator })
  const dlogits = new Float64Array(rows * C)
  for (let r = 0; r < rows; r++) {
    if (labels[r] === IGNORE_INDEX) continue
    for (let c = 0; c < C; c++) {
      const logProbability = logits[r * C + c] - lse[r * 2] - lse[r * 2 + 1]
      const d = c === labels[r] ? Math.expm1(logProbability) + smoothing : Math.exp(logProbability)
      dlogits[r * C + c] = (d - smoothing / C) / denominator
    }
  }
  return { dlogits }
}

/** Each segment of the column is a row of logits, its rows the classes. */
function segments({ logits, column, C, cuSegments, positions, denominator, smoothing }: SegmentCrossEntropy) {
  return Array.from({ length: cuSegments.length - 1 }, (_, g) => {
    const rows = Array.from({ length: cuSegments[g + 1] - cuSegments[g] }, (_, i) => (cuSegments[g] + i) * C + column)
    const row = Float64Array.from(rows, (at) => logits[at])
    return { rows, of: { logits: row, labels: [positions[g]], rows: 1, C: row.length, denominator, smoothing } }
  })
}

export function segmentCrossEntropy(options: SegmentCrossEntropy): { loss: number; lse: Float64Array } {
  const results = segments(options).map(({ of }) => crossEntropy(of))
  return {
    loss: results.reduce((sum, { loss }) => sum + loss, 0),
    lse: Float64Array.from(results.flatMap(({ lse }) => [...lse])),
  }
}

/** This column of dlogits; the others are 0. */
export function segmentCrossEntropyBackward(options: SegmentCrossEntropy): { dlogits: Float64Array } {
  const dlogits = new Float64Array(options.logits.length)
  for (const { rows, of } of segments(options)) {
    const row = crossEntropyBackward(of).dlogits
    for (const [i, at] of rows.entries()) dlogits[at] = row[i]
  }
  return { dlogits }
}

/** loss = sum of (logits - targets)^2 / denominator. */
export function meanSquaredError({ logits, targets, denominator }: Elementwise): { loss: number } {
  return { loss: logits.reduce((sum, logit, i) => sum + (logit - targets[i]) ** 2 / denominator, 0) }
}

export function meanSquaredErrorBackward({ logits, targets, denominator }: Elementwise): { dlogits: Float64Array } {
  return { dlogits: logits.map((logit, i) => (2 * (logit - targets[i])) / denominator) }
}

/** loss = sum of (softplus(logit) - target * logit) / denominator, softplus written so that it cannot overflow. */
export function binaryCrossEntropy({ logits, targets, denominator }: Elementwise): { loss: number } {
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))
  return { loss: logits.reduce((sum, x, i) => sum + (softplus(x) - targets[i] * x) / denominator, 0) }
}

export function binaryCrossEntropyBackward({ logits, targets, denominator }: Elementwise): { dlogits: Float64Array } {
  return { dlogits: logits.map((x, i) => (1 / (1 + Math.exp(-x)) - targets[i]) / denominator) }
}
