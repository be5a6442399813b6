import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { WeightsError } from '../../src/errors.ts'
import { openSource } from '../../src/formats/file-source.ts'
import { readPytorch } from '../../src/formats/pytorch.ts'
import { openSafetensors } from '../../src/formats/safetensors-file.ts'
import { MemorySource } from '../../src/formats/source.ts'
import { archiveOf, legacyOf, pickle as p, stateDictOps, zipOf } from './builders.mjs'

const fixture = (name: string) => join(import.meta.dirname, 'fixtures', name)
const read = (bytes: Uint8Array) => readPytorch(new MemorySource('file', bytes))

async function refuses(bytes: Uint8Array, message: RegExp): Promise<void> {
  const error: unknown = await read(bytes).catch((reason) => reason)
  expect(error).toBeInstanceOf(WeightsError)
  expect(String(error)).toMatch(message)
  expect(String(error).length).toBeLessThan(1000)
}

const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)
const six = floats(1, 2, 3, 4, 5, 6)
const storage = { key: '0', type: 'FloatStorage', size: 6 }
const tensor = { name: 'a', storage, offset: 0, shape: [2, 3], strides: [3, 1] }
const one = (change: object = {}) => stateDictOps([{ ...tensor, ...change }])
const archive = (ops = one(), options = {}) => archiveOf(ops, { 0: six }, options)

describe('a state dict that torch.save wrote', () => {
  it.each(['state.bin', 'legacy.bin', 'no-checksums.bin'])('%s holds the same as its safetensors', async (name) => {
    const found = await readPytorch(await openSource(fixture(name)))
    const expected = await openSafetensors(fixture('state.safetensors'))
    expect([...found.tensors.keys()].sort()).toEqual([...expected.tensors.keys()].sort())
    for (const [key, { dtype, shape, length }] of expected.tensors) {
      const info = found.tensors.get(key)!
      expect({ dtype: info.dtype, shape: info.shape, length: info.length }, key).toEqual({ dtype, shape, length })
      expect(await found.readRaw(key), key).toEqual(await expected.readRaw(key))
      if (/^B?F/.test(dtype)) expect(await found.read(key), key).toEqual(await expected.read(key))
      else await expect(found.read(key)).rejects.toThrow(/expected dtype F32, F16, BF16 or F64/)
    }
    await Promise.all([found.close(), expected.close()])
  })

  it('keeps names of values that are no tensors, for the report of a load', async () => {
    const found = await readPytorch(await openSource(fixture('values.bin')))
    expect([...found.tensors.keys()].sort()).toEqual(['a', 'epoch', 'none', 'note'])
    expect([...(await found.read('a'))]).toEqual([1, 1])
    await expect(found.read('epoch')).rejects.toThrow(WeightsError)
    await found.close()
  })

  it.each<[string, RegExp]>([
    ['wrapped.bin', /expected a state dict of tensors by name, but "state_dict" is a dict; save the state dict itself/],
    ['protocol-4.bin', /protocol 4; torch\.save and this reader use 2/],
    ['list.bin', /expected a state dict, but found a list/],
    [
      'module.bin',
      /asks for "torch\.nn\.modules\.linear\.Linear", which is no part of a state dict; nothing of it was/,
    ],
    ['complex.bin', /asks for "torch\.ComplexFloatStorage"/],
    ['untyped.bin', /asks for "torch\._utils\._rebuild_tensor_v3"|asks for "torch\.UInt16Storage"/],
  ])('%s is refused', async (name, message) => refuses(await readFile(fixture(name)), message))
})

describe('a view', () => {
  const values = Float32Array.from({ length: 600_000 }, (_, i) => i)
  const big = { key: '0', type: 'FloatStorage', size: values.length }
  const view = async (offset: number, shape: number[], strides: number[]) => {
    const ops = stateDictOps([{ name: 'a', storage: big, offset, shape, strides }])
    const source = await read(archiveOf(ops, { 0: new Uint8Array(values.buffer) }))
    return source.read('a')
  }
  it('longer than a piece is read row after row', async () => {
    const [rows, columns] = [750, 800]
    const found = await view(0, [columns, rows], [1, columns])
    const expected = Float32Array.from(
      { length: rows * columns },
      (_, i) => (i % rows) * columns + Math.floor(i / rows),
    )
    expect(Buffer.from(found.buffer).equals(Buffer.from(expected.buffer))).toBe(true)
  })
  it('of few elements far apart is read axis by axis', async () => {
    expect([...(await view(1, [2, 2, 2], [300_000, 1000, 7]))]).toEqual([
      1, 8, 1001, 1008, 300_001, 300_008, 301_001, 301_008,
    ])
  })
  it('of one index does not mind its stride', async () => {
    expect([...(await view(3, [1, 2], [0, 1]))]).toEqual([3, 4])
  })
})

