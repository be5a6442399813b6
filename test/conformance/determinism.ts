// Results depend on the inputs alone: not on threads, not on the run, and a sequence's rows not on the rest of the batch.
import { describe, expect, it } from 'vitest'
import type { Backend, BackendMemory } from '../../src/backend/backend.ts'
import { type FloatType, Graph, type ParameterSlot, roundUp, type Value } from '../../src/graph/graph.ts'
import { Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { attention } from '../../src/ops/attention.ts'
import { dropout } from '../../src/ops/dropout.ts'
import { embedding } from '../../src/ops/embedding.ts'
import { layerNorm } from '../../src/ops/layer-norm.ts'
import { linear } from '../../src/ops/linear.ts'
import { Loss } from '../../src/ops/loss.ts'
import { recordUpdate } from '../../src/ops/optimizer.ts'
import { gatherRows } from '../../src/ops/pooling.ts'
import { expectSame, type Open, Random, runRecord, scalarsOf } from './harness.ts'

const [V, POSITIONS, H, HEADS, FF, C] = [211, 80, 68, 4, 150, 5]
const lengths = [1, 2, 70, 17, 33, 48, 5, 64, 1, 31]
const cuSeqlens = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))])
const tokens = cuSeqlens[lengths.length]
const counts = { tokens, sequences: lengths.length, labelled: lengths.length, pairs: 0 }

/** A one-layer encoder with a classifier, as src/model records it: every op that training needs. */
class Step {
  readonly slots: ParameterSlot[] = []
  readonly micro: { graph: Graph; loss: Value }
  readonly update: { graph: Graph; norm: Value }
  readonly elements: number
  #at = 0

  constructor(dtype: FloatType) {
    const capacity = { ...counts, tokens: tokens + 9 }
    const graph = new Graph(capacity, { differentiate: true, training: true, dtype })
    const loss = this.record(graph)
    graph.backward()
    this.micro = { graph, loss }
    this.elements = this.#at / 4
    const update = new Graph(capacity, { differentiate: false, training: true })
    const range = { weights: 0, gradients: 0, length: this.elements, group: 0 }
    this.update = { graph: update, norm: recordUpdate(update, this.elements, [range]) }
  }

