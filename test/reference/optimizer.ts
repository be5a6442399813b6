// The global norm of the gradients, clipping, and AdamW (Loshchilov and Hutter 2019) or Adam with an L2 term in PyTorch's order.

/** coefficient = min(1, maxGradNorm / (norm + 1e-6)); maxGradNorm 0 clips nothing. The norm is NaN where the loss is not finite. */
export function gradientNorm({ g, loss = 0, maxGradNorm }: { g: Float64Array; loss?: number; maxGradNorm: number }): {
  norm: number
  coefficient: number
} {
  const length = Math.sqrt(g.reduce((sum, value) => sum + value * value, 0))
  const norm = Number.isFinite(loss) ? length : Number.NaN
  return { norm, coefficient: maxGradNorm === 0 ? 1 : Math.min(1, maxGradNorm / (norm + 1e-6)) }
}

export interface AdamW {
  w: Float64Array
  g: Float64Array
  expAvg: Float64Array
  expAvgSq: Float64Array
  /** Of gradientNorm; a norm that is not finite leaves everything as it was. */
  norm: number
  coefficient: number
  lr: number
  weightDecay: number
  beta1: number
  beta2: number
  eps: number
  /** Weight decay is part of the gradient. */
  coupled?: boolean
  /** 1 in the first update. */
  step: number
}

/** The weights and moments after one update; the arguments keep their values. */
export function adamw({
  w,
  g,
  expAvg,
  expAvgSq,
  norm,
  coefficient,
  lr,
  weightDecay,
  beta1,
  beta2,
  eps,
  coupled = false,
  step,
}: AdamW): Pick<AdamW, 'w' | 'expAvg' | 'expAvgSq'> {
  if (!Number.isFinite(norm)) return { w: w.slice(), expAvg: expAvg.slice(), expAvgSq: expAvgSq.slice() }
  const gradient = g.map((value, i) => value * coefficient + (coupled ? weightDecay * w[i] : 0))
  const m = expAvg.map((old, i) => beta1 * old + (1 - beta1) * gradient[i])
  const v = expAvgSq.map((old, i) => beta2 * old + (1 - beta2) * gradient[i] ** 2)
  const biasCorrection1 = 1 - beta1 ** step
  const biasCorrection2 = 1 - beta2 ** step
  const updated = w.map((old, i) => {
    const decayed = coupled ? old : old * (1 - lr * weightDecay)
    return decayed - ((lr / biasCorrection1) * m[i]) / (Math.sqrt(v[i]) / Math.sqrt(biasCorrection2) + eps)
  })
  return { w: updated, expAvg: m, expAvgSq: v }
}
