import { WeightsError } from '../errors.ts'
import { kindOf, quote } from '../json.ts'
import { elementsOf } from '../tensor.ts'
import { DTYPE_BITS } from './dtypes.ts'
import { Global, type PickleRules, Tuple, unpickle } from './pickle.ts'
import { type ByteSource, readRange } from './source.ts'
import { extentOf } from './strides.ts'
import { MAX_NAME_LENGTH, MAX_RANK, MAX_TENSORS, StoredTensors, type TensorPlace } from './tensors.ts'
import { readZip, verifyEntry, type ZipEntry } from './zip.ts'

// pytorch_model.bin as torch.save writes a state dict (torch/serialization.py): a zip archive with one pickle and an entry for
// each storage, or, before PyTorch 1.6, pickles and storages one after another. What may stand in the pickle is what Transformers
// 5.18 loads (weights_only): tensors by name. A value that is a number or a string is kept as a name without a tensor, which the
// report of a load calls unexpected, as Transformers does; a dict or a list is an error there and here.

const MAX_PICKLE_BYTES = 16 * 2 ** 20
/** The first pickle of the format before zip. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn
const LEGACY_PROTOCOL = 1001

/** torch's storage classes -> safetensors' dtypes. */
const STORAGES: Readonly<Record<string, string>> = {
  'torch.FloatStorage': 'F32',
  'torch.DoubleStorage': 'F64',
  'torch.HalfStorage': 'F16',
  'torch.BFloat16Storage': 'BF16',
  'torch.LongStorage': 'I64',
  'torch.IntStorage': 'I32',
  'torch.ShortStorage': 'I16',
  'torch.CharStorage': 'I8',
  'torch.ByteStorage': 'U8',
  'torch.BoolStorage': 'BOOL',
}
const ORDERED_DICT = 'collections.OrderedDict'
const REBUILD_TENSOR = 'torch._utils._rebuild_tensor_v2'
const REBUILD_PARAMETER = 'torch._utils._rebuild_parameter'
const CALLABLE: ReadonlySet<string> = new Set([ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER])
const isKnown = (name: string): boolean => CALLABLE.has(name) || Object.hasOwn(STORAGES, name)

type Fail = (reason: string) => WeightsError

/** A stretch of numbers that tensors are views of. */
interface Storage {
  readonly key: string
  readonly dtype: string
  /** In elements. */
  readonly size: number
}

/** Where the bytes of a storage are. */
interface Content {
  readonly offset: number
  readonly verify?: () => Promise<void>
}

class StorageReference implements Storage {
  constructor(
    readonly key: string,
    readonly dtype: string,
    readonly size: number,
  ) {}
}

