// Mutations of every format that bertkit reads, below and above its structure. A reader must accept what it is given or refuse it with a
// typed error, must never ask for more memory than the file has bytes, and must leave prototypes alone. The readers are handed
// in, so that the same campaign runs on sources and on a build.
import {
  archiveOf,
  bundleEntry,
  bundleHeader,
  legacyOf,
  mask,
  pickle as p,
  slowCrc32c,
  stateDictOps,
  tableOf,
} from './builders.mjs'

/** A small generator of repeatable random numbers (mulberry32). */
export class FuzzRandom {
  constructor(seed) {
    this.state = seed | 0
  }
  next() {
    this.state = (this.state + 0x6d2b79f5) | 0
    let bits = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
  below(limit) {
    return Math.floor(this.next() * limit)
  }
  pick(items) {
    return items[this.below(items.length)]
  }
  /** True once in `n`. */
  once(n) {
    return this.below(n) === 0
  }
}

const NUMBERS = [
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  255,
  256,
  65535,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  2 ** 62,
  -1,
  -8,
]
const VALUES = [...NUMBERS, 0.5, 1e308, null, '', 'a', '4', true, false, [], [1], {}, [[]], { a: 1 }]
const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '', 'weight_map', 'dtype', 'shape']
const NAMES = [
  '..',
  '../x.bin',
  '/etc/passwd',
  'a/b',
  'a\\b',
  'C:a',
  'a\0',
  '.x',
  '__proto__',
  'x'.repeat(300),
  'model.bin',
]
const WIDTHS = { F32: 4, F16: 2, BF16: 2, F64: 8, I64: 8, U8: 1, BOOL: 1 }

/** Sets a key of any name: assigning to "__proto__" would not. */
export const put = (target, key, value) =>
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true })

/**
 * One change to the bytes of a file: a bit, a telling byte, a cut, a splice, or a number.
 * @param {Uint8Array} bytes
 * @param {{ below: (limit: number) => number, pick: <Item>(items: readonly Item[]) => Item }} random
 * @returns {Uint8Array}
 */
export function mutateBytes(bytes, random) {
  if (bytes.length === 0) return bytes
  const at = random.below(bytes.length)
  const copy = Buffer.from(bytes)
  switch (random.below(7)) {
    case 0:
      copy[at] ^= 1 << random.below(8)
      return copy
    case 1:
      copy[at] = random.pick([0x22, 0x7b, 0x7d, 0x5b, 0x5d, 0x2c, 0x3a, 0x5c, 0x00, 0xff, 0x30, 0x39])
      return copy
    case 2:
      return copy.subarray(0, at)
    case 3:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(random.below(bytes.length))])
    case 4:
      copy[at] = random.below(256)
      return copy
    case 5:
      if (at + 4 <= copy.length) copy.writeUInt32LE(random.pick(NUMBERS) >>> 0, at)
      return copy
    default:
      copy.copyWithin(at, random.below(bytes.length), random.below(bytes.length))
      return copy
  }
}

/** One change somewhere in a JSON value: a key, a value, or one more of either. */
function mutateJson(value, random) {
  const objects = []
  const visit = (each) => {
    if (typeof each !== 'object' || each === null) return
    objects.push(each)
    for (const inner of Object.values(each)) visit(inner)
  }
  visit(value)
  if (objects.length === 0) return
  const target = random.pick(objects)
  const keys = Object.keys(target)
  const other = () => structuredClone(random.pick([...VALUES, ...NAMES, random.pick(objects)]))
  if (keys.length === 0 || random.once(3)) {
    if (Array.isArray(target)) target.push(other())
    else put(target, random.pick([...KEYS, ...NAMES]), other())
  } else if (random.once(4)) {
    if (Array.isArray(target)) target.pop()
    else delete target[random.pick(keys)]
  } else put(target, random.pick(keys), other())
}

const noise = (random, length) => Buffer.from(Array.from({ length }, () => random.below(256)))
const product = (list) => list.reduce((all, each) => all * each, 1)

