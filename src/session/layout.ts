import { roundUp } from '../graph/graph.ts'
import { elementsOf, type Parameter, type ParameterPart } from '../model/parameters.ts'
import { noDecay } from '../optim/param-groups.ts'

/** Where one Hugging Face tensor lies; byte offsets. */
export interface TensorPlace extends ParameterPart {
  readonly elements: number
  readonly weights: number
  readonly gradients: number
  /** Where the gradient of the parameter that it is a part of begins. */
  readonly owner: number
}

/** The flat buffers of a model: weights, and gradients and moments in the same order. */
export interface Layout {
  readonly tensors: ReadonlyMap<string, TensorPlace>
  readonly parameters: readonly Parameter[]
  readonly bytes: number
}

const isUndecayed = (parameter: Parameter): boolean => noDecay(parameter.parts[0].name)

/**
 * Gives every parameter its place, at 64-byte borders: first what decays, then what does not, so that the usual two parameter
 * groups are two stretches that AdamW sweeps in one record each. The bytes between parameters stay zero.
 */
export function layOut(parameters: readonly Parameter[]): Layout {
  const tensors = new Map<string, TensorPlace>()
  const ordered = [...parameters.filter((p) => !isUndecayed(p)), ...parameters.filter(isUndecayed)]
  let offset = 0
  for (const owner of ordered) {
    owner.slot = { name: owner.name, width: owner.width, weights: offset, gradients: offset }
    let at = offset
    for (const part of owner.parts) {
      const elements = elementsOf(part.shape)
      tensors.set(part.name, { ...part, elements, weights: at, gradients: at, owner: offset })
      at += elements * 4
    }
    offset += roundUp(owner.width * 4)
  }
  // names in the order of declaration, which is Hugging Face's
  const named = new Map(parameters.flatMap(({ parts }) => parts.map(({ name }) => [name, tensors.get(name)!])))
  return { tensors: named, parameters: ordered, bytes: offset }
}
