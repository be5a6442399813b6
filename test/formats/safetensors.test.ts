import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, open, readdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, FileError, WeightsError } from '../../src/errors.ts'
import { MAX_HEADER_BYTES } from '../../src/formats/safetensors.ts'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors-file.ts'
import { fileOf, type Header, headerOf } from './helpers.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

let folder: string
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bertkit-safetensors-'))
})
async function put(bytes: Uint8Array): Promise<string> {
  const file = join(folder, `${count++}.safetensors`)
  await writeFile(file, bytes)
  return file
}
async function refuses(bytes: Uint8Array, message: RegExp): Promise<void> {
  const file = await put(bytes)
  const error: unknown = await openSafetensors(file).catch((reason) => reason)
  expect(error).toBeInstanceOf(WeightsError)
  expect(String(error)).toContain(file)
  expect(String(error)).toMatch(message)
  expect(String(error).length).toBeLessThan(1000)
}
const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer)
const six = floats(1, 2, 3, 4, 5, 6)
const valid: Header = {
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
  b: { dtype: 'F32', shape: [2], data_offsets: [16, 24] },
}

describe('openSafetensors', () => {
  it('reads what is there', async () => {
    const file = await openSafetensors(await put(fileOf(valid, six)))
    expect([...file.tensors.keys()]).toEqual(['a', 'b'])
    expect(file.tensors.get('a')).toMatchObject({ dtype: 'F32', shape: [2, 2], length: 16 })
    expect({ ...file.metadata }).toEqual({ format: 'pt' })
    expect([...(await file.read('b'))]).toEqual([5, 6])
    expect(await file.readRaw('a')).toEqual(floats(1, 2, 3, 4))
    await expect(file.read('c')).rejects.toThrow(/there is no tensor "c"/)
    await file.close()
    await expect(file.read('a')).rejects.toThrow()
  })

  it('accepts no metadata, null metadata, scalars, empty tensors, unknown fields and any order', async () => {
    const header = {
      __metadata__: null,
      late: { dtype: 'F32', shape: [1], data_offsets: [4, 8], note: 'x' },
      scalar: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
      empty: { dtype: 'F32', shape: [3, 0], data_offsets: [4, 4] },
    }
    const file = await openSafetensors(await put(fileOf(header, floats(7, 8))))
    expect([...(await file.read('scalar')), ...(await file.read('late')), ...(await file.read('empty'))]).toEqual([
      7, 8,
    ])
    await file.close()
    const none = await openSafetensors(await put(fileOf({}, new Uint8Array())))
    expect([none.tensors.size, Object.keys(none.metadata).length]).toEqual([0, 0])
    await none.close()
  })

  it('converts F16, BF16 and F64', async () => {
    // The interesting values of each format by their bits: zeros, the smallest and the largest, infinities, NaN.
    const half = Uint16Array.of(0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0x3555, 0xfbff, 0x7c00, 0xfc00, 0x7e01)
    const brain = Uint16Array.of(0x0000, 0x8000, 0x0001, 0x3f80, 0xc049, 0x7f7f, 0x7f80, 0x7fc0)
    const double = Float64Array.of(0, -0, 1 / 3, 1e300, 1e-300, Number.NaN, 16777217)
    const data = Buffer.concat([double, half, brain].map((part) => Buffer.from(part.buffer)))
    const header = {
      d: { dtype: 'F64', shape: [7], data_offsets: [0, 56] },
      h: { dtype: 'F16', shape: [11], data_offsets: [56, 78] },
      b: { dtype: 'BF16', shape: [8], data_offsets: [78, 94] },
    }
    const file = await openSafetensors(await put(fileOf(header, data)))
    expect([...(await file.read('d'))]).toEqual([0, -0, Math.fround(1 / 3), Infinity, 0, Number.NaN, 16777216])
    const h = [0, -0, 2 ** -24, -1023 * 2 ** -24, 2 ** -14, 1, 0.333251953125, -65504, Infinity, -Infinity, Number.NaN]
    expect([...(await file.read('h'))]).toEqual(h)
    const b = [0, -0, 2 ** -133, 1, -3.140625, (2 - 2 ** -7) * 2 ** 127, Infinity, Number.NaN]
    expect([...(await file.read('b'))]).toEqual(b)
    await file.close()
  })

  it('converts tensors longer than one piece', async () => {
    const length = 1_300_001
    const stored = Float64Array.from({ length }, (_, i) => i / 7)
    const header = { x: { dtype: 'F64', shape: [length], data_offsets: [0, 8 * length] } }
    const file = await openSafetensors(await put(fileOf(header, new Uint8Array(stored.buffer))))
    expect(Buffer.from((await file.read('x')).buffer).equals(Buffer.from(Float32Array.from(stored).buffer))).toBe(true)
    await file.close()
  })

  it('reads integers as bytes only', async () => {
    const ids = new Uint8Array(BigInt64Array.of(1n, 2n).buffer)
    const file = await openSafetensors(
      await put(fileOf({ ids: { dtype: 'I64', shape: [2], data_offsets: [0, 16] } }, ids)),
    )
    await expect(file.read('ids')).rejects.toThrow(WeightsError)
    await expect(file.read('ids')).rejects.toThrow(/expected dtype F32, F16, BF16 or F64, but it is I64/)
    expect(await file.readRaw('ids')).toEqual(ids)
    await file.close()
  })

  it('notices a file cut after it was opened', async () => {
    const path = await put(fileOf(valid, six))
    const file = await openSafetensors(path)
    await truncate(path, (await readFile(path)).length - 4)
    expect([...(await file.read('a'))]).toEqual([1, 2, 3, 4])
    await expect(file.read('b')).rejects.toThrow(WeightsError)
    await expect(file.read('b')).rejects.toThrow(/expected 8 bytes at \d+, but the file ends after 4/)
    await file.close()
  })

  it('refuses what is no regular file', async () => {
    const directory = join(folder, 'directory')
    await mkdir(directory)
    for (const path of [join(folder, 'absent'), directory, '/dev/zero']) {
      await expect(openSafetensors(path)).rejects.toThrow(FileError)
    }
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    await symlink(pipe, join(folder, 'link'))
    await expect(openSafetensors(join(folder, 'link'))).rejects.toThrow(/not a regular file/)
  })
})

