import { describe, expect, test } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { AbortedError } from '../../src/errors.ts'
import { normals } from '../../src/session/initialize.ts'
import { BertForMaskedLM } from '../../src/session/models.ts'
import { Cooccurrence } from '../../src/train/cooccurrence.ts'
import { lowRank, type SparseMatrix } from '../../src/train/low-rank.ts'
import { stoppableSlices } from '../../src/train/slices.ts'
import type { StreamedDataset } from '../../src/train/types.ts'
import { initializeWordEmbeddings } from '../../src/train/word-embeddings.ts'
import { tinyConfig } from '../session/tiny.ts'

const turn = stoppableSlices(undefined)
type Dense = number[][]
const dense = ({ columns, indices, starts, values }: SparseMatrix): Dense =>
  Array.from({ length: starts.length - 1 }, (_, row) => {
    const numbers = Array<number>(columns).fill(0)
    for (let at = starts[row]; at < starts[row + 1]; at++) numbers[indices[at]] = values[at]
    return numbers
  })
const timesTransposed = (a: Dense, b: Dense): Dense =>
  a.map((x) => b.map((y) => x.reduce((sum, value, k) => sum + value * y[k], 0)))

describe('what is near', () => {
  const SEPARATOR = 3
  const counted = (sequences: number[][]): Cooccurrence => {
    const frequencies = new Float64Array(4)
    for (const id of sequences.flat()) if (id !== SEPARATOR) frequencies[id]++
    const near = new Cooccurrence(frequencies)
    for (const sequence of sequences) near.add(sequence, new Set([SEPARATOR]))
    return near
  }

  test('counts by its distance, on both sides, and not across a border', async () => {
    const sequences = [
      [0, 1, 0],
      [3, 1, 3, 2, 2, 3],
    ]
    // contexts by how frequent they are: 0, 1 and 2, twice each
    const table = [
      [2 / 2, 2, 0],
      [2, 0, 0],
      [0, 0, 2],
      [0, 0, 0],
    ]
    const sums = table.map((row) => row.reduce((sum, each) => sum + each))
    const smoothed = [0, 1, 2].map((j) => table.reduce((sum, row) => sum + row[j], 0) ** 0.75)
    const all = smoothed.reduce((sum, each) => sum + each)
    const expected = table.map((row, i) =>
      row.map((count, j) => (count > 0 ? Math.max(0, Math.log(((count / sums[i]) * all) / smoothed[j])) : 0)),
    )
    const found = dense(await counted(sequences).positiveInformation(turn))
    for (const [i, row] of expected.entries())
      for (const [j, value] of row.entries()) expect(found[i][j]).toBeCloseTo(value, 6)
    expect(expected.flat().filter((value) => value > 0).length).toBe(3)
  })

  test('reaches five tokens', async () => {
    const isNear = async (distance: number): Promise<boolean> => {
      // what is between is no context
      const near = new Cooccurrence(Float64Array.of(1, 0, 1))
      near.add([0, ...Array<number>(distance - 1).fill(1), 2], new Set())
      return dense(await near.positiveInformation(turn))[0][1] > 0
    }
    expect([await isNear(5), await isNear(6)]).toEqual([true, false])
  })
})

describe('the square root of a matrix by its singular values', () => {
  const normal = normals(7)
  /** Numbers of a matrix whose rank is as given, a third of them 0 in a full one. */
  function matrixOf(rows: number, columns: number, rank: number): SparseMatrix {
    const [a, b] = [rows, columns].map((n) => Array.from({ length: n }, () => Array.from({ length: rank }, normal)))
    const full = timesTransposed(a, b)
    const starts = Uint32Array.from({ length: rows + 1 }, (_, i) => i * columns)
    const indices = Uint16Array.from({ length: rows * columns }, (_, at) => at % columns)
    return { columns, starts, indices, values: Float32Array.from(full.flat()) }
  }
  const rowsOf = (values: Float64Array, width: number): Dense =>
    Array.from({ length: values.length / width }, (_, i) => [...values.subarray(i * width, (i + 1) * width)])

  test.each([
    [40, 30, 5, 5],
    [30, 40, 5, 8],
    [12, 9, 9, 9],
    [9, 12, 3, 20],
  ])('%d x %d of rank %d, in %d dimensions', async (rows, columns, rank, dimensions) => {
    const matrix = matrixOf(rows, columns, rank)
    const factors = await lowRank(matrix, dimensions, normal, turn)
    expect(factors.dimensions).toBe(Math.min(dimensions, rows, columns))
    const vectors = rowsOf(factors.rows, factors.dimensions)
    const inner = timesTransposed(vectors, vectors)
    // (U S U')(U S U') = U S^2 U' = M M'
    const m = dense(matrix)
    const [found, expected] = [timesTransposed(inner, inner), timesTransposed(m, m)]
    const most = Math.max(...expected.flat().map(Math.abs))
    for (const [i, row] of expected.entries())
      for (const [j, value] of row.entries()) expect(Math.abs(found[i][j] - value)).toBeLessThan(1e-5 * most)
  })
})

const VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'red', 'blue', 'car', 'bike', 'one', 'two', 'unseen']
const tokenizer = BertTokenizer.fromVocab(VOCABULARY)
const newModel = () => new BertForMaskedLM(tinyConfig({ vocabSize: VOCABULARY.length }), { seed: 3 })
const NAME = 'bert.embeddings.word_embeddings.weight'
// colours stand before vehicles, which numbers follow
const data = ['red', 'blue'].flatMap((colour) =>
  ['car', 'bike'].flatMap((thing) =>
    ['one', 'two'].map((number) => ({ inputIds: tokenizer.encode(`${colour} ${thing} ${number}`).inputIds })),
  ),
)
const rowOf = (values: ArrayLike<number>, word: string): number[] => {
  const [id] = tokenizer.convertTokensToIds([word])
  const width = values.length / VOCABULARY.length
  return Array.from(values).slice(id * width, (id + 1) * width)
}

test('words that stand near the same words are alike, and as long as they were; those that the text lacks stay', async () => {
  using model = newModel()
  using other = newModel()
  const done: number[] = []
  await initializeWordEmbeddings(model, { data }, tokenizer, { onProgress: (share) => done.push(share) })
  const [state, before] = [await model.stateDict(), await other.stateDict()]
  const values = state.get(NAME)!.data
  const alike = (a: string, b: string): number => {
    const [x, y] = [rowOf(values, a), rowOf(values, b)]
    return x.reduce((sum, value, k) => sum + value * y[k], 0) / x.length / model.config.initializerRange ** 2
  }
  for (const word of ['red', 'blue', 'car', 'bike', 'one', 'two']) expect(alike(word, word)).toBeCloseTo(1, 5)
  for (const [a, b] of [
    ['red', 'blue'],
    ['car', 'bike'],
    ['one', 'two'],
  ])
    expect(alike(a, b)).toBeGreaterThan(0.9)
  for (const [a, b] of [
    ['red', 'car'],
    ['blue', 'one'],
    ['bike', 'two'],
  ])
    expect(alike(a, b)).toBeLessThan(0.5)
  for (const word of ['[PAD]', '[CLS]', '[SEP]', '[MASK]', 'unseen'])
    expect(rowOf(values, word)).toEqual(rowOf(before.get(NAME)!.data, word))
  for (const [name, { data }] of state) if (name !== NAME) expect(data, name).toEqual(before.get(name)!.data)
  expect(done.at(-1)).toBe(1)
  expect(done).toEqual([...done].sort((a, b) => a - b))
})

test('the same text gives the same embeddings, and none leaves them as they are', async () => {
  using model = newModel()
  using other = newModel()
  await initializeWordEmbeddings(model, { data: [{ inputIds: [2, 3] }] }, tokenizer)
  expect(await model.stateDict()).toEqual(await other.stateDict())
  for (const each of [model, other]) await initializeWordEmbeddings(each, { data }, tokenizer)
  expect(await model.stateDict()).toEqual(await other.stateDict())
})

test('tokens near which nothing stands keep theirs', async () => {
  using model = newModel()
  using other = newModel()
  const alone = ['unseen', 'two'].map((word) => ({ inputIds: tokenizer.encode(word).inputIds }))
  const together = data.filter(({ inputIds }) => !inputIds.includes(tokenizer.convertTokensToIds(['two'])[0]))
  await initializeWordEmbeddings(model, { data: [...together, ...alone] }, tokenizer)
  const [values, before] = [(await model.stateDict()).get(NAME)!.data, (await other.stateDict()).get(NAME)!.data]
  for (const word of ['unseen', 'two']) expect(rowOf(values, word)).toEqual(rowOf(before, word))
  expect(rowOf(values, 'red')).not.toEqual(rowOf(before, 'red'))
})

test('it can be stopped, early and late', async () => {
  using model = newModel()
  const endless: StreamedDataset = {
    length: 1,
    async *examples() {
      for (;;) yield* data
    },
  }
  const stopping = initializeWordEmbeddings(model, { data: endless }, tokenizer, { signal: AbortSignal.abort() })
  await expect(stopping).rejects.toThrow(AbortedError)
  using late = newModel()
  using other = newModel()
  const abort = new AbortController()
  const onProgress = (): void => abort.abort()
  await expect(
    initializeWordEmbeddings(late, { data }, tokenizer, { onProgress, signal: abort.signal }),
  ).rejects.toThrow(AbortedError)
  expect(await late.stateDict()).toEqual(await other.stateDict())
})
