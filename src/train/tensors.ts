import { WeightsError } from '../errors.ts'
import { openSafetensors, writeSafetensors } from '../formats/safetensors-file.ts'
import type { StateDict } from './types.ts'

/** Reads every tensor of a safetensors file. Throws WeightsError or FileError. */
export async function readTensors(file: string): Promise<StateDict> {
  const source = await openSafetensors(file)
  try {
    const state: StateDict = new Map()
    for (const [name, { shape }] of source.tensors) state.set(name, { data: await source.read(name), shape })
    return state
  } finally {
    await source.close()
  }
}

export function writeTensors(file: string, state: StateDict): Promise<void> {
  const tensors = Array.from(state, ([name, { shape }]) => ({ name, shape }))
  return writeSafetensors(file, tensors, (name) => {
    const tensor = state.get(name)
    if (tensor === undefined) throw new WeightsError(`${file}: there is no tensor ${name}`)
    return tensor.data
  })
}
