/** A row or token with this label is left out of the loss: torch.nn.CrossEntropyLoss's ignore_index. */
export const IGNORE_INDEX = -100

/** How many labels a loss reads. */
export function countLabelled(labels: ArrayLike<number>): number {
  let count = 0
  for (let i = 0; i < labels.length; i++) if (labels[i] !== IGNORE_INDEX) count++
  return count
}
