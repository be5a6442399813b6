// What labels mean, head by head: none of them, some of them, wrong ones, and positions in padded and ragged input.
import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertForQuestionAnswering, BertForSequenceClassification } from '../../src/session/models.ts'
import type { Tensor } from '../../src/tensor.ts'
import {
  accumulated,
  expectSameGradients,
  headCases,
  inputsOf,
  make,
  NO_DROPOUT,
  norm,
  padded,
  slice,
} from './heads.ts'
import { sameBits, tinyConfig } from './tiny.ts'

const find = (name: string) => headCases().find((head) => head.name === name)!

/** Labels that leave everything out; regression and several labels have none such. */
const ignoring = headCases().filter(({ name }) => !/regression|several labels/.test(name))
const ignoreAll = (field: readonly unknown[], name: string): unknown[] =>
  field.map((row) => (Array.isArray(row) ? row.map(() => -100) : name.endsWith('Positions') ? 99 : -100))

describe('labels that leave everything out', () => {
  it.each(ignoring.map((head) => [head.name, head] as const))('%s: a loss of 0, gradients of 0', async (_, head) => {
    using model = make(head)
    const none = Object.fromEntries(head.labels.map((name) => [name, ignoreAll(head.batch[name], name)]))
    const batch = { ...head.batch, ...none }
    expect(await model.forward(inputsOf(batch))).toMatchObject({ loss: 0 })
    for (const labelSmoothing of [0, 0.1]) {
      const { loss, gradients } = await model.gradients(inputsOf(batch), { labelSmoothing })
      expect(loss).toBe(0)
      expect(gradients.size).toBeGreaterThan(30)
      for (const [name, { data }] of gradients)
        expect(
          data.every((g) => g === 0),
          name,
        ).toBe(true)
    }
    // beside a batch that has labels it changes nothing
    const alone = await accumulated(model.eval(), [head.batch])
    for (const batches of [
      [batch, head.batch],
      [head.batch, batch],
    ]) {
      const both = await accumulated(model, batches)
      expect(both.loss).toBe(alone.loss)
      expectSameGradients(both.gradients, alone.gradients, 1e-6)
    }
    // and an update is only the decay
    const before = await model.stateDict()
    await new AdamW(model, { lr: 0.1, weightDecay: 0 }).step(inputsOf(batch), { maxGradNorm: 1 })
    for (const [name, { data }] of await model.stateDict())
      expect(sameBits(data, before.get(name)!.data), name).toBe(true)
  })

  it('pre-training without masked words is next-sentence prediction, and the other way round', async () => {
    const head = find('pre-training')
    using model = make(head, NO_DROPOUT).eval()
    const { labels, nextSentenceLabel } = head.batch
    const noWords = { ...head.batch, labels: ignoreAll(labels, 'labels') }
    const noPairs = { ...head.batch, nextSentenceLabel: ignoreAll(nextSentenceLabel, 'nextSentenceLabel') }
    const whole = await model.gradients(inputsOf(head.batch))
    const pairs = await model.gradients(inputsOf(noWords))
    const words = await model.gradients(inputsOf(noPairs))
    expect(pairs.loss).toBeGreaterThan(0.1)
    expect(words.loss).toBeGreaterThan(0.1)
    expect(pairs.loss + words.loss).toBeCloseTo(whole.loss, 5)
    const gradient = (of: typeof whole, name: string) => norm(of.gradients.get(name)!.data)
    expect(gradient(pairs, 'cls.predictions.bias')).toBe(0)
    expect(gradient(pairs, 'cls.seq_relationship.weight')).toBeGreaterThan(0)
    expect(gradient(words, 'cls.predictions.bias')).toBeGreaterThan(0)
    expect(gradient(words, 'bert.pooler.dense.weight')).toBe(0)
    const sum = new Map(
      [...pairs.gradients].map(([name, { data, shape }]) => [
        name,
        { data: data.map((g, i) => g + words.gradients.get(name)!.data[i]), shape },
      ]),
    )
    expectSameGradients(sum, whole.gradients, 3e-5)
  })

  it('a missing label of two makes no loss in forward, and an error where there must be one', async () => {
    for (const name of ['pre-training', 'question answering']) {
      const head = find(name)
      using model = make(head)
      const { [head.labels[1]]: _, ...some } = head.batch
      expect(await model.forward(inputsOf(some))).toMatchObject({ loss: null })
      await expect(model.gradients(inputsOf(some))).rejects.toThrow(
        `Expected ${head.labels[0]} and ${head.labels[1]} in batch 0: without them there is no loss`,
      )
    }
  })
})