describe('a hostile pickle', () => {
  const evil = [p.proto(), p.global('os', 'system'), p.mark(), p.string('id'), p.tuple(), p.reduce(), p.stop()]
  const withOp = (op: number[]) => [p.proto(), op, p.stop()]
  it.each<[string, number[][], RegExp]>([
    ['os.system', evil, /asks for "os\.system", which is no part of a state dict/],
    ['builtins.eval', [p.proto(), p.global('builtins', 'eval')], /asks for "builtins\.eval"/],
    ['a name that is a prototype’s', [p.proto(), p.global('constructor', 'name')], /asks for "constructor\.name"/],
    ['a name of an object’s prototype', [p.proto(), p.global('__proto__', '')], /asks for "__proto__\."/],
    ['STACK_GLOBAL', withOp([0x93]), /operation 0x93 is no part/],
    ['INST', withOp([0x69]), /operation 0x69/],
    ['OBJ', withOp([0x6f]), /operation 0x6f/],
    ['NEWOBJ', withOp([0x81]), /operation 0x81/],
    ['EXT1', withOp([0x82, 1]), /operation 0x82/],
    ['a text operation', withOp([0x49, 0x31, 0x0a]), /operation 0x49/],
    ['nothing', [], /it ends in the middle/],
    ['no stop', [p.proto(), p.none()], /it ends in the middle/],
    ['a string cut off', [p.proto(), [0x58, 0xff, 0xff, 0xff, 0xff]], /it ends in the middle/],
    ['too few operands', [p.proto(), p.reduce(), p.stop()], /too few operands/],
    ['no mark', [p.proto(), p.tuple(), p.stop()], /a mark is missing/],
    ['a value from below a mark', [p.proto(), p.none(), p.mark(), [0x85], p.stop()], /too few operands/],
    ['a call of a value', [p.proto(), p.none(), p.emptyTuple(), p.reduce(), p.stop()], /a call of what is no name/],
    [
      'a call of a storage class',
      [p.proto(), p.global('torch', 'FloatStorage'), p.emptyTuple(), p.reduce()],
      /a call of/,
    ],
    ['a state for a name', [p.proto(), p.global('torch', 'FloatStorage'), p.none(), p.build()], /no dict/],
    ['an unknown memory', [p.proto(), p.get(7), p.stop()], /nothing was remembered as 7/],
    ['values left over', [p.proto(), p.none(), p.none(), p.stop()], /values left over/],
    ['a key without a value', [p.proto(), p.emptyDict(), p.mark(), p.none(), p.setItems()], /a key without a value/],
    ['a persistent id of nothing', [p.proto(), p.none(), p.persistent()], /describe a storage/],
    ['a byte string of no ASCII', [p.proto(), [0x55, 1, 0xe9], p.stop()], /not ASCII/],
    ['a string of no UTF-8', [p.proto(), [0x58, 1, 0, 0, 0, 0xff], p.stop()], /not valid UTF-8/],
    [
      'many copies of one long list',
      [
        p.proto(),
        p.global('collections', 'OrderedDict'),
        p.put(0),
        [0x5d],
        p.mark(),
        ...Array.from({ length: 1000 }, () => [...[0x5d], ...p.mark(), ...p.none(), ...p.none(), 0x65]),
        [0x65],
        [0x85],
        p.put(1),
        ...Array.from({ length: 100 }, () => [...p.get(0), ...p.get(1), ...p.reduce()]),
        p.stop(),
      ],
      /more than 65536 entries in all/,
    ],
    ['a module without an end', [p.proto(), [0x63, ...Buffer.alloc(5000, 0x61)]], /a name has no end/],
  ])('%s', async (_, ops, message) => refuses(archiveOf(ops, {}), message))

  it('of every operation at the start, alone, is an error or a harmless value', async () => {
    const accepted: number[] = []
    for (let op = 0; op < 256; op++) {
      await read(archiveOf([p.proto(), [op], [0, 0, 0, 0, 0, 0, 0, 0], p.stop()], {})).then(
        () => accepted.push(op),
        (error) => expect(error).toBeInstanceOf(WeightsError),
      )
    }
    expect(accepted).toEqual([])
  })

  it('of every byte at every place of a state dict is an error or another state dict', async () => {
    const bytes = Buffer.from(one().flat())
    let accepted = 0
    for (let at = 0; at < bytes.length; at++) {
      const before = bytes[at]
      for (let byte = 0; byte < 256; byte++) {
        bytes[at] = byte
        await read(archive([[...bytes]])).then(
          ({ tensors }) => {
            accepted++
            for (const { length } of tensors.values()) expect(length).toBeLessThan(1000)
          },
          (error) => {
            if (!(error instanceof WeightsError)) throw error
          },
        )
      }
      bytes[at] = before
    }
    // letters of names, mostly
    expect(accepted).toBeGreaterThan(bytes.length)
    expect(accepted).toBeLessThan(bytes.length * 32)
  })

  it('nested a hundred thousand deep overflows no stack', async () => {
    const ops = [p.proto(), p.none(), ...Array.from({ length: 100_000 }, () => [0x85]), p.stop()]
    await refuses(archiveOf(ops, {}), /expected a state dict, but found a tuple/)
  })

  it.each<[string, number[][], RegExp]>([
    ['an offset beyond the storage', one({ offset: 1 }), /"a": its elements reach beyond its storage of 6/],
    ['a shape beyond the storage', one({ shape: [3, 3] }), /reach beyond its storage/],
    ['a stride beyond the storage', one({ strides: [4, 1] }), /reach beyond its storage/],
    ['a negative stride', one({ strides: [-3, 1] }), /expected a tensor to have a storage, an offset, a shape and/],
    ['a negative offset', one({ offset: -1 }), /expected a tensor to have/],
    ['strides of another rank', one({ strides: [1] }), /expected a tensor to have/],
    ['a view that repeats beyond the file', one({ shape: [2 ** 40], strides: [0] }), /needs 4398046511104 bytes, but/],
    ['a huge shape', one({ shape: [2 ** 52, 2 ** 52], strides: [1, 1] }), /reach beyond its storage/],
    ['a storage that is missing', one({ storage: { ...storage, key: '1' } }), /storage "1" is not in the archive/],
    [
      'a storage outside',
      one({ storage: { ...storage, key: '../../etc/passwd' } }),
      /"\.\.\/\.\.\/etc\/passwd" is not in/,
    ],
    ['a storage of another size', one({ storage: { ...storage, size: 7 } }), /has 24 bytes, but should have 28/],
    [
      'a storage of another dtype',
      one({ storage: { ...storage, type: 'HalfStorage' } }),
      /has 24 bytes, but should have/,
    ],
    [
      'a storage of two dtypes',
      stateDictOps([tensor, { ...tensor, name: 'b', storage: { ...storage, type: 'IntStorage' } }]),
      /storage "0" is described twice/,
    ],
  ])('with %s', async (_, ops, message) => refuses(archive(ops), message))

  it('cannot reach prototypes', async () => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    const found = await read(archive(one({ name: '__proto__' })))
    expect([...found.tensors.keys()]).toEqual(['__proto__'])
    expect([...(await found.read('__proto__'))]).toEqual([1, 2, 3, 4, 5, 6])
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  })
})

