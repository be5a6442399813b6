import type { Piece } from '../formats/tensors.ts'
import type { BertConfig } from '../model/config.ts'
import { TorchGenerator } from '../torch-generator.ts'
import { nextTurn } from '../turns.ts'
import type { TensorPlace } from './layout.ts'

/** Elements made at a time: some milliseconds of work, so that the event loop stays free. */
const CHUNK = 1 << 16

/** sfc32 (Doty-Humphrey, PractRand), started from a 32-bit seed: uniform 32-bit integers. */
function sfc32(seed: number): () => number {
  let a = 0x9e3779b9
  let b = seed | 0
  let c = 0x243f6a88
  let counter = 1
  const next = () => {
    const t = (((a + b) | 0) + counter++) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + t) | 0
    return t >>> 0
  }
  for (let i = 0; i < 16; i++) next()
  return next
}

/** N(0, 1) by Marsaglia's polar method. */
export function normals(seed: number): () => number {
  const uniform = sfc32(seed)
  let spare: number | undefined
  return () => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    for (;;) {
      const u = uniform() * 2 ** -31 - 1
      const v = uniform() * 2 ** -31 - 1
      const s = u * u + v * v
      if (s >= 1 || s === 0) continue
      const factor = Math.sqrt((-2 * Math.log(s)) / s)
      spare = v * factor
      return u * factor
    }
  }
}

/** A seed of its own for each tensor, so that one tensor's values do not depend on which others are initialised. */
function tensorSeed(seed: number, name: string): number {
  let hash = seed >>> 0
  for (const c of name) hash = Math.imul(hash ^ c.charCodeAt(0), 16777619) ^ (hash >>> 15)
  return hash
}

/**
 * New tensors with their first values: N(0, initializer_range), the padding row zero, or one number (Transformers'
 * BertPreTrainedModel._init_weights). The same seed gives the same values. `added`: to the weights of a folder, which lacked them.
 * Those are what Transformers 5.18 draws for them in from_pretrained after torch.manual_seed(seed), so that a fine-tuning can be held
 * against one of PyTorch that begins alike.
 */
export function* firstValues(
  places: readonly TensorPlace[],
  config: BertConfig,
  seed: number,
  added: boolean,
): Generator<readonly [TensorPlace, AsyncGenerator<Piece>]> {
  const generator = added ? new TorchGenerator(seed) : undefined
  for (const place of bodyFirst(places).flat()) {
    const drawn = place.initializer === 'normal' && generator?.normals(place.elements, config.initializerRange)
    yield [place, withoutPadding(place, drawn || initialValues(place, config, seed))]
  }
}

/** Those of the body and those of the head: the order in which Transformers draws them. */
export function bodyFirst<Named extends { readonly name: string }>(tensors: readonly Named[]): [Named[], Named[]] {
  const ofBody = ({ name }: Named): boolean => name.startsWith('bert.')
  return [tensors.filter(ofBody), tensors.filter((tensor) => !ofBody(tensor))]
}

/** The padding row as zeros, in place of what was drawn for it. */
async function* withoutPadding({ zeroRow, shape }: TensorPlace, pieces: AsyncGenerator<Piece>): AsyncGenerator<Piece> {
  const [from, to] = zeroRow === undefined ? [0, 0] : [zeroRow * shape[1], (zeroRow + 1) * shape[1]]
  for await (const piece of pieces) {
    piece.values.fill(0, Math.max(0, from - piece.start), Math.max(0, to - piece.start))
    yield piece
  }
}

/** Chunk by chunk, each tensor from a stream of its own. */
async function* initialValues(place: TensorPlace, config: BertConfig, seed: number): AsyncGenerator<Piece> {
  const normal = normals(tensorSeed(seed, place.name))
  for (let start = 0; start < place.elements; start += CHUNK) {
    const values = new Float32Array(Math.min(CHUNK, place.elements - start))
    if (typeof place.initializer === 'number') values.fill(place.initializer)
    else if (place.initializer === 'ones') values.fill(1)
    else if (place.initializer === 'normal')
      for (let i = 0; i < values.length; i++) values[i] = normal() * config.initializerRange
    yield { start, values }
    await nextTurn()
  }
}
