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
}

interface Elementwise {
  /** [rows, C] */
  logits: Float64Array
  targets: Float64Array
  rows: number
  C: number
  denominator: number
}

function logSumExp(values: Float64Array): number {
  const greatest = values.reduce((a, b) => Math.max(a, b))
  return greatest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - greatest), 0))
}

/** loss = sum of (lse - logits[label]) / denominator; lse [rows], also of the rows left out. */
export function crossEntropy({ logits, labels, rows, C, denominator }: CrossEntropy): {
  loss: number
  lse: Float64Array
} {
  const lse = new Float64Array(rows)
  let loss = 0
  for (let r = 0; r < rows; r++) {
    lse[r] = logSumExp(logits.subarray(r * C, (r + 1) * C))
    if (labels[r] !== IGNORE_INDEX) loss += (lse[r] - logits[r * C + labels[r]]) / denominator
  }
  return { loss, lse }
}

/** dlogits = (softmax - onehot(label)) / denominator; 0 in the rows left out. */
export function crossEntropyBackward({ logits, labels, rows, C, denominator }: CrossEntropy): {
  dlogits: Float64Array
} {
  const { lse } = crossEntropy({ logits, labels, rows, C, denominator })
  const dlogits = new Float64Array(rows * C)
  for (let r = 0; r < rows; r++) {
    if (labels[r] === IGNORE_INDEX) continue
    for (let c = 0; c < C; c++)
      dlogits[r * C + c] = (Math.exp(logits[r * C + c] - lse[r]) - (labels[r] === c ? 1 : 0)) / denominator
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
