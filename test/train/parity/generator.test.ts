// PyTorch's generator on a CPU: make_parity.py wrote random.json with torch 2.13.
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { TorchGenerator } from '../../../src/torch-generator.ts'

interface Numbers {
  readonly seed: number
  readonly rand: number[]
  readonly rand_after_loader_seed: number
  readonly 'dropout_0.1': string
  readonly 'dropout_0.7': string
  readonly rand_after: number
  readonly normals: number[][]
  readonly [name: `randperm_${number}`]: number[]
  readonly [name: `normal_${number}`]: number[]
  readonly [name: `rand_after_normal_${number}`]: number
}
const stored: Numbers[] = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, 'random.json'), 'utf8'))
const times = <Value>(n: number, draw: () => Value): Value[] => Array.from({ length: n }, draw)
/** A rounding or two of the largest value: PyTorch's vectors approximate the logarithm and the cosine. */
const expectNormals = (got: Float32Array, want: readonly number[], std: number): void => {
  expect(got).toHaveLength(want.length)
  for (const [i, value] of want.entries()) expect(Math.abs(got[i] - value)).toBeLessThan(4e-7 * std)
}

describe.each(stored)('torch.manual_seed($seed)', (want) => {
  const fresh = () => new TorchGenerator(want.seed)

  it('rand and the seed of a DataLoader', () => {
    const generator = fresh()
    expect(times(5, () => generator.rand())).toEqual(want.rand)
    generator.drawLoaderSeed()
    expect(generator.rand()).toBe(want.rand_after_loader_seed)
  })

  it.each([1, 2, 10, 700])('randperm(%d)', async (n) => {
    expect([...(await fresh().randperm(n))]).toEqual(want[`randperm_${n}`])
  })

  it('masks of dropout', async () => {
    const generator = fresh()
    generator.rand()
    expect((await generator.dropout(700, 0.1)).join('')).toBe(want['dropout_0.1'])
    expect((await generator.dropout(10, 0.7)).join('')).toBe(want['dropout_0.7'])
    expect(generator.rand()).toBe(want.rand_after)
  })

  it.each([1, 5, 15, 16, 20, 32, 100])('normal_ of %d elements', async (n) => {
    const generator = fresh()
    expectNormals(await generator.normal(n, 0.02), want[`normal_${n}`], 0.02)
    expect(generator.rand()).toBe(want[`rand_after_normal_${n}`])
  })

  it('keeps the second of a pair of normals for the next call', async () => {
    const generator = fresh()
    for (const values of want.normals) expectNormals(await generator.normal(values.length, 1), values, 1)
  })
})

describe('a generator', () => {
  it('goes on from its text, its copy, and after a skip, as if it had drawn', async () => {
    const generator = new TorchGenerator(5)
    await generator.normal(3, 1) // leaves the second of a pair
    await generator.dropout(1000, 0.5)
    const [parsed, copy, skipped] = [TorchGenerator.parse(generator.toText())!, generator.clone(), generator.clone()]
    const draw = async (from: TorchGenerator) => [
      ...(await from.dropout(700, 0.5)),
      ...(await from.normal(2, 1)),
      from.rand(),
    ]
    const expected = await draw(generator)
    expect(await draw(parsed)).toEqual(expected)
    expect(await draw(copy)).toEqual(expected)
    await skipped.skip(1400)
    expect([...(await skipped.normal(2, 1)), skipped.rand()]).toEqual(expected.slice(700))
  })

  it.each(['', '624  00', `625  ${'0'.repeat(4992)}`, `1 x ${'0'.repeat(4992)}`, `1  ${'g'.repeat(4992)}`])(
    'is not made of another text: %#',
    (text) => expect(TorchGenerator.parse(text)).toBeUndefined(),
  )
})
