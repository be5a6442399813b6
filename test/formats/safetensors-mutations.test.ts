import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { WeightsError } from '../../src/errors.ts'
import { parseHeader } from '../../src/formats/safetensors.ts'
import { openSafetensors } from '../../src/formats/safetensors-file.ts'
import { mutateBytes, put } from './fuzz.mjs'
import { fileOf, type Header, Random } from './helpers.ts'

const MUTATIONS = Number(process.env.BERTKIT_MUTATIONS ?? 20_000)
const DTYPES = ['F32', 'F16', 'BF16', 'F64', 'I64', 'U8', 'BOOL', 'F4', 'F8_E4M3', 'C64', 'X9', '__proto__', 'f32']
const WIDTHS: Record<string, number> = { F32: 4, F16: 2, BF16: 2, F64: 8, I64: 8, U8: 1, BOOL: 1 }
const SIZES = [0, 1, 2, 3, -1, 0.5, 2 ** 31, 2 ** 53, 2 ** 63, 1e308, null, '4', true, [1], {}]
const KEYS = ['dtype', 'shape', 'data_offsets', '__metadata__', '__proto__', 'constructor', '']

interface Entry {
  dtype: unknown
  shape: unknown
  data_offsets: unknown
}

/** A well-formed header and its data's length: a few tensors, some of them empty. */
function generate(random: Random): { header: Header; length: number } {
  const header: Header = random.below(2) ? { __metadata__: { format: 'pt' } } : {}
  let end = 0
  for (let i = random.below(5); i >= 0; i--) {
    const dtype = random.pick(Object.keys(WIDTHS))
    const shape = Array.from({ length: random.below(4) }, () => random.below(5))
    const begin = end
    end += WIDTHS[dtype] * shape.reduce((product, size) => product * size, 1)
    header[`t${i}`] = { dtype, shape, data_offsets: [begin, end] }
  }
  return { header, length: end }
}

/** One change to one part of the structure. */
function mutateHeader(header: Header, random: Random): void {
  const names = Object.keys(header).filter((name) => /^t\d/.test(name))
  if (names.length === 0) return
  const name = random.pick(names)
  const entry = header[name] as Entry
  const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
  const actions: (() => void)[] = [
    () => delete header[name],
    () => put(header, random.pick(KEYS), random.pick([entry, ...SIZES])),
    () => Object.assign(entry, { dtype: random.pick([...DTYPES, ...SIZES]) }),
    () =>
      Object.assign(entry, { shape: random.pick([...SIZES, [random.pick(SIZES)], list(entry.shape).toReversed()]) }),
    () => list(entry.shape).push(random.pick(SIZES)),
    () => list(entry.shape).pop(),
    () => Object.assign(entry, { data_offsets: random.pick([...SIZES, list(entry.data_offsets).toReversed()]) }),
    () => Object.assign(list(entry.data_offsets), { [random.below(3)]: random.pick([...SIZES, random.below(64)]) }),
    () => Object.assign(entry, { data_offsets: (header[random.pick(names)] as Entry).data_offsets }),
    () => put(entry, random.pick(KEYS), random.pick(SIZES)),
    () => delete entry[random.pick(['dtype', 'shape', 'data_offsets'] as const)],
    () => Object.assign(header, { __metadata__: random.pick([...SIZES, { a: 1 }, { a: 'b' }]) }),
  ]
  random.pick(actions)()
}

it(`accepts a mutated header only as what it says, or with a WeightsError (${MUTATIONS} mutations)`, () => {
  const before = Object.getOwnPropertyNames(Object.prototype)
  const random = new Random(20_260)
  let accepted = 0
  for (let round = 0; round < MUTATIONS; round++) {
    const { header, length } = generate(random)
    for (let times = random.below(3); times > 0; times--) mutateHeader(header, random)
    let bytes: Uint8Array = Buffer.from(JSON.stringify(header))
    if (random.below(3) === 0) bytes = mutateBytes(bytes, random)
    const dataLength = random.below(8) === 0 ? random.below(64) : length
    try {
      const { tensors } = parseHeader(bytes, dataLength, 'file')
      accepted++
      const entries = Object.entries(JSON.parse(Buffer.from(bytes).toString()) as Record<string, Entry>)
      const said = entries.filter(([name]) => name !== '__metadata__')
      expect(tensors.size).toBe(said.length)
      let covered = 0
      for (const [name, entry] of said) {
        const { dtype, shape, offset, length } = tensors.get(name)!
        expect({ dtype, shape, data_offsets: [offset - 8 - bytes.length, offset - 8 - bytes.length + length] }).toEqual(
          {
            dtype: entry.dtype,
            shape: entry.shape,
            data_offsets: entry.data_offsets,
          },
        )
        covered += length
      }
      expect(covered).toBe(dataLength)
    } catch (error) {
      if (!(error instanceof WeightsError)) throw error
      expect(error.message.length).toBeLessThan(1000)
    }
  }
  // Both outcomes must be common, or the mutations test one side only.
  expect(accepted).toBeGreaterThan(MUTATIONS / 20)
  expect(accepted).toBeLessThan(MUTATIONS * 0.9)
  expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
})

it('reads from a mutated file what its header says, or fails with a WeightsError', async () => {
  const path = join(await mkdtemp(join(tmpdir(), 'bertkit-mutations-')), 'model.safetensors')
  const random = new Random(7)
  const data = Buffer.from(Float32Array.from({ length: 6 }, (_, i) => i + 0.5).buffer)
  const header = {
    a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
    b: { dtype: 'F16', shape: [4], data_offsets: [16, 24] },
  }
  const original = fileOf(header, data)
  let accepted = 0
  for (let round = 0; round < 600; round++) {
    const bytes = mutateBytes(original, random)
    await writeFile(path, bytes)
    try {
      const file = await openSafetensors(path)
      accepted++
      for (const [name, { offset, length, dtype }] of file.tensors) {
        expect(await file.readRaw(name)).toEqual(Uint8Array.from(bytes.slice(offset, offset + length)))
        if (dtype.endsWith('F32')) {
          expect(Buffer.from((await file.read(name)).buffer)).toEqual(Buffer.from(bytes.slice(offset, offset + length)))
        }
      }
      await file.close()
    } catch (error) {
      if (!(error instanceof WeightsError)) throw error
    }
  }
  expect(accepted).toBeGreaterThan(50)
  expect(accepted).toBeLessThan(550)
})