/** A few tensors with random shapes and random bytes. */
function someTensors(random) {
  return Array.from({ length: 1 + random.below(4) }, (_, i) => {
    const dtype = random.pick(Object.keys(WIDTHS))
    const shape = Array.from({ length: random.below(4) }, () => random.below(5))
    return { name: `t${i}`, dtype, shape, data: noise(random, WIDTHS[dtype] * product(shape)) }
  })
}

/** Reads every tensor; `expected` compares what was read where nothing was changed. */
async function readAll(source, expected) {
  for (const [name, { length }] of source.tensors) {
    const bytes = await source.readRaw(name)
    if (bytes.length !== length) throw new Error(`${name}: ${bytes.length} bytes for a length of ${length}`)
    const wanted = expected?.get(name)
    if (wanted !== undefined && Buffer.compare(bytes, wanted) !== 0) throw new Error(`${name}: other bytes than stored`)
    await source.read(name).catch((error) => {
      if (!/expected dtype/.test(String(error))) throw error
    })
  }
}

/**
 * The campaign's targets: each takes random numbers, makes one case and reads it. What it throws is for `run` to judge.
 * @param {Record<string, any>} api the readers
 */
export function targetsOf(api) {
  /** Bytes in memory that no reader may ask more of than there is. */
  class Bounded extends api.MemorySource {
    async read(target, position) {
      if (target.length > this.size) throw new Error(`a buffer of ${target.length} bytes for a file of ${this.size}`)
      return super.read(target, position)
    }
  }
  const open = (bytes) => new Bounded('file', bytes)
  const fail = (reason) => new api.WeightsError(`file: ${reason}`)
  const json = (text) => api.parseJson(text, fail)

  /** JSON text of a value that was changed up to three times, above or below its syntax. */
  const mutatedText = (value, random) => {
    for (let times = random.below(4); times > 0; times--) mutateJson(value, random)
    const text = JSON.stringify(value)
    return random.once(4) ? mutateBytes(Buffer.from(text), random).toString() : text
  }

  return {
    async safetensors(random) {
      const tensors = someTensors(random)
      const header = random.once(2) ? { __metadata__: { format: 'pt' } } : {}
      let end = 0
      for (const { name, dtype, shape, data } of tensors) {
        header[name] = { dtype, shape, data_offsets: [end, end + data.length] }
        end += data.length
      }
      const rounds = random.below(3)
      for (let i = 0; i < rounds; i++) mutateJson(header, random)
      const head = Buffer.from(JSON.stringify(header))
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt.asUintN(64, BigInt(random.once(16) ? random.pick(NUMBERS) : head.length)))
      let bytes = Buffer.concat([length, head, ...tensors.map(({ data }) => data)])
      const changed = random.once(3)
      if (changed) bytes = mutateBytes(bytes, random)
      const expected = new Map(tensors.map(({ name, data }) => [name, data]))
      await readAll(await api.readSafetensors(open(bytes)), rounds === 0 && !changed ? expected : undefined)
    },

    async pytorch(random) {
      const { ops, storages, expected, changed } = somePickle(random, false)
      let other = changed
      const change = (_, fields) => {
        if (!random.once(40)) return
        other = true
        fields[random.pick(Object.keys(fields))] = random.pick(NUMBERS)
      }
      for (const fields of [{ zip64: random.once(2), crc: random.once(2) }]) {
        let bytes = archiveOf(ops, storages, { ...fields, change })
        if (random.once(4)) {
          bytes = mutateBytes(bytes, random)
          other = true
        }
        await readAll(await api.readPytorch(open(bytes)), other ? undefined : expected)
      }
    },

    async legacy(random) {
      const { ops, storages, expected, changed } = somePickle(random, true)
      const list = Object.entries(storages).map(([key, data]) => ({ key, elements: data.length / 4, data }))
      let other = changed
      if (random.once(8)) {
        other = true
        random.pick(list).elements = random.pick(NUMBERS)
      }
      let bytes = legacyOf(ops, list)
      if (random.once(4)) {
        bytes = mutateBytes(bytes, random)
        other = true
      }
      await readAll(await api.readPytorch(open(bytes)), other ? undefined : expected)
    },

    async tensorflow(random) {
      let offset = 0
      const tensors = someTensors(random).filter(({ dtype }) => dtype in DTYPES)
      const entries = tensors.map(({ name, dtype, shape, data }) => {
        const entry = { dtype: DTYPES[dtype], shape, offset, size: data.length, crc: mask(slowCrc32c(data)) }
        offset += data.length
        return { name: random.pick([name, `${name}/kernel`, `bert/${name}_embeddings`]), entry }
      })
      let changed = false
      for (let times = random.below(3); times > 0 && entries.length > 0; times--) {
        changed = true
        const { entry } = random.pick(entries)
        const key = random.pick([...Object.keys(entry), 'shard', 'slices'])
        if (key === 'shape' && random.once(2)) entry.shape = [...entry.shape, random.pick(NUMBERS)]
        else if (key === 'slices') entry.slices = 1
        else if (key !== 'shape') entry[key] = random.pick(NUMBERS)
      }
      const table = entries.map(({ name, entry }) => ({
        key: Buffer.from(name),
        value: random.once(12) ? mutateBytes(bundleEntry(entry), random) : bundleEntry(entry),
        shared: random.once(30) ? random.pick(NUMBERS) : undefined,
      }))
      table.push({ key: Buffer.alloc(0), value: bundleHeader(random.once(20) ? random.pick(NUMBERS) : 1) })
      if (!random.once(20)) table.sort((a, b) => Buffer.compare(a.key, b.key))
      let index = tableOf(table, { perBlock: 1 + random.below(4), crc: api.crc32c, kind: random.once(50) ? 1 : 0 })
      let data = Buffer.concat(tensors.map((each) => each.data))
      if (random.once(4)) index = mutateBytes(index, random)
      if (random.once(8)) data = mutateBytes(data, random)
      await readAll(await api.readTensorFlow(open(index), async () => open(data)), undefined)
      return changed
    },

    async index(random) {
      const extension = random.pick(['.bin', '.safetensors'])
      const file = (i) => `model-0000${i}-of-00002${extension}`
      const map = Object.fromEntries(
        Array.from({ length: 1 + random.below(5) }, (_, i) => [`t${i}`, file(1 + (i % 2))]),
      )
      const text = mutatedText({ metadata: { total_size: 8 }, weight_map: map }, random)
      for (const name of api.parseIndex(text, extension, fail).values())
        if (/[/\\:\0\n]/.test(name) || name.startsWith('.') || !name.endsWith(extension))
          throw new Error(`the name ${JSON.stringify(name)} may leave its folder`)
    },

    async modules(random) {
      const modules = ['Transformer', 'Pooling', 'Normalize'].map((type, i) => ({
        idx: i,
        name: String(i),
        path: i === 0 ? '' : `${i}_${type}`,
        type: `sentence_transformers.models.${type}`,
      }))
      const pooling = { word_embedding_dimension: 8, pooling_mode_mean_tokens: true, include_prompt: true }
      for (const { path } of api.parseModules(json(mutatedText(modules, random)), fail))
        if (/[/\\:\0\n]/.test(path) || path.startsWith('.'))
          throw new Error(`the path ${JSON.stringify(path)} may leave`)
      api.parsePooling(json(mutatedText(pooling, random)), fail)
      api.parseMaxSeqLength(json(mutatedText({ max_seq_length: 128, do_lower_case: false }, random)), fail)
    },

    async config(random) {
      const config = {
        model_type: 'bert',
        architectures: ['BertModel'],
        hidden_size: 8,
        num_attention_heads: 2,
        num_hidden_layers: 2,
        vocab_size: 30,
        id2label: { 0: 'a', 1: 'b' },
        label2id: { a: 0, b: 1 },
        hidden_act: 'gelu',
        layer_norm_eps: 1e-12,
        problem_type: null,
      }
      api.BertConfig.fromJSON(json(mutatedText(config, random)), 'file').toText()
    },
  }
}

