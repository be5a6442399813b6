import { type ParameterSlot, roundUp } from '../graph/graph.ts'
import { elementsOf, type Parameter, type ParameterPart } from '../model/parameters.ts'
import { noDecay } from '../optim/param-groups.ts'

/** Where one Hugging Face tensor lies; byte offsets. */
export interface TensorPlace extends ParameterPart {
  readonly elements: number
  readonly weights: number
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

const isBuffer = ({ parts }: Parameter): boolean => parts[0].buffer === true
const isUndecayed = (parameter: Parameter): boolean => noDecay(parameter.parts[0].name)

/**
 * Gives every parameter its place, at 64-byte borders: first what decays, then what does not, so that the usual two parameter
 * groups are two stretches that AdamW sweeps in one record each; last the buffers, which are always frozen. The bytes between
 * parameters stay zero.
 */
export function layOut(parameters: readonly Parameter[], isFrozen: (name: string) => boolean = () => false): Layout {
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
    const trained = parts.filter((part) => !part.buffer && !isFrozen(part.name))
    const whole = trained.length === parts.length ? room(width) : undefined
    const slots: ParameterSlot[] = []
    let at = weights
    for (const part of parts) {
      const elements = elementsOf(part.shape)
      const place = { ...part, elements, weights: at }
      if (whole !== undefined) {
        tensors.set(part.name, { ...place, gradients: whole + at - weights, owner: whole })
      } else {
        const own = trained.includes(part) ? room(elements) : undefined
        tensors.set(part.name, { ...place, gradients: own, owner: own })
        if (own !== undefined) slots.push({ name: part.name, width: elements, weights: at, gradients: own })
      }
      at += elements * 4
    }
    parameter.slot = { name, width, weights, gradients: whole, ...(slots.length ? { parts: slots } : {}) }
    weights += roundUp(width * 4)
  }
  // names in the order of declaration, which is Hugging Face's
  const named = new Map(parameters.flatMap(({ parts }) => parts.map(({ name }) => [name, tensors.get(name)!])))
  return { tensors: named, weightBytes: weights, gradientBytes: gradients }
}
