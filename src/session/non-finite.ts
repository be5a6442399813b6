import { NonFiniteError } from '../errors.ts'
import { Arena } from '../graph/op-table.ts'
import { isTrainable, type TensorPlace } from './layout.ts'
import type { ModelRuntime } from './runtime.ts'
import { areFinite } from './state-dict.ts'

/** Finds the first tensor that is not finite: a weight, else a gradient, else the loss alone. */
export async function nonFiniteError(runtime: ModelRuntime, step: number, loss: number): Promise<NonFiniteError> {
  const places = [...runtime.layout.tensors.values()]
  const find = async <Place extends TensorPlace>(
    among: Place[],
    what: string,
    read: (place: Place) => Promise<Float32Array>,
  ) => {
    for (const place of among) if (!(await areFinite(await read(place)))) return `${what} ${place.name}`
    return undefined
  }
  const tensor =
    (await find(places, 'weight', (place) => runtime.readTensor(place))) ??
    (await find(places.filter(isTrainable), 'gradient of', (place) => runtime.readLike(Arena.gradients, place))) ??
    'loss'
  return new NonFiniteError(
    `Step ${step}: the loss is ${loss} and the first tensor that is not finite is: ${tensor}. No weight was changed`,
    step,
    tensor,
  )
}