describe('a malformed safetensors file', () => {
  const a = (change: object): Header => ({ a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24], ...change } })
  const text = (json: string) => fileOf(json, six)
  it.each<[string, Uint8Array, RegExp]>([
    ['empty', new Uint8Array(), /0 bytes are too few/],
    ['shorter than its length field', new Uint8Array(7), /7 bytes are too few/],
    ['length beyond the file', headerOf(2n ** 63n, '{}'), /the header should have 9223372036854775808 bytes/],
    ['length one too large', headerOf(3n, '{}'), /the header should have 3 bytes, but the file has 10/],
    ['no header', headerOf(0n, ''), /the header: not valid JSON/],
    ['bad JSON', text('{"a":'), /the header: not valid JSON/],
    ['bad UTF-8', fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), six), /not valid UTF-8/],
    ['byte order mark', text('\ufeff{}'), /not valid JSON/],
    ['a list', text('[]'), /expected the header to be an object, but found a list/],
    [
      'a tensor twice',
      text('{"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]},"a":0}'),
      /a JSON key appears twice/,
    ],
    ['a key twice', text('{"a":{"dtype":"U8","dtype":"F32","shape":[24],"data_offsets":[0,24]}}'), /appears twice/],
    ['deep nesting', text(`{"a":${'['.repeat(50000)}${']'.repeat(50000)}}`), /nested 50001 deep; at most 8/],
    ['a tensor that is null', text('{"a":null}'), /tensor "a": expected an object, but found null/],
    ['unknown dtype', fileOf(a({ dtype: 'F31' }), six), /tensor "a": unknown dtype "F31"/],
    ['dtype of a prototype', fileOf(a({ dtype: 'constructor' }), six), /unknown dtype "constructor"/],
    ['no dtype', fileOf(a({ dtype: undefined }), six), /unknown dtype undefined/],
    ['negative size', fileOf(a({ shape: [-2, -3] }), six), /shape of whole numbers, but found \[-2,-3\]/],
    ['fractional size', fileOf(a({ shape: [1.5, 4] }), six), /shape of whole numbers/],
    ['shape that is no list', fileOf(a({ shape: 6 }), six), /shape of whole numbers, but found 6/],
    ['huge shape', fileOf(a({ shape: [2 ** 40, 2 ** 40] }), six), /too large/],
    ['wrong shape', fileOf(a({ shape: [2, 2] }), six), /shape \[2,2\] need 16 bytes, but data_offsets span 24/],
    ['wrong dtype', fileOf(a({ dtype: 'F16' }), six), /dtype F16 and shape \[2,3\] need 12 bytes/],
    ['bits that are no bytes', fileOf(a({ dtype: 'F4', shape: [3] }), six), /need 1.5 bytes/],
    ['offsets beyond the data', fileOf(a({ data_offsets: [0, 28], shape: [7] }), six), /within the 24 bytes of data/],
    ['offsets backwards', fileOf(a({ data_offsets: [24, 0] }), six), /data_offsets \[begin, end\]/],
    ['one offset', fileOf(a({ data_offsets: [24] }), six), /data_offsets \[begin, end\]/],
    ['offsets that are text', fileOf(a({ data_offsets: ['0', '24'] }), six), /data_offsets \[begin, end\]/],
    ['truncated data', fileOf(valid, six.slice(0, 20)), /tensor "b": expected data_offsets .* within the 20 bytes/],
    ['bytes after the data', fileOf(valid, floats(1, 2, 3, 4, 5, 6, 7)), /cover 24 bytes, but 28 follow/],
    ['a gap', fileOf(a({ data_offsets: [4, 24], shape: [5] }), six), /expected data_offsets to begin at 0, .* found 4/],
    [
      'an overlap',
      fileOf({ ...a({}), b: { dtype: 'F32', shape: [2], data_offsets: [8, 16] } }, six),
      /tensor "b": expected data_offsets to begin at 24, where the one before ends, but found 8/,
    ],
    ['metadata that is text', fileOf({ ...valid, __metadata__: 'pt' }, six), /__metadata__ to be an object/],
    ['metadata of numbers', fileOf({ ...valid, __metadata__: { n: 1 } }, six), /__metadata__\["n"\] to be a string/],
    ['a long name', fileOf({ ['n'.repeat(4097)]: {} }, six), /name has more than 4096 characters/],
  ])('%s', async (_, bytes, message) => refuses(bytes, message))

  it('with a header over the limit allocates nothing', async () => {
    const path = join(folder, 'sparse')
    const handle = await open(path, 'w')
    await handle.write(headerOf(2n ** 40n, ''))
    await handle.truncate(2 ** 41) // A sparse file: no disk is used.
    await handle.close()
    const before = process.memoryUsage.rss()
    await expect(openSafetensors(path)).rejects.toThrow(`at most ${MAX_HEADER_BYTES} are accepted`)
    expect(process.memoryUsage.rss() - before).toBeLessThan(4 * MAX_HEADER_BYTES)
  })

  it('with too many tensors is refused', async () => {
    const header = Object.fromEntries(
      Array.from({ length: 65_537 }, (_, i) => [i, { dtype: 'U8', shape: [0], data_offsets: [0, 0] }]),
    )
    await refuses(fileOf(header, new Uint8Array()), /names 65537 tensors; at most 65536/)
  })

  it('cannot reach prototypes', async () => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    const tensor = '{"dtype":"U8","shape":[24],"data_offsets":[0,24]}'
    const header = `{"__metadata__":{"__proto__":"x","toString":"y"},"__proto__":${tensor}}`
    const file = await openSafetensors(await put(text(header)))
    expect([...file.tensors.keys()]).toEqual(['__proto__'])
    expect(Object.entries(file.metadata)).toEqual([
      ['__proto__', 'x'],
      ['toString', 'y'],
    ])
    await file.close()
    await refuses(
      text('{"a":{"__proto__":{"dtype":"U8","shape":[24],"data_offsets":[0,24]}}}'),
      /unknown dtype undefined/,
    )
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  })
})