  private parameter(graph: Graph, name: string, width: number): Value {
    const slot = { name, width, weights: this.#at, gradients: this.#at }
    this.#at += roundUp(width * 4)
    this.slots.push(slot)
    return graph.parameter(slot)
  }

  private record(graph: Graph): Value {
    const parameter = (name: string, width: number) => this.parameter(graph, name, width)
    const norm = { eps: 1e-12, dropout: 0.1 }
    const dense = (x: Value, N: number, act: 'linear' | 'gelu' | 'tanh' = 'linear', type = graph.dtype) =>
      linear(graph, x, parameter('w', N * x.width), parameter('b', N), act, type)
    const normalise = (x: Value, residual?: Value) =>
      layerNorm(graph, x, residual, parameter('gamma', H), parameter('beta', H), norm)
    const input = (name: string, rows: Row, extra = 0) => graph.input(name, rows, 1, 'int32', extra)
    const [ids, typeIds, positionIds] = [
      input('ids', Row.tokens),
      input('types', Row.tokens),
      input('positions', Row.tokens),
    ]
    const tables = {
      word: parameter('word', V * H),
      type: parameter('type', 2 * H),
      position: parameter('position', POSITIONS * H),
    }
    const borders = input('cu_seqlens', Row.sequences, 1)
    const [first, labels] = [input('first', Row.sequences), input('labels', Row.sequences)]
    return graph.scope('step', () => {
      const x = normalise(embedding(graph, { ids, typeIds, positionIds }, tables, H, 0))
      const qkv = dense(x, 3 * H)
      const options = { heads: HEADS, causal: false, dropout: 0.1 }
      const context = graph.scope('attention', () =>
        attention(graph, { qkv, cuSeqlens: borders, keyMask: undefined }, options),
      )
      const attended = graph.scope('output', () => normalise(dense(context, H), x))
      const encoded = graph.scope('ff', () => normalise(dense(dense(attended, FF, 'gelu'), H), attended))
      const pooled = dense(gatherRows(graph, encoded, first), H, 'tanh')
      const logits = dense(dropout(graph, pooled, 0.1), C, 'linear', 'float32')
      const loss = new Loss(graph)
      loss.crossEntropy(logits, labels)
      return loss.value
    })
  }
}

function writeInputs(memory: BackendMemory, graph: Graph, random: Random): void {
  const io: Record<string, Int32Array> = {
    ids: random.integers(tokens, V),
    types: random.integers(tokens, 2),
    positions: random.integers(tokens, POSITIONS),
    cu_seqlens: cuSeqlens,
    first: cuSeqlens.slice(0, lengths.length),
    labels: random.integers(lengths.length, C),
  }
  for (const { operands } of graph.records)
    for (const value of operands)
      if (value && value.arena === Arena.io) memory.write(Arena.io, value.offset!, io[value.name])
}

/** Two micro-steps and an update, twice; the loss, the norm, and every weight, gradient and moment. */
async function train(backend: Backend, dtype: FloatType = 'float32'): Promise<Record<string, Float32Array>> {
  const step = new Step(dtype)
  const plans = { micro: compilePlan(step.micro.graph), update: compilePlan(step.update.graph) }
  const memory = backend.createMemory()
  for (const plan of Object.values(plans))
    for (const [name, bytes] of Object.entries(plan.arenaBytes))
      memory.reserve(Arena[name as keyof typeof Arena], roundUp(bytes))
  const random = new Random(51)
  memory.write(Arena.weights, 0, Float32Array.from(random.reals(step.elements, 0.1)))
  const [micro, update] = [backend.compile(plans.micro), backend.compile(plans.update)]
  const scalars = { seed: 9, maxGradNorm: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, denominator0: 2 * lengths.length }
  const [loss, norm] = [new Float32Array(2), new Float32Array(2)]
  for (const at of [0, 1]) {
    for (const microStep of [0, 1]) {
      writeInputs(memory, step.micro.graph, random)
      await micro.run(memory, scalarsOf(counts, { ...scalars, step: at, microStep, accumulate: microStep }))
    }
    await memory.read(Arena.activations, step.micro.loss.offset!, loss.subarray(at, at + 1))
    const groups = [{ lr: 0.01, weightDecay: 0.01, steps: at + 1 }]
    await update.run(memory, scalarsOf(counts, { ...scalars, step: at }, groups))
  }
  await memory.read(Arena.activations, step.update.norm.offset!, norm)
  const state: Record<string, Float32Array> = { loss, norm }
  for (const name of ['weights', 'gradients', 'expAvg', 'expAvgSq'] as const) {
    state[name] = new Float32Array(step.elements)
    await memory.read(Arena[name], 0, state[name])
  }
  micro.dispose()
  update.dispose()
  memory.dispose()
  return state
}

const slice = (values: Float64Array, width: number, from: number, to: number): Float64Array =>
  values.slice(from * width, to * width)

/** `pools`: numbers of threads, where a backend has a pool of them. */
export function determinism(open: Open, pools: readonly number[]): void {
  describe('determinism', () => {
    it.each(['float32', 'bfloat16'] as const)(
      `the same bits for ${pools.join(', ')} threads and on every run: two updates of two micro-steps, dropout on, %s`,
      async (dtype) => {
        const want = await train(open({ threads: 1 }), dtype)
        expect(Object.values(want).every((values) => values.every(Number.isFinite))).toBe(true)
        expect(want.loss[0]).not.toBe(want.loss[1])
        for (const threads of pools) {
          const got = await train(open({ threads }), dtype)
          for (const name of Object.keys(want)) expectSame(`${name}, ${threads} threads`, got[name], want[name])
        }
      },
    )

    it('engines of different sizes share the pool', async () => {
      const backends = pools.slice(-4).map((threads) => open({ threads }))
      const results = await Promise.all([...backends, ...backends].map((backend) => train(backend)))
      for (const result of results)
        for (const name of Object.keys(result)) expectSame(name, result[name], results[0][name])
    })

    it('the rows of a sequence are the same bits alone as in a batch', async () => {
      const backend = open()
      const random = new Random(61)
      const [A, D, K, N] = [3, 20, 130, 77]
      const width = A * D
      const [qkv, dcontext] = [random.reals(tokens * 3 * width), random.reals(tokens * width)]
      const [x, w, bias, gamma, beta] = [
        random.reals(tokens * K),
        random.reals(N * K),
        random.reals(N),
        random.reals(K),
        random.reals(K),
      ]
      const run = async (from: number, to: number, borders: Int32Array) => {
        const rows = { tokens: to - from, sequences: borders.length - 1 }
        const common = { rows, capacity: { tokens, sequences: lengths.length } }
        const attributes = {
          rows: Row.tokens,
          seqs: Row.sequences,
          pairs: Row.pairs,
          A,
          D,
          causal: false,
          p: 0,
          site: 0,
        }
        const parts = { qkv: slice(qkv, 3 * width, from, to), cuSeqlens: borders }
        const forward = await runRecord(backend, { ...common, op: 'attention', operands: parts, attributes })
        const saved = { context: Float64Array.from(forward.context), lse: Float64Array.from(forward.lse) }
        const operands = { ...parts, ...saved, dcontext: slice(dcontext, width, from, to) }
        const backward = await runRecord(backend, { ...common, op: 'attentionBackward', operands, attributes })
        const own = slice(x, K, from, to)
        const product = { rows: Row.tokens, K, N, act: 'gelu' } as const
        const dense = await runRecord(backend, {
          ...common,
          op: 'linear',
          operands: { x: own, w, bias },
          attributes: product,
        })
        const back = { rows: Row.tokens, K: N, N: K, add: 0 }
        const data = await runRecord(backend, {
          ...common,
          op: 'linearBackwardData',
          operands: { dy: own, w },
          attributes: back,
        })
        const norm = { rows: Row.tokens, H: K, eps: 1e-12, p: 0, site: 0 }
        const normal = await runRecord(backend, {
          ...common,
          op: 'layerNorm',
          operands: { x: own, gamma, beta },
          attributes: norm,
        })
        return {
          ...forward,
          ...backward,
          dense: dense.y,
          dx: data.dx,
          sum: normal.sum,
          normal: normal.y,
          rstd: normal.rstd,
        }
      }
      const batch: Record<string, Float32Array> = await run(0, tokens, cuSeqlens)
      for (let b = 0; b < lengths.length; b++) {
        const [from, to] = [cuSeqlens[b], cuSeqlens[b + 1]]
        const alone: Record<string, Float32Array> = await run(from, to, Int32Array.of(0, to - from))
        for (const name of Object.keys(alone)) {
          const columns = batch[name].length / tokens
          expectSame(`${name} of sequence ${b}`, alone[name], batch[name].slice(from * columns, to * columns))
        }
      }
    })
  })
}
