// Metrics of predicted numbers: pure functions over whole evaluation sets, with SciPy's conventions.
import { checkPaired, mean, type Numbers } from './numbers.ts'

function isConstant(values: Numbers): boolean {
  for (let i = 1; i < values.length; i++) if (values[i] !== values[0]) return false
  return true
}

/** Pearson's correlation of two series [N]; NaN where it is undefined, when either is constant. */
export function pearson(x: Numbers, y: Numbers): number {
  checkPaired('pearson', x, y)
  // Deviations from a rounded mean need not be 0, so a constant series is recognised by its values.
  if (isConstant(x) || isConstant(y)) return Number.NaN
  const meanX = mean(x)
  const meanY = mean(y)
  let xy = 0
  let xx = 0
  let yy = 0
  for (let i = 0; i < x.length; i++) {
    const dx = x[i] - meanX
    const dy = y[i] - meanY
    xy += dx * dy
    xx += dx * dx
    yy += dy * dy
  }
  // The root of the product is exact for a perfect correlation, unless the product is too great or too small for a number; rounding may
  // carry one past 1.
  const product = xx * yy
  const isExact = product > Number.MIN_VALUE / Number.EPSILON && product < Number.POSITIVE_INFINITY
  const r = xy / (isExact ? Math.sqrt(product) : Math.sqrt(xx) * Math.sqrt(yy))
  return Math.min(1, Math.max(-1, r))
}

/** Ranks from 1; equal values share the mean of their ranks. */
function ranks(values: Numbers): Float64Array {
  const order = Uint32Array.from({ length: values.length }, (_, i) => i).sort((a, b) => values[a] - values[b])
  const result = new Float64Array(values.length)
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && values[order[end]] === values[order[start]]) end++
    for (let i = start; i < end; i++) result[order[i]] = (start + 1 + end) / 2
  }
  return result
}

/** Spearman's rank correlation of two series [N], ties sharing their mean rank; NaN when either is constant. */
export function spearman(x: Numbers, y: Numbers): number {
  checkPaired('spearman', x, y)
  return pearson(ranks(x), ranks(y))
}

/** Mean of the squared differences of two arrays of any one shape. */
export function meanSquaredError(predictions: Numbers, targets: Numbers): number {
  checkPaired('meanSquaredError', predictions, targets)
  let total = 0
  for (let i = 0; i < targets.length; i++) total += (predictions[i] - targets[i]) ** 2
  return total / targets.length
}
