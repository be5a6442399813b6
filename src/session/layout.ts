import { ConfigError } from '../errors.ts'
import { type ParameterSlot, roundUp } from '../graph/graph.ts'
import { MAX_ARENA_BYTES } from '../graph/plan.ts'
import { int8Words } from '../int8.ts'
import type { Parameter, ParameterPart } from '../model/parameters.ts'
import { noDecay } from '../optim/param-groups.ts'
import { elementsOf } from '../tensor.ts'

/** Rows of a matrix that is kept as int8 (src/int8.ts), the whole of it or a part of a stack; byte offsets. */
export interface Int8Place {
  /** Where the words and the scales of the whole matrix begin. */
  readonly words: number
  readonly scales: number
  readonly first: number
  readonly rows: number
  readonly columns: number
  /** Of the whole matrix. */
  readonly allRows: number
}

/** Where one Hugging Face tensor lies; byte offsets. */
export interface TensorPlace extends ParameterPart {
  readonly elements: number
  readonly weights: number
  /** Undefined: it is float32, at `weights`. */
  readonly int8?: Int8Place
  /** Undefined: frozen. */
  readonly gradients: number | undefined
  /** Where the gradient begins that it is a part of: its own, or that of its stack. */
  readonly owner: number | undefined
}

/** A tensor that is not frozen. */
export type TrainablePlace = TensorPlace & { readonly gradients: number; readonly owner: number }

export const isTrainable = (place: TensorPlace): place is TrainablePlace => place.gradients !== undefined

/** The flat buffers of a model: weights, and gradients and moments in the same order without what is frozen. */
export interface Layout {
  readonly tensors: ReadonlyMap<string, TensorPlace>
  readonly weightBytes: number
  readonly gradientBytes: number
}

/** A matrix as int8 from this offset on, where that is smaller: not where it has too few rows to fill a panel. */
function int8Matrix({ width, parts }: Parameter, offset: number): Omit<Int8Place, 'first' | 'rows'> | undefined {
  if (!parts.every(({ matrix }) => matrix)) return undefined
  const columns = parts[0].shape[1]
  const allRows = width / columns
  const words = int8Words(allRows, columns)
  return words + allRows < width ? { words: offset, scales: offset + roundUp(words * 4), columns, allRows } : undefined
}

const isBuffer = ({ parts }: Parameter): boolean => parts[0].buffer === true
const isUndecayed = (parameter: Parameter): boolean => noDecay(parameter.parts[0].name)

/**
 * Gives every parameter its place, at 64-byte borders: first what decays, then what does not, so that the usual two parameter
 * groups are two stretches that AdamW sweeps in one record each; last the buffers, which are always frozen. The bytes between
 * parameters stay zero. `int8`: matrices are kept as such, and everything is frozen.
 */
export function layOut(
  parameters: readonly Parameter[],
  int8 = false,
  isFrozen: (name: string) => boolean = () => false,
): Layout {
  const tensors = new Map<string, TensorPlace>()
  const rank = (parameter: Parameter): number => (isBuffer(parameter) ? 2 : isUndecayed(parameter) ? 1 : 0)
  const ordered = [...parameters].sort((a, b) => rank(a) - rank(b))
  let weights = 0
  let gradients = 0
  const room = (elements: number): number => {
    const offset = gradients
    gradients += roundUp(elements * 4)
    return offset
  }
  for (const parameter of ordered) {
    const { name, width, parts } = parameter
    const trained = parts.filter((part) => !part.buffer && !int8 && !isFrozen(part.name))
    const whole = trained.length === parts.length ? room(width) : undefined
    const matrix = int8 ? int8Matrix(parameter, weights) : undefined
    const slots: ParameterSlot[] = []
    let first = 0 // element of the stack
    for (const part of parts) {
      const elements = elementsOf(part.shape)
      const place: Omit<TensorPlace, 'gradients' | 'owner'> = matrix
        ? { ...part, elements, weights, int8: { ...matrix, first: first / matrix.columns, rows: part.shape[0] } }
        : { ...part, elements, weights: weights + first * 4 }
      if (whole !== undefined) {
        tensors.set(part.name, { ...place, gradients: whole + first * 4, owner: whole })
      } else {
        const own = trained.includes(part) ? room(elements) : undefined
        tensors.set(part.name, { ...place, gradients: own, owner: own })
        if (own !== undefined) slots.push({ name: part.name, width: elements, weights: place.weights, gradients: own })
      }
      first += elements
    }
    const slot = { name, width, weights, gradients: whole, ...(slots.length ? { parts: slots } : {}) }
    parameter.slot = matrix
      ? {
          ...slot,
          int8: { words: int8Words(matrix.allRows, matrix.columns), rows: matrix.allRows, scales: matrix.scales },
        }
      : slot
    weights = matrix ? matrix.scales + roundUp(matrix.allRows * 4) : weights + roundUp(width * 4)
  }
  if (weights > MAX_ARENA_BYTES)
    throw new ConfigError(
      `The weights need ${(weights / 2 ** 30).toFixed(1)} GiB, more than ${MAX_ARENA_BYTES / 2 ** 30}: take a smaller model`,
    )
  // names in the order of declaration, which is Hugging Face's
  const named = new Map(parameters.flatMap(({ parts }) => parts.map(({ name }) => [name, tensors.get(name)!])))
  return { tensors: named, weightBytes: weights, gradientBytes: gradients }
}
