// Records what programs do on a backend, so that bench/cuda/driver.py can do the same on a machine without Node and compare.
//
// A recording is a folder of two files. index.json.gz is {"format": 1, "piece", "block", "cases"}; a case is one run:
//
//   name      what it is part of, such as the name of a test; and what else the caller says about it
//   words     the plan, of native/runtime/plan.h
//   scalars   float64
//   before    contents of the plan's arenas by their ids, before the run
//   after     the same after it; empty where the run failed, or where nothing was run
//   error     {number: of api.h, message}, where it failed
//
// Words, scalars and arenas are blobs, {"bytes", "runs": [[first piece, pieces], ...]}: their bytes are cut into pieces of 256, and
// each piece is stored once, so that the runs of one model share what they do not change. data.bin.gz holds the pieces in blocks
// of 64 KiB. A block is four planes: the first bytes of all its words, the second, and so on, because those resemble each other.
//
// A recording may have a limit, because what can be carried to a machine has one. Then each name keeps a part of its runs.
import { hash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'

const PIECE = 256
const BLOCK = 65536
/** Blocks that are compressed together. */
const BLOCKS = 16

/** native/runtime/plan.h: the header is 6 words, a capacity for each row symbol, the number of scalars, a size for each arena. */
const ROWS = 9
const ARENAS = 8
const UNIT = 64

/** Bytes that a plan needs of each arena. */
const arenaBytes = (words) => Array.from(words.subarray(7 + ROWS, 7 + ROWS + ARENAS), (units) => units * UNIT)

/** The words of a plan for each of its records, which has the arenas that the record touches. */
function singles({ words, records }) {
  const header = 7 + ROWS + ARENAS
  let at = header
  return records.map(({ op }) => {
    const body = words.subarray(at, at + words[at + 1])
    const single = Int32Array.of(...words.subarray(0, header), ...body)
    single[4] = 1
    single[5] = single.length
    const places = body.subarray(2, 2 + op.operands.length)
    for (let arena = 0; arena < ARENAS; arena++)
      if (!places.some((place) => place !== -1 && place >>> 28 === arena)) single[7 + ROWS + arena] = 0
    at += body.length
    return single
  })
}

/** Pieces by their contents. */
class Pieces {
  #known = new Map()
  #slabs = []

  /** The numbers of the pieces of `bytes`. `like`: those of a blob that probably has much in common at the same places. */
  add(bytes, like) {
    const ids = new Int32Array(Math.ceil(bytes.length / PIECE))
    for (let i = 0; i < ids.length; i++) {
      const [from, to] = [i * PIECE, Math.min(bytes.length, (i + 1) * PIECE)]
      const piece = Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from)
      const same = like && like.source.length >= to && piece.compare(like.source, from, to) === 0
      ids[i] = same ? like.ids[i] : this.#idOf(piece)
    }
    return { source: bytes, ids }
  }

  #idOf(piece) {
    const key = hash('sha1', piece, 'base64')
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const id = this.#known.size
    this.#known.set(key, id)
    if ((id * PIECE) % BLOCK === 0) this.#slabs.push(new Uint8Array(BLOCK))
    this.#slabs.at(-1).set(piece, (id * PIECE) % BLOCK)
    return id
  }

  /** Writes these pieces one after another. */
  write(file, ids) {
    const handle = fs.openSync(file, 'w')
    const together = (BLOCK * BLOCKS) / PIECE
    for (let first = 0; first < ids.length; first += together) {
      const some = ids.slice(first, first + together)
      const planes = new Uint8Array(Math.ceil((some.length * PIECE) / BLOCK) * BLOCK)
      for (const [i, id] of some.entries()) {
        const [slab, from] = [this.#slabs[Math.floor((id * PIECE) / BLOCK)], (id * PIECE) % BLOCK]
        const [block, to] = [Math.floor((i * PIECE) / BLOCK) * BLOCK, (i * PIECE) % BLOCK]
        for (let at = 0; at < PIECE; at++) planes[block + (at % 4) * (BLOCK / 4) + ((to + at) >> 2)] = slab[from + at]
      }
      fs.writeSync(handle, gzipSync(planes))
    }
    fs.closeSync(handle)
  }
}