describe('label smoothing', () => {
  const logSoftmax = (row: readonly number[]): number[] => {
    const top = Math.max(...row)
    const total = Math.log(row.reduce((sum, z) => sum + Math.exp(z - top), 0)) + top
    return row.map((z) => z - total)
  }
  /** (1 - e) of the label's -log p and e of the mean over the classes, averaged over the rows with a label. */
  const smoothed = (rows: readonly (readonly number[])[], labels: readonly number[], e: number): number => {
    const losses = rows.flatMap((row, i) => {
      if (labels[i] === -100) return []
      const logs = logSoftmax(row)
      return [-(1 - e) * logs[labels[i]] - (e * logs.reduce((a, b) => a + b, 0)) / row.length]
    })
    return losses.reduce((a, b) => a + b, 0) / losses.length
  }
  const rowsOf = ({ data, shape }: Tensor, width = shape.at(-1)!): number[][] =>
    Array.from({ length: data.length / width }, (_, r) => [...data.subarray(r * width, (r + 1) * width)])

  it.each([
    'masked language model',
    'next sentence',
    'sequence classification',
    'token classification',
    'multiple choice',
    'multiple choice, unlike numbers of choices',
    'causal language model',
  ])('%s', async (name) => {
    const head = find(name)
    using model = make(head, NO_DROPOUT)
    const { logits } = (await model.forward(inputsOf(head.batch))) as { logits: Tensor }
    let labels = head.batch.labels.flat() as number[]
    if (name === 'causal language model')
      labels = (head.batch.labels as number[][]).flatMap((row) => [...row.slice(1), -100])
    let rows = rowsOf(logits)
    if (name.startsWith('multiple choice')) {
      const ends = [0]
      for (const choices of head.batch.inputIds as number[][][]) ends.push(ends.at(-1)! + choices.length)
      rows = ends.slice(1).map((end, i) => [...logits.data.subarray(ends[i], end)])
    }
    for (const labelSmoothing of [0, 0.1, 0.7]) {
      const { loss } = await model.gradients(inputsOf(head.batch), { labelSmoothing })
      expect(loss / smoothed(rows, labels, labelSmoothing)).toBeCloseTo(1, 5)
    }
  })

  it('does not touch losses over positions or numbers, nor next sentences in pre-training', async () => {
    for (const name of ['question answering', 'regression', 'several labels']) {
      const head = find(name)
      using model = make(head, NO_DROPOUT)
      const { loss } = await model.gradients(inputsOf(head.batch))
      expect((await model.gradients(inputsOf(head.batch), { labelSmoothing: 0.3 })).loss).toBe(loss)
    }
    const head = find('pre-training')
    using model = make(head, NO_DROPOUT)
    const batch = { ...head.batch, labels: ignoreAll(head.batch.labels, 'labels') }
    const { loss } = await model.gradients(inputsOf(batch))
    expect((await model.gradients(inputsOf(batch), { labelSmoothing: 0.3 })).loss).toBe(loss)
  })

  it('is below 1', async () => {
    using model = make(find('next sentence'))
    for (const labelSmoothing of [1, -0.1, Number.NaN, '0.1' as never])
      await expect(model.gradients(inputsOf(find('next sentence').batch), { labelSmoothing })).rejects.toThrow(
        /labelSmoothing from 0 to below 1/,
      )
  })
})

