// What callers may give in more than one form, and how errors name what they gave.
import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { BertForMultipleChoice, BertForTokenClassification } from '../../src/session/models.ts'
import { sequences, tinyClassifier, tinyConfig } from './tiny.ts'

const inputIds = sequences([4, 3])

describe('labels of a model whose problem type is open', () => {
  it.each([
    ['a number each', [1, 0]],
    ['a row of one each', [[1], [0]]],
    ['a tensor [batch, 1]', { data: Int32Array.of(1, 0), shape: [2, 1] }],
    ['64-bit integers', { data: BigInt64Array.of(1n, 0n), shape: [2] }],
  ])('%s: classes', async (_, labels) => {
    using expected = tinyClassifier({ problemType: 'single_label_classification' }, { seed: 1 })
    using model = tinyClassifier({}, { seed: 1 })
    const { loss } = await model.forward({ inputIds, labels })
    expect(model.config.problemType).toBe('single_label_classification')
    expect(loss).toBe((await expected.forward({ inputIds, labels: [1, 0] })).loss)
  })

  it('a row for each label is several labels', async () => {
    using model = tinyClassifier()
    await model.forward({
      inputIds,
      labels: [
        [1, 0, 1],
        [0, 0, 1],
      ],
    })
    expect(model.config.problemType).toBe('multi_label_classification')
  })
})

describe('64-bit integers', () => {
  const shape = [2, 4]
  const ids = [7, 8, 9, 10, 11, 12, 13, 14]
  const classes = [0, 2, -100, 1, 1, 0, 2, -100]

  it('are ids and labels as numbers are', async () => {
    using model = new BertForTokenClassification(tinyConfig())
    const plain = await model.forward({ inputIds: { data: ids, shape }, labels: { data: classes, shape } })
    const wide = (data: number[]) => ({ data: BigInt64Array.from(data, BigInt), shape })
    expect(await model.forward({ inputIds: wide(ids), labels: wide(classes) })).toEqual(plain)
    const rows = [ids.slice(0, 4), ids.slice(4)]
    const ragged = [classes.slice(0, 4), classes.slice(4)].map((row) => BigInt64Array.from(row, BigInt))
    const { loss } = await model.forward({ inputIds: rows, labels: ragged as unknown as number[][] })
    expect(loss).toBe(plain.loss)
  })

  it('that are no class are refused with what they are', async () => {
    using model = tinyClassifier({ problemType: 'single_label_classification' })
    const labels = { data: BigInt64Array.of(1n, 3n), shape: [2] }
    const error = await model.forward({ inputIds, labels }).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ArgumentError)
    expect(error).toMatchObject({ message: 'Expected labels[1] to be a class from 0 to 2 (or -100) but received 3' })
  })
})

describe('multiple choice', () => {
  const choices = [
    [
      [5, 6],
      [7, 8],
    ],
    [[9], [10], [11]],
  ]

  it.each([
    [
      'an empty choice',
      { inputIds: [[[9, 9], []], [[9]]] },
      'inputIds[0][1] is empty; a sequence has at least one token',
    ],
    [
      'a choice that is too long',
      { inputIds: [[[9]], [[9], Array(17).fill(9)]] },
      'inputIds[1][1] has 17 tokens, but the model takes at most 16 (max_position_embeddings); truncate it',
    ],
    [
      'a token that there is not',
      { inputIds: [...choices, [[5, 99]]] },
      'inputIds[2][0][1] is 99, expected an integer from 0 to 52 (vocab_size 53)',
    ],
    ['no number', { inputIds: [[[5, null]]] }, 'inputIds[0][0][1] is null, expected'],
    [
      'token types of another length',
      { inputIds: choices, tokenTypeIds: [choices[0], [[0], [0], [0, 0]]] },
      'Expected tokenTypeIds[1][2] to have 1 elements, as inputIds[1][2], but received 2',
    ],
  ])('%s is named by example and choice', async (_, inputs, message) => {
    using model = new BertForMultipleChoice(tinyConfig())
    const error = await model.forward(inputs as { inputIds: number[][][] }).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ArgumentError)
    expect((error as Error).message).toContain(message)
  })
})

it('an id of any kind is shown as it is', async () => {
  using model = tinyClassifier()
  const wrong: unknown[] = [Number.NaN, undefined, 'a', Symbol('s'), {}]
  const shown = ['NaN', 'undefined', '"a"', 'Symbol(s)', '{}']
  for (const [i, value] of wrong.entries())
    await expect(model.forward({ inputIds: [[5, value as number]] })).rejects.toThrow(
      `inputIds[0][1] is ${shown[i]}, expected an integer from 0 to 52`,
    )
})
