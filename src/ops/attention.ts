import type { Graph, Value } from '../graph/graph.ts'
import { Row } from '../graph/op-table.ts'
import { defineOp, rowsOf } from './op.ts'

export interface AttentionInputs {
  /** [rows, 3, A, D]: queries, keys and values of each token side by side. */
  readonly qkv: Value
  /** Borders of the sequences, [sequences + 1]. */
  readonly cuSeqlens: Value
  /** 0 hides a token as a key, [rows]; undefined: nothing is hidden. */
  readonly keyMask: Value | undefined
}

export interface AttentionOptions {
  readonly heads: number
  readonly causal: boolean
  /** Dropout on the probabilities. */
  readonly dropout: number
  /** Takes the probabilities of each sequence, [A, L, L] one after another, when the caller wants to see them. */
  readonly onProbabilities?: (probs: Value) => void
}

/** softmax(q k^T / sqrt(D)) v inside each sequence -> [rows, A * D]. Saves lse. Vaswani et al., "Attention Is All You Need" (2017). */
export const attention = defineOp({
  record(graph: Graph, { qkv, cuSeqlens, keyMask }: AttentionInputs, options: AttentionOptions) {
    const rows = rowsOf(qkv)
    const A = options.heads
    const D = qkv.width / 3 / A
    const p = graph.options.training ? options.dropout : 0
    const site = graph.site()
    const keep = graph.keepMask(site, Row.pairs, A, p)
    const attributes = { rows, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: options.causal, p, site }
    const y = graph.value('context', rows, A * D, graph.options.differentiate && qkv.requiresGrad)
    const lse = graph.statistic('lse', rows, A)
    graph.emit('attention', { qkv, cuSeqlens, keyMask, keep, context: y, lse }, attributes)
    if (options.onProbabilities) {
      const probs = graph.statistic('probs', Row.pairs, A)
      graph.emit('attentionProbs', { qkv, lse, cuSeqlens, keyMask, keep, probs }, attributes)
      options.onProbabilities(probs)
    }
    return { y, lse, keep, attributes }
  },
  backward(graph, dcontext, { y, lse, keep, attributes }, { qkv, cuSeqlens, keyMask }) {
    const target = graph.gradientTarget(qkv)
    if (target)
      graph.emit(
        'attentionBackward',
        { dcontext, qkv, context: y, lse, cuSeqlens, keyMask, keep, dqkv: target.value },
        attributes,
      )
  },
})

export interface CrossAttentionInputs {
  /** [rows, A * D] */
  readonly q: Value
  /** [keys, 2 * A * D]: key and value of each row side by side. */
  readonly kv: Value
  /** Borders of the sequences among the queries and among the keys, [sequences + 1] both. */
  readonly cuQueries: Value
  readonly cuKeys: Value
  /** 0 hides a key, [keys]; undefined: nothing is hidden. */
  readonly keyMask: Value | undefined
}

export interface CrossAttentionOptions extends AttentionOptions {
  /** Row symbol of the probabilities and of their mask: the sum of queries x keys. */
  readonly pairs: Row
}

/** softmax(q k^T / sqrt(D)) v of each sequence's queries over its keys -> [rows, A * D]. Saves lse. q and kv have no other reader. */
export const crossAttention = defineOp({
  record(
    graph: Graph,
    { q, kv, cuQueries, cuKeys, keyMask }: CrossAttentionInputs,
    { heads: A, causal, dropout, pairs, onProbabilities }: CrossAttentionOptions,
  ) {
    const rows = rowsOf(q)
    const D = q.width / A
    const p = graph.options.training ? dropout : 0
    const site = graph.site()
    const keep = graph.keepMask(site, pairs, A, p)
    const attributes = { rows, keys: rowsOf(kv), seqs: rowsOf(cuKeys), pairs, A, D, causal, p, site }
    const y = graph.value('context', rows, A * D, graph.options.differentiate && (q.requiresGrad || kv.requiresGrad))
    const lse = graph.statistic('lse', rows, A)
    graph.emit('crossAttention', { q, kv, cuQueries, cuKeys, keyMask, keep, context: y, lse }, attributes)
    if (onProbabilities) {
      const probs = graph.statistic('probs', pairs, A)
      graph.emit('crossAttentionProbs', { q, kv, lse, cuQueries, cuKeys, keyMask, keep, probs }, attributes)
      onProbabilities(probs)
    }
    return { y, lse, keep, attributes }
  },
  backward(graph, dcontext, { y, lse, keep, attributes }, { q, kv, cuQueries, cuKeys, keyMask }) {
    const dq = graph.gradientTarget(q)
    const dkv = graph.gradientTarget(kv)
    if (dq?.add || dkv?.add) throw new TypeError(`${q.name} or ${kv.name} is read by another op as well`)
    graph.emit(
      'crossAttentionBackward',
      { dcontext, q, kv, context: y, lse, cuQueries, cuKeys, keyMask, keep, dq: dq?.value, dkv: dkv?.value },
      attributes,
    )
  },
})
