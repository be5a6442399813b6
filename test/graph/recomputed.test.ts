// Outputs of activations that the backward computes again: the same bits as of those that are kept.
import { afterAll, describe, expect, it } from 'vitest'
import { openNative } from '../../src/backend/native.ts'
import { toBfloat16 } from '../../src/bfloat16.ts'
import { PlanError } from '../../src/errors.ts'
import { type FloatType, Graph, type ParameterSlot, roundUp, type Value } from '../../src/graph/graph.ts'
import { type ActivationName, Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { Recomputed } from '../../src/graph/recomputed.ts'
import { linear } from '../../src/ops/linear.ts'
import { Loss } from '../../src/ops/loss.ts'
import { Random, scalarsOf } from '../conformance/harness.ts'

const [ROWS, K, N] = [37, 24, 72]
/** Of 64 bytes each, whole. */
const WEIGHTS = [N * K, N, K * N, K].reduce((sum, width) => sum + roundUp(width * 4) / 4, 0)

describe('what is recomputed', () => {
  const backend = openNative({ threads: 2 })
  afterAll(() => backend.close())

  /** The gradients of two linear layers with an activation between them. */
  async function gradients(recomputing: boolean, dtype: FloatType, activation: ActivationName): Promise<Int32Array> {
    const graph = new Graph({ tokens: 64 }, { differentiate: true, training: true, dtype, recomputing })
    let at = 0
    const parameter = (name: string, width: number): Value => {
      const slot: ParameterSlot = { name, width, weights: at, gradients: at }
      at += roundUp(width * 4)
      return graph.parameter(slot)
    }
    const [w1, b1] = [parameter('w1', N * K), parameter('b1', N)]
    const [w2, b2] = [parameter('w2', K * N), parameter('b2', K)]
    const x = graph.input('x', Row.tokens, K, dtype)
    const targets = graph.input('targets', Row.tokens, K, 'float32')
    const y = linear(graph, x, w1, b1, activation)
    new Loss(graph).meanSquaredError(linear(graph, y, w2, b2, 'linear', 'float32'), targets)
    graph.backward()
    const again = graph.records.find(({ op }) => op.name === 'activation_backward')!.operands[3]
    expect(again !== undefined).toBe(recomputing)
    const plan = compilePlan(graph, 1)
    const memory = backend.createMemory()
    const program = backend.compile(plan)
    for (const arena of [Arena.activations, Arena.io]) memory.reserve(arena, 1 << 20)
    for (const arena of [Arena.weights, Arena.gradients]) memory.reserve(arena, at)
    const random = new Random(5)
    memory.write(Arena.weights, 0, Float32Array.from(random.reals(WEIGHTS)))
    const input = Float32Array.from(random.reals(ROWS * K, 2))
    memory.write(Arena.io, x.offset!, dtype === 'bfloat16' ? toBfloat16(input) : input)
    memory.write(Arena.io, targets.offset!, Float32Array.from(random.reals(ROWS * K)))
    await program.run(memory, scalarsOf({ tokens: ROWS }, { denominator0: ROWS * K }))
    const got = new Float32Array(WEIGHTS)
    await memory.read(Arena.gradients, 0, got)
    program.dispose()
    memory.dispose()
    expect(got.every(Number.isFinite) && got.some((value) => value !== 0)).toBe(true)
    return new Int32Array(got.buffer)
  }

  it.each(['float32', 'bfloat16'] as const)('has the bits of what is kept, in %s', async (dtype) => {
    for (const activation of ['gelu', 'gelu_new', 'tanh', 'silu', 'relu'] as const)
      expect(await gradients(true, dtype, activation), activation).toEqual(await gradients(false, dtype, activation))
  })

  it('loses nobody who waits', () => {
    const value = new Graph({ tokens: 8 }, { differentiate: true, training: true }).value('output', Row.tokens, K)
    const waiting = (): Recomputed => {
      const recomputed = new Recomputed()
      recomputed.offer(value)
      recomputed.read(value, () => {})
      return recomputed
    }
    expect(() => waiting().withdraw(value)).toThrow(PlanError)
    expect(() => waiting().requireNone()).toThrow(/waits for output/)
    const served = waiting()
    served.serve(value, () => {})
    served.requireNone()
    let read: Value | undefined
    served.read(value, (now) => (read = now))
    expect(read).toBe(value)
  })
})