describe('answers', () => {
  const ids = [
    [5, 6, 7, 8],
    [9, 10, 11, 12, 13, 14, 15],
  ]
  const length = 9
  const given = [
    [2, 6],
    [-100, 3],
    [4, 8],
    [99, 0],
  ]
  /** Mean of both sides; a position beyond the sequence is left out, a negative one is the first token. */
  const lossOf = (
    start: readonly (readonly number[])[],
    end: readonly (readonly number[])[],
    positions: number[][],
  ) => {
    const side = (rows: readonly (readonly number[])[], at: number[]) => {
      const losses = rows.flatMap((row, b) => {
        if (at[b] >= row.length) return []
        const total = Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0))
        return [total - row[Math.max(0, at[b])]]
      })
      return losses.length ? losses.reduce((a, b) => a + b, 0) / losses.length : 0
    }
    return (side(start, positions[0]) + side(end, positions[1])) / 2
  }

  it.each([
    ['in ragged input lie in the sequence itself', false],
    ['in padded input lie in the padded length, whose scores all count', true],
  ])('%s', async (_name, isPadded) => {
    using model = new BertForQuestionAnswering(tinyConfig({ ...NO_DROPOUT, numLabels: 2 }))
    const ragged = { inputIds: ids }
    const inputs = isPadded ? padded(ragged, length) : ragged
    for (const positions of [given.slice(0, 2), given.slice(1, 3), given.slice(2), [given[3], given[0]]]) {
      const labelled = { ...inputs, startPositions: positions[0], endPositions: positions[1] } as never
      const out = await model.forward(labelled)
      expect(out.startLogits.shape).toEqual(isPadded ? [2, length] : [11])
      const borders = isPadded ? [0, length, 2 * length] : [0, 4, 11]
      const split = ({ data }: Tensor) => [0, 1].map((b) => [...data.subarray(borders[b], borders[b + 1])])
      const expected = lossOf(split(out.startLogits), split(out.endLogits), positions)
      expect(out.loss! / expected).toBeCloseTo(1, 5)
      const { loss, gradients } = await model.gradients(labelled)
      expect(loss / expected).toBeCloseTo(1, 5)
      const update = async (step: number) => {
        const { data, shape } = (await model.stateDict()).get('qa_outputs.weight')!
        const gradient = gradients.get('qa_outputs.weight')!.data
        const moved = data.map((w, i) => w + (step * gradient[i]) / norm(gradient))
        await model.loadStateDict(new Map([['qa_outputs.weight', { data: moved, shape }]]), { strict: false })
        return (await model.forward(labelled)).loss!
      }
      // the second step goes back over the first
      const difference = (await update(0.01)) - (await update(-0.02))
      expect(difference / 0.02 / norm(gradients.get('qa_outputs.weight')!.data)).toBeCloseTo(1, 2)
    }
  })
})