describe('a malformed archive', () => {
  type Fields = Record<string, number>
  const changed = (kind: string, change: (fields: Fields) => void, index = -1, zip64 = true) => {
    let at = 0
    return archive(one(), {
      zip64,
      change: (found: string, fields: Fields) => {
        if (found === kind && (index < 0 || at++ === index)) change(fields)
      },
    })
  }
  it('is read without zip64 records, or with sizes in them', async () => {
    for (const bytes of [
      archive(one(), { zip64: false }),
      changed('central', (fields) => Object.assign(fields, { wide: 1 })),
    ])
      expect([...(await (await read(bytes)).read('a'))]).toEqual([1, 2, 3, 4, 5, 6])
  })
  it.each<[string, Uint8Array, RegExp]>([
    ['empty', new Uint8Array(), /begins neither as a zip archive nor as a pickle/],
    ['text', Buffer.from('not a model'), /begins neither/],
    ['cut', archive().subarray(0, -1), /the end of a zip archive is missing; is the file truncated/],
    ['with bytes behind it', Buffer.concat([archive(), Buffer.alloc(1)]), /the end of a zip archive is missing/],
    ['with bytes before it', Buffer.concat([Buffer.from('PK\x03\x04'), archive()]), /zip64 end record is not where/],
    ['compressed', changed('central', (f) => Object.assign(f, { method: 8 })), /it is compressed \(method 8\)/],
    [
      'compressed, says a local header',
      changed('local', (f) => Object.assign(f, { method: 8 })),
      /header calls it comp/,
    ],
    ['encrypted', changed('central', (f) => Object.assign(f, { flags: 1 })), /it is encrypted/],
    ['a bomb', changed('central', (f) => Object.assign(f, { size: 2 ** 30 })), /stored bytes cannot be 1073741824/],
    [
      'an entry beyond the file',
      changed('central', (f) => Object.assign(f, { size: 2 ** 40, stored: 2 ** 40, wide: 1 }), 3),
      /its 1099511627776 bytes reach into what follows/,
    ],
    [
      'an entry into the next one',
      changed('central', (f) => Object.assign(f, { size: f.size + 64, stored: f.size + 64 }), 0),
      /"model\/data\.pkl": its \d+ bytes reach into what follows/,
    ],
    [
      'two entries in one place',
      changed('central', (f) => Object.assign(f, { header: 0 })),
      /its header lies outside the archive/,
    ],
    [
      'an entry in the one before',
      changed('central', (f) => Object.assign(f, { header: 100 }), 1),
      /"model\/data\.pkl": its \d+ bytes reach into what follows it/,
    ],
    [
      'a header that is none',
      changed('local', (f) => Object.assign(f, { signature: 0 }), 1),
      /local header is missing/,
    ],
    [
      'a directory that is none',
      changed('central', (f) => Object.assign(f, { signature: 0 })),
      /directory is malformed/,
    ],
    ['another number of entries', changed('end', (f) => Object.assign(f, { entries: 3 })), /has 4 entries, but should/],
    [
      'a directory elsewhere',
      changed('end', (f) => Object.assign(f, { offset: 0 })),
      /directory is not where it should/,
    ],
    ['a directory too large', changed('end', (f) => Object.assign(f, { entries: 2 ** 40 })), /at most 131072 in/],
    ['zip64 records elsewhere', changed('end', (f) => Object.assign(f, { end64: 0 })), /end record is not where/],
    [
      'a wrong checksum',
      changed('central', (f) => Object.assign(f, { crc: 1 }), 0),
      /data\.pkl": its checksum is wrong/,
    ],
    ['no pickle', zipOf([{ name: 'model/version', data: Buffer.from('3') }]), /expected one data\.pkl .* found 0/],
    [
      'a name twice',
      zipOf([1, 2].map(() => ({ name: 'model/data.pkl', data: Buffer.from('3') }))),
      /the name appears twice/,
    ],
    [
      'big-endian',
      zipOf([
        { name: 'm/data.pkl', data: Buffer.from('3') },
        { name: 'm/byteorder', data: Buffer.from('big') },
      ]),
      /expected little-endian numbers, but its byteorder is "big"/,
    ],
  ])('%s', async (_, bytes, message) => refuses(bytes, message))

  it('with a changed weight is noticed when the weight is read', async () => {
    const bytes = Uint8Array.from(archive())
    bytes[Buffer.from(bytes).indexOf(Buffer.from(six))] ^= 1
    const found = await read(bytes)
    await expect(found.read('a')).rejects.toThrow(/"model\/data\/0": its checksum is wrong/)
    await expect(found.readRaw('a')).rejects.toThrow(WeightsError)
  })
})

