// Which parameters decay, by the rule of Transformers' Trainer (trainer.py, get_decay_parameter_names).

/** Parameters that share a learning rate and a weight decay. `params` are Hugging Face names. */
export interface ParamGroup {
  params: string[]
  lr: number
  weightDecay: number
  /** The rate before any schedule; written by the first scheduler. */
  initialLr?: number
}

const NO_DECAY = /bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)/

/** Whether a parameter is left out of weight decay: biases and everything in a normalisation layer. */
export const noDecay = (name: string): boolean => NO_DECAY.test(name.toLowerCase())

/**
 * The two groups of Transformers' Trainer: first what decays, then what does not. Either may be empty, so that a group's index
 * means the same for every model; the order of names is kept.
 */
export function defaultParamGroups(
  names: Iterable<string>,
  { lr, weightDecay }: { lr: number; weightDecay: number },
): [decayed: ParamGroup, undecayed: ParamGroup] {
  const decayed: ParamGroup = { params: [], lr, weightDecay }
  const undecayed: ParamGroup = { params: [], lr, weightDecay: 0 }
  for (const name of names) (noDecay(name) ? undecayed : decayed).params.push(name)
  return [decayed, undecayed]
}

const LAYER = /(?:^|\.)encoder\.layer\.(\d+)\./
const EMBEDDINGS = /(?:^|\.)embeddings\./

/**
 * Groups by depth, the rate of each `decay` times that of the one above: the head and the pooler have `lr`, the top layer
 * lr * decay, the embeddings lr * decay^(layers + 1) (Howard and Ruder 2018, "discriminative fine-tuning"; Clark et al. 2020,
 * ELECTRA). In each depth first what decays, then what does not; the head comes first, so that group 0 has the highest rate. Groups
 * without parameters are left out.
 */
export function layerwiseParamGroups(
  names: readonly string[],
  { lr, weightDecay, decay }: { lr: number; weightDecay: number; decay: number },
): ParamGroup[] {
  const layerOf = (name: string): number => Number(LAYER.exec(name)?.[1] ?? Number.NaN)
  const layers = names.reduce((most, name) => Math.max(most, (layerOf(name) || 0) + 1), 0)
  const byDistance: string[][] = Array.from({ length: layers + 2 }, () => [])
  for (const name of names) {
    const layer = layerOf(name)
    const distance = !Number.isNaN(layer) ? layers - layer : EMBEDDINGS.test(name) ? layers + 1 : 0
    byDistance[distance].push(name)
  }
  return byDistance
    .flatMap((params, distance) => defaultParamGroups(params, { lr: lr * decay ** distance, weightDecay }))
    .filter(({ params }) => params.length > 0)
}