describe('writeSafetensors', () => {
  const shapes = [
    { name: 'z', shape: [2, 1] },
    { name: '__proto__', shape: [] },
    { name: '10', shape: [0, 4] },
    { name: 'é"\\', shape: [3] },
  ]
  const values = new Map([
    ['z', [1, 2]],
    ['__proto__', [3]],
    ['10', []],
    ['é"\\', [4, 5, 6]],
  ])

  it('writes what openSafetensors reads', async () => {
    const path = join(folder, 'written.safetensors')
    // Views into a larger buffer, as tensors of an arena are.
    const arena = new Float32Array(16)
    await writeSafetensors(path, shapes, async (name) => {
      const data = values.get(name)!
      arena.set(data, 5)
      return arena.subarray(5, 5 + data.length)
    })
    const file = await openSafetensors(path)
    expect({ ...file.metadata }).toEqual({ format: 'pt' })
    expect([...file.tensors.keys()].sort()).toEqual(shapes.map(({ name }) => name).sort())
    for (const { name, shape } of shapes) {
      expect(file.tensors.get(name)?.shape).toEqual(shape)
      expect(file.tensors.get(name)!.offset % 4).toBe(0)
      expect([...(await file.read(name))]).toEqual(values.get(name))
    }
    await file.close()
  })

  it('keeps the old file when anything fails, and leaves nothing behind', async () => {
    const own = await mkdtemp(join(tmpdir(), 'bertkit-atomic-'))
    const path = join(own, 'model.safetensors')
    await writeFile(path, 'old')
    const one = [{ name: 'a', shape: [2] }]
    await expect(writeSafetensors(path, one, () => new Float32Array(3))).rejects.toThrow(ArgumentError)
    await expect(writeSafetensors(path, one, () => new Float32Array(3))).rejects.toThrow(/expected 2 values .* found 3/)
    await expect(writeSafetensors(path, one, () => Promise.reject(new Error('mine')))).rejects.toThrow('mine')
    await expect(writeSafetensors(path, [...one, ...one], () => new Float32Array(2))).rejects.toThrow(/"a".* taken/)
    const reserved = [{ name: '__metadata__', shape: [2] }]
    await expect(writeSafetensors(path, reserved, () => new Float32Array(2))).rejects.toThrow(ArgumentError)
    expect(await readFile(path, 'utf8')).toBe('old')
    expect(await readdir(own)).toEqual(['model.safetensors'])
    await expect(writeSafetensors(join(own, 'no', 'x'), one, () => new Float32Array(2))).rejects.toThrow(FileError)
  })

  it.skipIf(!reference)(`copies a real model byte for byte${needsReference}`, async () => {
    const cases = join(reference ?? '', 'golden', 'cases')
    for (const name of ['pretraining', 'lm_head_cross_attention']) {
      const original = join(cases, name, 'model.safetensors')
      const source = await openSafetensors(original)
      const copy = join(folder, `${name}.safetensors`)
      const list = Array.from(source.tensors, ([each, { shape }]) => ({ name: each, shape })).reverse()
      await writeSafetensors(copy, list, (each) => source.read(each))
      await source.close()
      expect((await readFile(copy)).equals(await readFile(original)), name).toBe(true)
    }
  })

  it.skipIf(!reference)(`reads MiniLM${needsReference}`, async () => {
    const path = join(reference ?? '', 'data/weights/all-MiniLM-L6-v2/model.safetensors')
    const file = await openSafetensors(path)
    expect([file.tensors.size, file.tensors.get('embeddings.position_ids')?.dtype]).toEqual([104, 'I64'])
    const words = await file.read('embeddings.word_embeddings.weight')
    expect([words.length, words.every(Number.isFinite)]).toEqual([30522 * 384, true])
    await file.close()
  })
})
