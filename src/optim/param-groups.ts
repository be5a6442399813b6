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