describe('a malformed file of before zip', () => {
  const ops = stateDictOps([tensor], { legacy: true })
  const stored = { key: '0', elements: 6, data: six }
  it('is read when it is not', async () => {
    expect([...(await (await read(legacyOf(ops, [stored]))).read('a'))]).toEqual([1, 2, 3, 4, 5, 6])
  })
  it.each<[string, Uint8Array, RegExp]>([
    ['cut in a storage', legacyOf(ops, [stored]).subarray(0, -1), /storage "0" reaches beyond the file/],
    ['cut before a storage', legacyOf(ops, [stored]).subarray(0, -28), /it ends before its storages/],
    ['of another size', legacyOf(ops, [{ ...stored, elements: 5 }]), /storage "0" has 5 elements, but should have 6/],
    ['of a storage too few', legacyOf(ops, []), /storage "0" is not in the file/],
    ['of a storage too many', legacyOf(ops, [stored, stored]), /names one that the state dict does not, or one twice/],
    ['of another storage', legacyOf(ops, [{ ...stored, key: '1' }]), /names one that the state dict does not/],
    ['of another pickle', Buffer.from([0x80, 2, 0x4e, 0x2e]), /a pickle, but not one that torch\.save wrote/],
  ])('%s', async (_, bytes, message) => refuses(bytes, message))
})