/** A blob as the index has it, its pieces renumbered. */
function entry({ bytes, ids }, numbers) {
  const runs = []
  for (const id of ids) {
    const number = numbers.get(id)
    const last = runs.at(-1)
    if (last && last[0] + last[1] === number) last[1]++
    else runs.push([number, 1])
  }
  return { bytes, runs }
}

const blobsOf = ({ words, scalars, before, after }) => [words, scalars, ...before.values(), ...after.values()]

/** The cases by their names, each with the bytes of its pieces, the smallest first. */
function groupsOf(cases) {
  const groups = new Map()
  for (const one of cases) {
    const bytes = PIECE * new Set(blobsOf(one).flatMap(({ ids }) => [...ids])).size
    groups.set(one.name, [...(groups.get(one.name) ?? []), { one, bytes }])
  }
  return [...groups.values()].map((group) => group.sort((a, b) => a.bytes - b.bytes))
}

/**
 * The cases of each group that fit an allowance of bytes, the same multiple of the square root of what all of them take: one half is
 * spent on the smallest cases, which are many, the other on the largest that fit.
 */
function select(groups, factor) {
  const chosen = new Set()
  for (const group of groups) {
    let left = factor * Math.sqrt(group.reduce((sum, { bytes }) => sum + bytes, 0))
    const half = left / 2
    const take = ({ one, bytes }, reserve) => {
      if (chosen.has(one) || bytes > left - reserve) return
      chosen.add(one)
      left -= bytes
    }
    for (const sized of group) take(sized, half)
    for (const sized of group.toReversed()) take(sized, 0)
  }
  return [...chosen]
}

/** The numbers of all pieces of these cases, in the order in which they are first needed. */
function piecesOf(cases) {
  const numbers = new Map()
  for (const one of cases)
    for (const { ids } of blobsOf(one)) for (const id of ids) if (!numbers.has(id)) numbers.set(id, numbers.size)
  return numbers
}

/** As many cases as have together at most `limit` bytes of pieces. */
function within(cases, limit) {
  if (piecesOf(cases).size * PIECE <= limit) return cases
  const groups = groupsOf(cases)
  let [low, high] = [0, 2 ** 13]
  for (let i = 0; i < 12; i++) {
    const factor = (low + high) / 2
    if (piecesOf(select(groups, factor)).size * PIECE <= limit) low = factor
    else high = factor
  }
  const chosen = new Set(select(groups, low))
  return cases.filter((one) => chosen.has(one))
}

/** The number in native/api.h of what a backend has thrown. */
function errorNumber({ name, reason }) {
  if (name === 'PlanError') return 1
  if (name === 'ArgumentError') return 3
  if (name === 'AbortedError') return 4
  return { memory: 2, device: 6 }[reason] ?? 5
}

class RecordedMemory {
  inner
  #sizes = new Map()

  constructor(inner) {
    this.inner = inner
  }

  reserve(arena, bytes) {
    this.inner.reserve(arena, bytes)
    this.#sizes.set(arena, Math.max(bytes, this.#sizes.get(arena) ?? 0))
  }

  release(arena) {
    this.inner.release(arena)
    this.#sizes.delete(arena)
  }

  write(arena, offset, source) {
    this.inner.write(arena, offset, source)
  }

  read(arena, offset, target) {
    return this.inner.read(arena, offset, target)
  }

  dispose() {
    this.inner.dispose()
  }

