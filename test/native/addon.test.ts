// Wrong calls of the addon, which TypeScript does not make: an Error, and never a crash.
import { describe, expect, it } from 'vitest'
import { loadAddon } from '../../src/backend/addon.ts'
import { Graph } from '../../src/graph/graph.ts'
import { Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'

const addon = loadAddon()
const engine = new addon.Engine('', 1)

function program() {
  const graph = new Graph({ tokens: 1, sequences: 1, labelled: 1, pairs: 0 }, { differentiate: false, training: true })
  const [x, y] = [graph.input('x', Row.tokens, 16, 'float32'), graph.input('y', Row.tokens, 16, 'float32')]
  graph.emit('dropout', { x, y }, { rows: Row.tokens, H: 16, p: 0.1, site: 1 })
  return new addon.Program(engine, compilePlan(graph).words)
}

describe('another object than the one that is asked for', () => {
  const memory = new addon.Memory(engine)
  const run = (given: unknown) => program().run(given as typeof memory, new Float64Array(32), () => {}, false)

  it.each([
    ['nothing', undefined],
    ['a number', 1],
    ['an object', {}],
    ['an engine', engine],
    ['an object with the prototype of a memory', Object.create(addon.Memory.prototype)],
    ['a program with the prototype of a memory', Object.setPrototypeOf(program(), addon.Memory.prototype)],
  ])('%s', (_, given) => {
    expect(() => run(given)).toThrow('Expected a Memory')
  })

  it('an engine', () => {
    expect(() => new addon.Memory(memory as never)).toThrow('Expected an Engine')
    expect(() => new addon.Program(memory as never, new Int32Array(0))).toThrow('Expected an Engine')
  })
})

describe('numbers that are no sizes', () => {
  const memory = new addon.Memory(engine)
  memory.reserve(Arena.io, 64)
  it.each([-64, -0.5, Number.NaN, Number.POSITIVE_INFINITY, 1e300])('%d', (wrong) => {
    const data = new Float32Array(4)
    const sized = /Expected argument 1 to be from 0 to 9000000000000000/
    expect(() => memory.write(Arena.io, wrong, data)).toThrow(sized)
    expect(() => memory.read(Arena.io, wrong, data)).toThrow(sized)
    expect(() => memory.reserve(Arena.io, wrong)).toThrow(sized)
    expect(() => memory.release(wrong)).toThrow(/Expected argument 0 to be from 0 to 2147483647/)
    expect(() => new addon.Engine('', wrong)).toThrow(/Expected argument 1/)
  })
  it('one beyond the end', () => {
    expect(() => memory.write(Arena.io, 64, new Float32Array(1))).toThrow()
  })
})