const DTYPES = { F32: 1, F64: 2, F16: 19, BF16: 14, I64: 9, U8: 4, BOOL: 10 }
const STORAGES = ['FloatStorage', 'HalfStorage', 'LongStorage', 'ByteStorage', 'ComplexFloatStorage', 'UntypedStorage']
const GLOBALS = [
  ['os', 'system'],
  ['builtins', 'eval'],
  ['collections', 'OrderedDict'],
  ['torch._utils', '_rebuild_tensor_v2'],
  ['torch._utils', '_rebuild_parameter'],
  ['torch', 'FloatStorage'],
  ['__proto__', 'constructor'],
]

/** The pickle of a few views of a few storages, often changed in a number, an operation or their order. */
function somePickle(random, legacy) {
  const storages = Object.fromEntries(
    Array.from({ length: 1 + random.below(2) }, (_, i) => [String(i), noise(random, 4 * (4 + random.below(28)))]),
  )
  let changed = false
  const expected = new Map()
  const tensors = Array.from({ length: 1 + random.below(3) }, (_, i) => {
    const key = random.pick(Object.keys(storages))
    const size = storages[key].length / 4
    const [rows, columns] = [1 + random.below(2), 1 + random.below(2)]
    const transposed = random.once(2)
    const offset = random.below(size - 3)
    const name = random.once(20) ? '__proto__' : `t${i}`
    const strides = transposed ? [1, rows] : [columns, 1]
    const elements = []
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const at = 4 * (offset + r * strides[0] + c * strides[1])
        elements.push(storages[key].subarray(at, at + 4))
      }
    expected.set(name, Buffer.concat(elements))
    return { name, storage: { key, type: 'FloatStorage', size }, offset, shape: [rows, columns], strides }
  })
  if (random.once(3)) {
    changed = true
    const tensor = random.pick(tensors)
    random.pick([
      () => Object.assign(tensor, { offset: random.pick(NUMBERS) }),
      () => Object.assign(tensor.storage, { size: random.pick(NUMBERS) }),
      () => Object.assign(tensor.storage, { type: random.pick(STORAGES) }),
      () => Object.assign(tensor.storage, { key: random.pick([...NAMES, '0', '1']) }),
      () => Object.assign(tensor, { shape: [random.pick(NUMBERS), random.pick(NUMBERS)] }),
      () => Object.assign(tensor, { strides: [random.pick(NUMBERS), random.pick(NUMBERS)] }),
      () => Object.assign(tensor, { shape: [...tensor.shape, 1], strides: [...tensor.strides, random.pick(NUMBERS)] }),
    ])()
  }
  const ops = stateDictOps(tensors, { legacy })
  for (let times = random.once(2) ? 1 + random.below(2) : 0; times > 0; times--) {
    changed = true
    const at = random.below(ops.length)
    random.pick([
      () => ops.splice(at, 1),
      () => ops.splice(at, 0, ops[random.below(ops.length)]),
      () => ops.splice(at, 1, ops[random.below(ops.length)]),
      () => ops.splice(at, 0, [random.below(256)]),
      () => ops.splice(at, 1, [random.below(256)]),
      () => ops.splice(at, 1, p.global(...random.pick(GLOBALS))),
      () => ops.splice(at, 1, p.int(random.pick(NUMBERS))),
      () => ops.splice(at, 1, p.string(random.pick(NAMES))),
      () => ops.splice(at, 0, random.pick([p.put, p.get])(random.below(3))),
    ])()
  }
  return { ops, storages, expected, changed }
}

/**
 * Runs cases `from` to `to` of a target; the seed of a case is its number, so any of them can be run alone. Counts how many were accepted;
 * throws, with the number of the case, what no reader may do.
 */
export async function fuzz(target, BertkitError, from, to) {
  const prototype = Object.getOwnPropertyNames(Object.prototype).join()
  let accepted = 0
  // most cases end in an error, whose stack nobody looks at
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  for (let n = from; n < to; n++) {
    try {
      await target(new FuzzRandom(Math.imul(n + 1, 0x9e3779b1)))
      accepted++
    } catch (error) {
      if (!(error instanceof BertkitError) || error.message.length > 1000)
        throw new Error(`case ${n}: ${error}`, { cause: error })
    }
    if (Object.getOwnPropertyNames(Object.prototype).join() !== prototype)
      throw new Error(`case ${n}: Object.prototype was changed`)
  }
  Error.stackTraceLimit = stackTraceLimit
  return accepted
}
