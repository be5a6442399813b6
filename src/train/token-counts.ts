// The text of a dataset, read before the first update.
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { checkExamples, isStreamed } from './dataset.ts'
import type { Turn } from './slices.ts'
import { type Dataset, type OpenDataset, openDataset } from './trainer-options.ts'

/** Tokens of a dataset that are read: enough to know how frequent they are. */
const READ = 2 ** 22

/** The ids of each example, in the order of a first epoch, until there are four million that are not special. */
export async function* sequencesOf(
  dataset: Dataset,
  special: ReadonlySet<number>,
  turn: Turn,
): AsyncGenerator<number[]> {
  await turn()
  const { data }: OpenDataset = openDataset('the dataset', dataset, undefined)
  if (!isStreamed(data)) await checkExamples('the dataset', data)
  const examples = isStreamed(data) ? data.examples({ seed: 0, epoch: 0, skip: 0, shuffle: false }) : data
  let read = 0
  for await (const { inputIds } of examples) {
    await turn()
    const ids = inputIds.flat()
    yield ids
    for (const id of ids) if (!special.has(id)) read++
    if (read >= READ) break
  }
}

/** How often each of `vocabSize` tokens comes; special ones are left out. */
export async function tokenFrequencies(
  dataset: Dataset,
  { allSpecialIds }: BertTokenizer,
  vocabSize: number,
  turn: Turn,
): Promise<Float64Array> {
  const counts = new Float64Array(vocabSize)
  const special = new Set(allSpecialIds)
  for await (const ids of sequencesOf(dataset, special, turn)) for (const id of ids) if (!special.has(id)) counts[id]++
  return counts
}
