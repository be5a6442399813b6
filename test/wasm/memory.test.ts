// The allocator of the linear memory (native/wasm/memory.cc), through the exported functions.
import fs from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { webAssembly } from '../../src/backend/wasm/host.ts'
import { EngineInstance } from '../../src/backend/wasm/instance.ts'
import { Arena } from '../../src/graph/op-table.ts'
import { Random } from '../conformance/harness.ts'
import { fileOf, missing } from './binaries.ts'

const MIB = 2 ** 20
const reason = missing('bertkit')

describe.skipIf(reason)(`the linear memory${reason ? ` (${reason})` : ''}`, () => {
  const { Module } = webAssembly()
  const module = reason ? {} : new Module(fs.readFileSync(fileOf('bertkit')))
  let instance: EngineInstance
  const open = (memoryLimit = 64 * MIB) => {
    instance = new EngineInstance(module, { memoryLimit })
  }
  beforeEach(() => open())

  const createMemory = () => {
    expect(instance.exports.bk_memory_create(instance.engine, instance.outAt)).toBe(0)
    return instance.out()
  }
  const reserve = (memory: number, arena: Arena, bytes: number) =>
    instance.exports.bk_memory_reserve(memory, arena, BigInt(bytes), 0, 0)
  const at = (memory: number, arena: Arena, bytes: number) =>
    instance.exports.bk_memory_at(memory, arena, 0n, BigInt(bytes))

  test('blocks are aligned, zero, and nobody else’s, in any order of asking and giving back', () => {
    const random = new Random(7)
    const held: { at: number; bytes: number; mark: number }[] = []
    for (let step = 0; step < 4000; step++) {
      if (random.below(5) < 3) {
        const bytes = 1 + random.below(random.below(10) ? 2000 : 200_000)
        const block = instance.exports.bk_allocate(bytes)
        expect(block % 64).toBe(0)
        if (block === 0) throw new Error('refused far below the limit')
        const view = instance.bytes.subarray(block, block + bytes)
        expect(view.every((byte) => byte === 0)).toBe(true)
        const mark = 1 + random.below(255)
        view.fill(mark)
        held.push({ at: block, bytes, mark })
      } else if (held.length > 0) {
        const [{ at, bytes, mark }] = held.splice(random.below(held.length), 1)
        expect(instance.bytes.subarray(at, at + bytes).every((byte) => byte === mark)).toBe(true)
        instance.exports.bk_free(at)
      }
    }
    for (const { at, bytes, mark } of held)
      expect(instance.bytes.subarray(at, at + bytes).every((byte) => byte === mark)).toBe(true)
    for (const { at } of held) instance.exports.bk_free(at)
    // all of it is one piece again
    const size = instance.bytes.length - 2 * MIB
    expect(instance.exports.bk_allocate(size)).not.toBe(0)
    expect(instance.bytes.length).toBe(size + 2 * MIB)
  })

  test('an arena grows in place where it lies last, over what is free behind it, and down over what is free before it', () => {
    const memory = createMemory()
    expect(reserve(memory, Arena.weights, 10 * MIB)).toBe(0)
    const first = at(memory, Arena.weights, 10 * MIB)
    instance.bytes.fill(7, first, first + 10 * MIB)
    expect(reserve(memory, Arena.weights, 12 * MIB)).toBe(0) // last
    expect(at(memory, Arena.weights, 12 * MIB)).toBe(first)
    expect(reserve(memory, Arena.cache, 8 * MIB)).toBe(0)
    expect(reserve(memory, Arena.gradients, 4 * MIB)).toBe(0)
    instance.exports.bk_memory_release(memory, Arena.cache)
    expect(reserve(memory, Arena.weights, 15 * MIB)).toBe(0) // over the cache's place
    expect(at(memory, Arena.weights, 15 * MIB)).toBe(first)
    const gradients = at(memory, Arena.gradients, 4 * MIB)
    instance.bytes.fill(9, gradients, gradients + 4 * MIB)
    instance.exports.bk_memory_release(memory, Arena.weights)
    const grown = instance.bytes.length
    expect(reserve(memory, Arena.gradients, 20 * MIB)).toBe(0) // at the end of all
    expect(at(memory, Arena.gradients, 20 * MIB)).toBe(gradients)
    expect(instance.bytes.length).toBeGreaterThan(grown)
    expect(reserve(memory, Arena.gradients, 44 * MIB)).toBe(0) // the limit has no room behind it
    const moved = at(memory, Arena.gradients, 44 * MIB)
    expect(moved).toBeLessThan(gradients)
    expect(instance.bytes.subarray(moved, moved + 4 * MIB).every((byte) => byte === 9)).toBe(true)
    expect(instance.bytes.subarray(moved + 4 * MIB, moved + 44 * MIB).every((byte) => byte === 0)).toBe(true)
  })

  test('more than the limit is refused, and nothing has changed', () => {
    open(16 * MIB)
    const memory = createMemory()
    expect(reserve(memory, Arena.weights, 8 * MIB)).toBe(0)
    const weights = at(memory, Arena.weights, 8 * MIB)
    instance.bytes.fill(5, weights, weights + 8 * MIB)
    const OUT_OF_MEMORY = 2
    expect(reserve(memory, Arena.weights, 16 * MIB)).toBe(OUT_OF_MEMORY)
    expect(reserve(memory, Arena.gradients, 8 * MIB)).toBe(OUT_OF_MEMORY)
    expect(reserve(memory, Arena.gradients, 2 ** 33)).toBe(OUT_OF_MEMORY)
    expect(instance.exports.bk_allocate(2 ** 32 - 1)).toBe(0)
    expect(at(memory, Arena.weights, 8 * MIB)).toBe(weights)
    expect(instance.bytes.subarray(weights, weights + 8 * MIB).every((byte) => byte === 5)).toBe(true)
    expect(instance.bytes.length).toBeLessThanOrEqual(16 * MIB)
    expect(reserve(memory, Arena.gradients, 4 * MIB)).toBe(0)
  })
})