  /** What the plan's arenas hold now: asked for at once, there when the promise is. Only `wanted` ones, where given. */
  async contents(words, wanted) {
    const states = arenaBytes(words).map((bytes, arena) => [arena, Math.min(bytes, this.#sizes.get(arena) ?? 0)])
    return new Map(
      await Promise.all(
        states
          .filter(([arena, bytes]) => bytes > 0 && (wanted === undefined || wanted.includes(arena)))
          .map(async ([arena, bytes]) => {
            const state = new Int32Array(bytes / 4)
            await this.read(arena, 0, state)
            return [arena, new Uint8Array(state.buffer)]
          }),
      ),
    )
  }
}

export class Recorder {
  /** Runs that could not be recorded, because others were queued on the same memory. */
  skipped = 0
  #folder
  #limit
  #pieces = new Pieces()
  #cases = []

  /** `limit`: bytes that the recording may have before it is compressed, which saves a quarter of random numbers. */
  constructor(folder, limit = Number.POSITIVE_INFINITY) {
    this.#folder = folder
    this.#limit = limit
  }

  /**
   * A backend that records each run. `about()` is asked at its start: { name, and whatever the index is to have }. `arenas`: only
   * these are recorded, and what a run has changed is not, for a backend that runs nothing. `singly()`: whether each record of this
   * run is recorded as a run of its own before, on what those before it have left.
   */
  wrap(backend, about, { arenas, singly = () => false } = {}) {
    return {
      description: backend.description,
      createMemory: () => new RecordedMemory(backend.createMemory()),
      measurePeak: (peak, seconds) => backend.measurePeak(peak, seconds),
      close: () => backend.close(),
      compile: (plan) => {
        const program = backend.compile(plan)
        return {
          run: async (memory, scalars, signal, timed) => {
            if (singly()) await this.#runSingly(backend, about(), plan, memory, scalars)
            // both are asked for before anything is waited for, so that the memory is in use when the caller goes on
            const before = memory.contents(plan.words, arenas)
            const running = program.run(memory.inner, scalars, signal, timed)
            const run = { about: about(), words: plan.words, scalars: scalars.slice(), memory, before, arenas }
            return this.#record(run, running)
          },
          dispose: () => program.dispose(),
        }
      },
    }
  }

  async #runSingly(backend, about, plan, memory, scalars) {
    const states = await memory.contents(plan.words)
    for (const [i, words] of singles(plan).entries()) {
      const program = backend.compile({ words })
      const before = memory.contents(words)
      const named = { ...about, name: `${about.name}, record ${i}` }
      const run = { about: named, words, scalars: scalars.slice(), memory, before }
      await this.#record(run, program.run(memory.inner, scalars))
      program.dispose()
    }
    for (const [arena, state] of states) memory.write(arena, 0, new Int32Array(state.buffer))
  }

  async #record({ memory, before, arenas, ...run }, running) {
    const outcome = running.then(
      () => undefined,
      (error) => error,
    )
    const [states, error] = await Promise.all([before.catch(() => undefined), outcome])
    // read before the caller goes on; nothing was run where only some arenas count
    const after = error || arenas ? new Map() : await memory.contents(run.words).catch(() => undefined)
    if (states === undefined || after === undefined || (error && errorNumber(error) === 4)) this.skipped++
    else this.#add({ ...run, states, after, error })
    return running
  }

  #add({ about, words, scalars, states, after, error }) {
    const bytesOf = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength)
    const blob = ({ source, ids }) => ({ bytes: source.length, ids })
    const before = new Map([...states].map(([arena, state]) => [arena, this.#pieces.add(state)]))
    const changed = [...after].map(([arena, state]) => [arena, this.#pieces.add(state, before.get(arena))])
    const blobs = (map) => new Map([...map].map(([arena, added]) => [arena, blob(added)]))
    this.#cases.push({
      about,
      name: about.name,
      words: blob(this.#pieces.add(bytesOf(words))),
      scalars: blob(this.#pieces.add(bytesOf(scalars))),
      before: blobs(before),
      after: blobs(changed),
      error: error && { number: errorNumber(error), message: error.message },
    })
  }

  /** Writes the folder, and says what is in it. Nothing is recorded afterwards. */
  close() {
    fs.mkdirSync(this.#folder, { recursive: true })
    const kept = within(this.#cases, this.#limit)
    const numbers = piecesOf(kept)
    this.#pieces.write(path.join(this.#folder, 'data.bin.gz'), [...numbers.keys()])
    const entries = (blobs) => Object.fromEntries([...blobs].map(([arena, blob]) => [arena, entry(blob, numbers)]))
    const cases = kept.map(({ about, words, scalars, before, after, error }) => ({
      ...about,
      words: entry(words, numbers),
      scalars: entry(scalars, numbers),
      before: entries(before),
      after: entries(after),
      error,
    }))
    const index = { format: 1, piece: PIECE, block: BLOCK, cases }
    fs.writeFileSync(path.join(this.#folder, 'index.json.gz'), gzipSync(JSON.stringify(index)))
    const queued = this.skipped ? `, ${this.skipped} were queued behind others and cannot be told apart` : ''
    return `${kept.length} of ${this.#cases.length} runs are in ${this.#folder}${queued}`
  }
}
