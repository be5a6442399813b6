import { describe, expect, it } from 'vitest'
import { PlanError } from '../../src/errors.ts'
import { Graph, type ParameterSlot } from '../../src/graph/graph.ts'
import { opsHash, Row } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { dropout } from '../../src/ops/dropout.ts'
import { linear } from '../../src/ops/linear.ts'
import { Loss } from '../../src/ops/loss.ts'

const capacity = { tokens: 8, sequences: 2, labelled: 8, pairs: 0 }
const K = 16

let at = 0
const slot = (name: string, width: number, frozen = false): ParameterSlot => {
  const offset = at
  at += width * 4 * 16
  return { name, width, weights: offset, gradients: frozen ? undefined : offset }
}

const attribute = (graph: Graph, op: string, name: string): number[] =>
  graph.records
    .filter((record) => record.op.name === op)
    .map(({ op: spec, attributes }) => attributes[spec.attributes.findIndex((a) => a.name === name)])

const names = (graph: Graph): string[] => graph.records.map((record) => record.op.name)

/** x -> shared linear -> y, and a loss on y's product with a second weight; x itself comes from a first weight. */
function record({ frozen = false, differentiate = true, twice = false, recomputing = false } = {}) {
  const graph = new Graph(capacity, { differentiate, training: true, recomputing })
  const input = graph.input('input', Row.tokens, K, 'float32')
  const [w1, b1] = [graph.parameter(slot('w1', K * K, frozen)), graph.parameter(slot('b1', K, frozen))]
  const [w2, b2] = [graph.parameter(slot('w2', K * K)), graph.parameter(slot('b2', K))]
  const x = graph.scope('first', () => linear(graph, input, w1, b1))
  const y = graph.scope('second', () => linear(graph, x, w2, b2, 'gelu'))
  const z = twice ? graph.scope('third', () => linear(graph, y, w2, b2)) : y
  const labels = graph.input('targets', Row.tokens, K, 'float32')
  const loss = new Loss(graph)
  loss.meanSquaredError(z, labels)
  graph.backward()
  return { graph, w1, w2, x, y, z }
}