describe('labels that are wrong name the place', () => {
  const wrong: readonly (readonly [head: string, what: string, labels: object, text: RegExp])[] = [
    [
      'masked language model',
      'a word beyond the vocabulary',
      { labels: [[1, 2, 53]] },
      /labels\[0\]\[2\].*0 to 52 \(or -100\).*53/,
    ],
    ['masked language model', 'a negative word', { labels: [[1, -1, 2]] }, /labels\[0\]\[1\].*-1/],
    ['masked language model', 'a fraction', { labels: [[1, 0.5, 2]] }, /labels\[0\]\[1\].*0\.5/],
    ['masked language model', 'a string', { labels: [['a', 1, 2]] }, /labels\[0\]\[0\].*"a"/],
    ['masked language model', 'null', { labels: [[null, 1, 2]] }, /labels\[0\]\[0\].*null/],
    ['masked language model', 'too few words', { labels: [[1, 2]] }, /labels\[0\] to have 3 elements.*2/],
    ['masked language model', 'one number per sequence', { labels: [1] }, /labels\[0\] to be an array of 3 classes.*1/],
    ['masked language model', 'too many sequences', { labels: [[1, 2, 3], [1]] }, /labels for 1 sequences.*2/],
    [
      'masked language model',
      'a tensor',
      { labels: { data: [1, 2, 3], shape: [1, 3] } },
      /labels of the shape of inputIds, 1 ragged/,
    ],
    ['masked language model', 'an object', { labels: {} }, /labels to be an array or a tensor/],
    ['masked language model', 'a text', { labels: 'abc' }, /labels to be an array or a tensor/],
    ['masked language model', 'a tensor without data', { labels: { shape: [1, 3], data: undefined } }, /labels/],
    [
      'masked language model',
      'a tensor with a number for a shape',
      { labels: { shape: 3, data: [1, 2, 3] } },
      /labels/,
    ],
    [
      'masked language model',
      'labels of another head',
      { labels: [[1, 2, 3]], nextSentenceLabel: [1] },
      /takes labels, not nextSentenceLabel/,
    ],
    ['causal language model', 'a word beyond the vocabulary', { labels: [[1, 2, 99]] }, /labels\[0\]\[2\].*99/],
    ['token classification', 'a class too many', { labels: [[0, 3, 0]] }, /labels\[0\]\[1\].*0 to 2.*3/],
    ['token classification', 'NaN', { labels: [[0, Number.NaN, 0]] }, /labels\[0\]\[1\]/],
    ['next sentence', 'a third class', { labels: [2] }, /labels\[0\] to be a class from 0 to 1 \(or -100\).*2/],
    ['next sentence', 'two labels in one', { labels: [[0, 1]] }, /labels\[0\].*\[0,1\]/],
    ['next sentence', 'too many', { labels: [0, 1] }, /labels for 1 sequences.*2/],
    ['next sentence', 'true', { labels: [true] }, /labels\[0\]/],
    [
      'pre-training',
      'a third class',
      { labels: [[1, 2, 3]], nextSentenceLabel: [2] },
      /nextSentenceLabel\[0\].*0 to 1/,
    ],
    [
      'pre-training',
      'words beyond the vocabulary',
      { labels: [[1, 2, 53]], nextSentenceLabel: [1] },
      /labels\[0\]\[2\]/,
    ],
    ['pre-training', 'positions', { startPositions: [1] }, /takes labels and nextSentenceLabel, not startPositions/],
    ['sequence classification', 'positions', { startPositions: [1] }, /takes labels, not startPositions/],
    ['regression', 'infinity', { labels: [Number.POSITIVE_INFINITY] }, /labels\[0\]\[0\].*finite.*Infinity/],
    ['regression', 'two columns', { labels: [[1, 2]] }, /labels\[0\] to hold 1 numbers.*\[1,2\]/],
    ['several labels', 'too few', { labels: [[1, 0]] }, /labels\[0\] to hold 3 numbers.*\[1,0\]/],
    ['several labels', 'a class', { labels: [1] }, /labels\[0\] to hold 3 numbers.*1/],
    [
      'several labels',
      'a tensor that lies',
      { labels: { data: [1, 0], shape: [1, 3] } },
      /labels of shape \[1,3\] to hold 3 numbers.*2/,
    ],
    [
      'question answering',
      'a fraction',
      { startPositions: [0.5], endPositions: [1] },
      /startPositions\[0\] to be an integer.*0\.5/,
    ],
    [
      'question answering',
      'two positions',
      { startPositions: [1], endPositions: [[1, 2]] },
      /endPositions\[0\] to be an integer.*\[1,2\]/,
    ],
    [
      'question answering',
      'too many',
      { startPositions: [1, 1], endPositions: [1] },
      /startPositions for 1 sequences.*2/,
    ],
    ['question answering', 'labels', { labels: [1] }, /takes startPositions and endPositions, not labels/],
  ]
  it.each(wrong.map((row) => [`${row[0]}: ${row[1]}`, ...row] as const))(
    '%s',
    async (_title, name, _what, labels, text) => {
      using model = make(find(name))
      const inputs = inputsOf({ inputIds: [[5, 6, 7]], ...labels })
      for (const call of [() => model.forward(inputs), () => model.gradients(inputs)]) {
        const error = await call().then(
          () => undefined,
          (reason: unknown) => reason,
        )
        expect(error).toBeInstanceOf(ArgumentError)
        expect((error as Error).message).toMatch(text)
        expect((error as Error).message.length).toBeLessThan(300)
      }
    },
  )

  it('multiple choice: a choice that the example does not have', async () => {
    const head = find('multiple choice, unlike numbers of choices')
    using model = make(head)
    const batch = slice(head.batch, 0, 3)
    for (const [labels, text] of [
      [[0, 3, 0], /labels\[1\] to be a choice from 0 to 2 \(or -100\) but received 3/],
      [[1, 0, 0], /labels\[0\] to be a choice from 0 to 0/],
      [[0, 0], /labels for 3 examples but received 2/],
      [[0, 0.5, 0], /labels\[1\] to be an integer/],
    ] as const)
      await expect(model.forward(inputsOf({ ...batch, labels }))).rejects.toThrow(text)
  })

  it('shows long labels in part', async () => {
    using model = make(find('several labels'))
    const labels = [Array.from({ length: 5000 }, (_, i) => i)]
    const error = await model.forward(inputsOf({ inputIds: [[1]], labels })).catch((reason: Error) => reason)
    expect((error as Error).message.length).toBeLessThan(300)
  })

  it('decide no problem type, whatever else of the batch is wrong', async () => {
    using model = new BertForSequenceClassification(tinyConfig())
    const good = { inputIds: [[1, 2]], labels: [1] }
    const real = { inputIds: [[1, 2]], labels: [[0.5, 0, 1]] }
    await expect(model.forward({ ...real, inputIds: [[1, 99]] })).rejects.toThrow(/inputIds\[0\]\[1\] is 99/)
    expect(model.config.problemType).toBe(null)
    await expect(accumulated(model, [real, { ...real, labels: [[0, 0]] }])).rejects.toThrow(/labels\[0\]/)
    expect(model.config.problemType).toBe(null)
    await model.forward(good)
    expect(model.config.problemType).toBe('single_label_classification')
    await expect(model.forward(real)).rejects.toThrow(/labels\[0\] to be a class/)
  })
})