class TensorReference {
  constructor(
    readonly storage: Storage,
    /** In elements. */
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** Reads a pytorch_model.bin; a WeightsError says what in it is no plain state dict. Nothing in the file is ever run. */
export async function readPytorch(source: ByteSource): Promise<StoredTensors> {
  const fail: Fail = (reason) => new WeightsError(`${source.name}: ${reason}`)
  const start = await readRange(source, 0, Math.min(source.size, 4))
  if (String.fromCharCode(...start) === 'PK\x03\x04') return readArchive(source, fail)
  if (start[0] === 0x80) return readLegacy(source, fail)
  throw fail('it begins neither as a zip archive nor as a pickle; is it truncated or another format?')
}

async function readArchive(source: ByteSource, fail: Fail): Promise<StoredTensors> {
  const entries = await readZip(source)
  const pickles = [...entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickles.length !== 1) throw fail(`expected one data.pkl in the archive, but found ${pickles.length}`)
  const [pickle] = pickles
  const folder = pickle.name.slice(0, -'data.pkl'.length)
  if (pickle.size > MAX_PICKLE_BYTES)
    throw fail(`data.pkl has ${pickle.size} bytes; at most ${MAX_PICKLE_BYTES} are accepted`)
  await requireLittleEndian(source, entries.get(`${folder}byteorder`), fail)
  await verifyEntry(source, pickle)
  const bytes = await readRange(source, pickle.offset, pickle.size)
  const { value } = unpickle(bytes, 0, stateDictRules(5, fail))
  const contents = new Map<string, Content>()
  const contentOf = (storage: Storage): Content => {
    const known = contents.get(storage.key)
    if (known !== undefined) return known
    const entry = entries.get(`${folder}data/${storage.key}`)
    if (entry === undefined) throw fail(`the storage ${quote(storage.key)} is not in the archive`)
    requireSize(storage, entry.size, fail)
    let verified: Promise<void> | undefined
    const content: Content = {
      offset: entry.offset,
      verify: () => {
        verified ??= verifyEntry(source, entry)
        return verified
      },
    }
    contents.set(storage.key, content)
    return content
  }
  return new StoredTensors(source.name, tensorsOf(value, source, contentOf, fail), [source])
}

async function requireLittleEndian(source: ByteSource, entry: ZipEntry | undefined, fail: Fail): Promise<void> {
  if (entry === undefined) return
  const bytes = await readRange(source, entry.offset, Math.min(entry.size, 8))
  const order = String.fromCharCode(...bytes)
  if (order !== 'little') throw fail(`expected little-endian numbers, but its byteorder is ${quote(order)}`)
}

/** Pickles of a magic number, a version, the writer's machine, the state dict and the storages' keys; then the storages. */
async function readLegacy(source: ByteSource, fail: Fail): Promise<StoredTensors> {
  const bytes = await readRange(source, 0, Math.min(source.size, MAX_PICKLE_BYTES))
  let at = 0
  const next = (rules = stateDictRules(6, fail)): unknown => {
    const { value, end } = unpickle(bytes, at, rules)
    at = end
    return value
  }
  if (next() !== LEGACY_MAGIC) throw fail('it is a pickle, but not one that torch.save wrote')
  const version = next()
  if (version !== LEGACY_PROTOCOL) throw fail(`expected version ${LEGACY_PROTOCOL} of the format before zip`)
  const machine = next()
  if (machine instanceof Map && machine.get('little_endian') === false)
    throw fail('expected little-endian numbers, but it was written on a big-endian machine')
  const storages = new Map<string, Storage>()
  const state = next(stateDictRules(6, fail, storages))
  const keys = next()
  if (!Array.isArray(keys)) throw fail(`expected a list of storages, but found ${nameKind(keys)}`)
  const contents = new Map<string, Content>()
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined
    if (storage === undefined || contents.has(storage.key))
      throw fail('the list of storages names one that the state dict does not, or one twice')
    if (at + 8 > source.size) throw fail('it ends before its storages; is it truncated?')
    const count = new DataView((await readRange(source, at, 8)).buffer).getBigInt64(0, true)
    if (count !== BigInt(storage.size))
      throw fail(`the storage ${quote(storage.key)} has ${count} elements, but should have ${storage.size}`)
    at += 8
    contents.set(storage.key, { offset: at })
    at += bytesOf(storage)
    if (at > source.size) throw fail(`the storage ${quote(storage.key)} reaches beyond the file; is it truncated?`)
  }
  const contentOf = (storage: Storage): Content => {
    const content = contents.get(storage.key)
    if (content === undefined) throw fail(`the storage ${quote(storage.key)} is not in the file`)
    return content
  }
  return new StoredTensors(source.name, tensorsOf(state, source, contentOf, fail), [source])
}

const widthOf = (dtype: string): number => DTYPE_BITS[dtype] / 8
const bytesOf = ({ dtype, size }: Storage): number => size * widthOf(dtype)

function requireSize(storage: Storage, found: number, fail: Fail): void {
  if (bytesOf(storage) !== found)
    throw fail(`the storage ${quote(storage.key)} has ${found} bytes, but should have ${bytesOf(storage)}`)
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** A tuple of non-negative integers, as many as a tensor may have axes. */
function sizes(value: unknown): readonly number[] | undefined {
  if (!(value instanceof Tuple) || value.items.length > MAX_RANK) return undefined
  return value.items.every(isSize) ? (value.items as readonly number[]) : undefined
}

/** What a state dict's pickle may say. `fields` is the length of a storage's description; `storages` collects them by key. */
function stateDictRules(fields: 5 | 6, fail: Fail, storages = new Map<string, Storage>()): PickleRules {
  let copied = 0 // entries of lists that dicts were made of
  const persistent = (id: unknown): Storage => {
    const [kind, type, key, , size, view] = id instanceof Tuple ? id.items : []
    if (!(id instanceof Tuple) || id.items.length !== fields || kind !== 'storage' || !(type instanceof Global))
      throw fail('expected the pickle to describe a storage, but found something else')
    if (!Object.hasOwn(STORAGES, type.name)) throw fail(`expected a storage class, but found ${quote(type.name)}`)
    if (typeof key !== 'string' || !isSize(size) || !Number.isSafeInteger(size * 8))
      throw fail('expected a storage to have a key and a size, but found something else')
    if ((view ?? null) !== null)
      throw fail(`the storage ${quote(key)} is a view of another one, which is not supported`)
    const storage = new StorageReference(key, STORAGES[type.name], size)
    const known = storages.get(key)
    if (known === undefined) storages.set(key, storage)
    else if (known.dtype !== storage.dtype || known.size !== size)
      throw fail(`the storage ${quote(key)} is described twice, differently`)
    return known ?? storage
  }
  const rebuild = (args: readonly unknown[]): TensorReference => {
    const [storage, offset, shape, strides] = [args[0], args[1], sizes(args[2]), sizes(args[3])]
    if (
      !(storage instanceof StorageReference) ||
      !isSize(offset) ||
      shape === undefined ||
      strides?.length !== shape.length
    )
      throw fail('expected a tensor to have a storage, an offset, a shape and strides, but found something else')
    return new TensorReference(storage, offset, shape, strides)
  }
  const call = (callable: string, args: readonly unknown[]): unknown => {
    if (callable === REBUILD_TENSOR) return rebuild(args)
    if (callable === REBUILD_PARAMETER && args[0] instanceof TensorReference) return args[0]
    if (callable === ORDERED_DICT) {
      // a few bytes can call for copies of one long list, again and again
      copied += Array.isArray(args[0]) ? args[0].length : 0
      if (copied > MAX_TENSORS) throw fail(`calls of ${ORDERED_DICT} with more than ${MAX_TENSORS} entries in all`)
      return orderedDict(args, fail)
    }
    throw fail(`a call of ${callable} with what it cannot be called with`)
  }
  return { isKnown, call, persistent, fail }
}

/** Python 3 makes an empty one and adds entries; Python 2 gives a list of [key, value]. */
function orderedDict(args: readonly unknown[], fail: Fail): Map<unknown, unknown> {
  const [items = []] = args
  const pairs = Array.isArray(items) ? items : [undefined]
  const isPair = (pair: unknown): pair is [unknown, unknown] => Array.isArray(pair) && pair.length === 2
  if (args.length > 1 || !pairs.every(isPair)) throw fail(`a call of ${ORDERED_DICT} with what is no list of pairs`)
  return new Map(pairs)
}

function nameKind(value: unknown): string {
  if (value instanceof Map) return 'a dict'
  if (value instanceof TensorReference) return 'a tensor'
  if (value instanceof Tuple) return 'a tuple'
  return kindOf(value)
}

/** The tensors of a state dict, each known to lie inside its storage. */
function tensorsOf(
  state: unknown,
  source: ByteSource,
  contentOf: (storage: Storage) => Content,
  fail: Fail,
): Map<string, TensorPlace> {
  if (!(state instanceof Map)) throw fail(`expected a state dict, but found ${nameKind(state)}`)
  if (state.size > MAX_TENSORS)
    throw fail(`the state dict has ${state.size} entries; at most ${MAX_TENSORS} are accepted`)
  const tensors = new Map<string, TensorPlace>()
  for (const [name, value] of state as Map<unknown, unknown>) {
    if (typeof name !== 'string') throw fail(`expected the names of tensors to be strings, but found ${nameKind(name)}`)
    if (name.length > MAX_NAME_LENGTH) throw fail(`a tensor's name has more than ${MAX_NAME_LENGTH} characters`)
    if (value instanceof TensorReference) tensors.set(name, placeOf(name, value, source, contentOf, fail))
    else if (value === null || typeof value !== 'object') {
      tensors.set(name, { dtype: 'none (it is no tensor)', shape: [], length: 0, source, offset: 0 })
    } else {
      throw fail(
        `expected a state dict of tensors by name, but ${quote(name)} is ${nameKind(value)}; save the state dict itself`,
      )
    }
  }
  return tensors
}

function placeOf(
  name: string,
  { storage, offset, shape, strides }: TensorReference,
  source: ByteSource,
  contentOf: (storage: Storage) => Content,
  fail: Fail,
): TensorPlace {
  const width = widthOf(storage.dtype)
  const length = elementsOf(shape) * width
  const extent = extentOf(shape, strides)
  if (!(offset + extent <= storage.size))
    throw fail(`tensor ${quote(name)}: its elements reach beyond its storage of ${storage.size}`)
  // a view may repeat elements (torch's expand): what it yields is bounded by what the file has, not by what it says
  if (!(length <= source.size))
    throw fail(`tensor ${quote(name)}: its shape needs ${length} bytes, but the file has only ${source.size}`)
  const content = contentOf(storage)
  return {
    dtype: storage.dtype,
    shape,
    length,
    source,
    offset: content.offset + offset * width,
    strides,
    verify: content.verify,
  }
}