describe('the recorder', () => {
  it('appends the backward in reverse, under the scopes of the forward', () => {
    const { graph } = record()
    expect(graph.records.map(({ op, path }) => `${path}:${op.name}`)).toEqual([
      'first:linear',
      'second:linear',
      ':mean_squared_error',
      ':mean_squared_error_backward',
      'second:activation_backward',
      'second:linear_backward_weight',
      'second:linear_backward_data',
      'first:linear_backward_weight',
    ])
  })

  it('computes an activation again, before what reads it in the backward, where it was not kept', () => {
    const { graph, y } = record({ twice: true, recomputing: true })
    const backward = graph.records.slice(graph.records.findIndex(({ op }) => op.name === 'mean_squared_error') + 1)
    expect(backward.map(({ op, path }) => `${path}:${op.name}`)).toEqual([
      ':mean_squared_error_backward',
      'third:linear_backward_data',
      'second:activation_backward',
      'third:linear_backward_weight',
      'second:linear_backward_weight',
      'second:linear_backward_data',
      'first:linear_backward_weight',
    ])
    const again = backward[2].operands[3]
    expect(again).toMatchObject({ name: y.name, width: y.width })
    expect(backward.filter(({ operands }) => operands.includes(y))).toEqual([])
    expect(backward.filter(({ operands }) => operands.includes(again)).map(({ path }) => path)).toEqual([
      'second',
      'third',
    ])
  })

  it('computes no activation again that a dropout has changed in place', () => {
    const graph = new Graph(capacity, { differentiate: true, training: true, recomputing: true })
    const input = graph.input('input', Row.tokens, K, 'float32')
    const [w, b] = [graph.parameter(slot('w', K * K)), graph.parameter(slot('b', K))]
    const y = linear(graph, input, w, b, 'tanh')
    expect(dropout(graph, y, 0.1)).toBe(y)
    new Loss(graph).meanSquaredError(linear(graph, y, w, b), graph.input('targets', Row.tokens, K, 'float32'))
    graph.backward()
    const backward = graph.records.filter(({ op }) => /^(linear|activation)_backward/.test(op.name))
    expect(backward.map(({ op }) => op.name)).toEqual([
      'linear_backward_weight',
      'linear_backward_data',
      'activation_backward',
      'linear_backward_weight',
    ])
    expect(backward[0].operands[1]).toBe(y)
    expect(backward[2].operands[3]).toBeUndefined()
  })

  it('computes no activation again that only a loss has read', () => {
    expect(record({ recomputing: true }).graph.records[4].operands[3]).toBeUndefined()
  })

  it('asks for no gradient of an input', () => {
    const { graph } = record()
    expect(names(graph).filter((name) => name === 'linear_backward_data')).toHaveLength(1)
  })

  it('emits nothing for what is frozen, and no data gradient below which nothing is trainable', () => {
    const { graph, w1, x } = record({ frozen: true })
    expect(names(graph)).not.toContain('linear_backward_data')
    expect(graph.records.filter(({ path, op }) => path === 'first' && op.name !== 'linear')).toEqual([])
    expect(graph.gradientTarget(w1)).toBeUndefined()
    expect(graph.gradientOf(x)).toBeUndefined()
  })

  it('records no backward when nothing is to be differentiated', () => {
    const { graph } = record({ differentiate: false })
    expect(names(graph)).toEqual(['linear', 'linear', 'mean_squared_error'])
    expect(graph.records.every(({ operands }, i) => i !== 1 || operands[5] === undefined)).toBe(true)
  })

  it('lets the first use of a parameter obey the run, and every later one add', () => {
    const { graph } = record({ twice: true })
    expect(attribute(graph, 'linear_backward_weight', 'accumulate')).toEqual([0, 1, 0])
  })

  it('lets the first writer of a gradient overwrite and later ones add, once for each value', () => {
    const graph = new Graph(capacity, { differentiate: true, training: true })
    const values = ['a', 'b'].map((name) => graph.value(name, Row.tokens, K, true))
    const targets = [0, 0, 0, 1].map((i) => graph.gradientTarget(values[i])!)
    expect(targets.map(({ add }) => add)).toEqual([false, true, true, false])
    expect(targets[0].value).toBe(targets[2].value)
    expect(targets[0].value).not.toBe(targets[3].value)
    expect(graph.gradientTarget(graph.value('c', Row.tokens, K))).toBeUndefined()
  })

  it('adds after a gradient that was taken over', () => {
    const graph = new Graph(capacity, { differentiate: true, training: true })
    const [value, gradient] = [graph.value('value', Row.tokens, K, true), graph.value('gradient', Row.tokens, K)]
    graph.setGradient(value, gradient)
    expect(graph.gradientTarget(value)).toEqual({ value: gradient, add: true })
  })

  it('gives a dropout site by its path alone', () => {
    const site = (before: number) => {
      const graph = new Graph(capacity, { differentiate: false, training: true })
      for (let i = 0; i < before; i++) graph.value(`v${i}`, Row.tokens, 1)
      return graph.scope('encoder', () => graph.scope('layer.0', () => graph.site()))
    }
    expect(site(0)).toBe(site(5))
    const graph = new Graph(capacity, { differentiate: false, training: true })
    expect(graph.scope('encoder', () => graph.scope('layer.1', () => graph.site()))).not.toBe(site(0))
  })

  it('leaves a scope that throws', () => {
    const graph = new Graph(capacity, { differentiate: false, training: false })
    expect(() =>
      graph.scope('outer', () => {
        throw new Error('inside')
      }),
    ).toThrow('inside')
    expect(graph.scopePath).toBe('')
  })

  it('refuses a record without a required operand', () => {
    const graph = new Graph(capacity, { differentiate: false, training: false })
    const x = graph.value('x', Row.tokens, K)
    const emit = () =>
      graph.scope('here', () => graph.emit('dropout', { x }, { rows: Row.tokens, H: K, p: 0, site: 0 }))
    expect(emit).toThrow(PlanError)
    expect(emit).toThrow('dropout at here: y is missing')
  })
})

describe('a compiled plan', () => {
  it('has the documented header and one record after the other', () => {
    const { graph } = record()
    const { words, scalars } = compilePlan(graph, 2)
    expect([...words.slice(0, 2)]).toEqual([0x4b42504c, 1])
    expect(BigInt.asUintN(64, (BigInt(words[3]) << 32n) | BigInt.asUintN(32, BigInt(words[2])))).toBe(opsHash)
    expect([...words.slice(4, 16)]).toEqual([graph.records.length, words.length, 8, 2, 8, 0, 0, 0, 0, 0, 0, scalars])
    expect(scalars).toBe(32)
    let next = 24
    for (const { op } of graph.records) {
      expect([words[next], words[next + 1]]).toEqual([op.id, 2 + op.operands.length + op.attributes.length])
      next += words[next + 1]
    }
    expect(next).toBe(words.length)
  })

  it('prints one line a record', () => {
    const { graph } = record()
    const lines = compilePlan(graph).toString().split('\n')
    expect(lines).toHaveLength(graph.records.length)
    expect(lines[0]).toMatch(
      /^ {2}0 first: linear\(x=io@0 w=w1 bias=b1\) -> y=activations@\d+ \[rows=tokens K=16 N=16 act=0\]$/,
    )
  })
})
