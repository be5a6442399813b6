import type { Graph, Value } from '../graph/graph.ts'
import { defineOp, pairTargets, rowsOf } from './op.ts'

export interface LayerNormOptions {
  readonly eps: number
  /** Dropout on `x` before the residual is added. */
  readonly dropout: number
}

/**
 * y = LayerNorm(dropout(x) + residual) * gamma + beta over [rows, H]. The sum takes x's place: nothing else reads x.
 * Saves the sum, and mean and rstd of each row.
 */
export const layerNorm = defineOp({
  record(
    graph: Graph,
    x: Value,
    residual: Value | undefined,
    gamma: Value,
    beta: Value,
    { eps, dropout }: LayerNormOptions,
  ) {
    const rows = rowsOf(x)
    const H = x.width
    const p = graph.options.training ? dropout : 0
    const site = graph.site()
    const keep = graph.keepMask(site, rows, H, p)
    const requiresGrad =
      graph.options.differentiate &&
      (x.requiresGrad || !!residual?.requiresGrad || gamma.requiresGrad || beta.requiresGrad)
    const y = graph.value('output', rows, H, requiresGrad)
    const mean = graph.statistic('mean', rows, 1)
    const rstd = graph.statistic('rstd', rows, 1)
    graph.emit('layerNorm', { x, residual, gamma, beta, keep, sum: x, y, mean, rstd }, { rows, H, eps, p, site })
    return { y, mean, rstd, keep, p, site }
  },
  backward(graph, dy, { mean, rstd, keep, p, site }, x, residual, gamma, beta) {
    const rows = rowsOf(x)
    const H = x.width
    const dgamma = graph.gradientTarget(gamma)
    const dbeta = graph.gradientTarget(beta)
    for (const [first, second] of pairTargets(dgamma, dbeta))
      graph.emit(
        'layerNormBackwardWeight',
        { dy, sum: x, mean, rstd, dgamma: first?.value, dbeta: second?.value },
        { rows, H, accumulate: (first ?? second)!.add },
      )
    const dx = graph.gradientTarget(x)
    const dresidual = residual && graph.gradientTarget(residual)
    if (dx?.add) throw new TypeError(`${x.name} is read by another op as well as its LayerNorm, which uses it up`)
    if (dx || dresidual)
      graph.emit(
        'layerNormBackward',
        { dy, sum: x, mean, rstd, gamma, keep, dx: dx?.value, dresidual: dresidual?.value },
        { rows, H, p, site, add: dresidual?.add ?? false },
      )
  },
})
