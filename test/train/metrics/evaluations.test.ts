import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../../../src/errors.ts'
import type { Tensor } from '../../../src/tensor.ts'
import { LanguageModelEvaluation } from '../../../src/train/metrics/language-modeling.ts'
import { MultipleChoiceEvaluation } from '../../../src/train/metrics/multiple-choice.ts'
import { NextSentenceEvaluation, PreTrainingEvaluation } from '../../../src/train/metrics/pre-training.ts'
import { QuestionAnsweringEvaluation } from '../../../src/train/metrics/question-answering.ts'
import {
  classificationMetrics,
  SequenceClassificationEvaluation,
} from '../../../src/train/metrics/sequence-classification.ts'
import { TokenClassificationEvaluation } from '../../../src/train/metrics/token-classification.ts'

const tensor = (rows: number[][]): Tensor => ({
  data: Float32Array.from(rows.flat()),
  shape: [rows.length, rows[0].length],
})
/** Logits whose greatest is at each of `classes`. */
const choosing = (classes: number[], width: number): Tensor =>
  tensor(classes.map((best) => Array.from({ length: width }, (_, i) => (i === best ? 2 : -i))))
const sequences = (...lengths: number[]) => lengths.map((length) => Array.from({ length }, () => 7))

describe('language models', () => {
  test('the perplexity is of the mean over tokens, not over batches', async () => {
    const evaluation = new LanguageModelEvaluation()
    const batch = (labels: number[]) => ({ inputIds: sequences(labels.length), labels: [labels] })
    await evaluation.add(batch([1, 1, 1, -100]), { logits: choosing([1, 1, 0, 1], 3) }, 1)
    await evaluation.add(batch([-100, 2]), { logits: choosing([2, 2], 3) }, 5)
    await evaluation.add(batch([-100, -100]), { logits: choosing([2, 2], 3) }, 0)
    expect(evaluation.finish()).toEqual({ perplexity: expect.closeTo(Math.exp(2), 12), accuracy: 0.75 })
  })

  test('causal: no token is scored with the first of the next sequence, also after an empty one', async () => {
    const evaluation = new LanguageModelEvaluation({ causal: true })
    const labels = [[0, 1], [], [2], [0, -100, 1]]
    // after 0 comes 1, which is right; after -100 comes 1, which is not; all other rows are last or before -100
    const logits = choosing([1, 2, 0, 0, 2, 1], 3)
    await evaluation.add({ inputIds: labels, labels }, { logits }, 1)
    expect(evaluation.finish()).toEqual({ perplexity: expect.closeTo(Math.E, 12), accuracy: 0.5 })
  })

  test('say what does not fit', async () => {
    const evaluation = new LanguageModelEvaluation()
    const batch = { inputIds: sequences(3), labels: [[1, -100, 1]] }
    await expect(evaluation.add(batch, { logits: choosing([0], 2) }, 1)).rejects.toThrow(
      /logits of 3 tokens, or of the 2 labelled ones, but received \[1,2\]/,
    )
    await expect(evaluation.add(batch, { logits: choosing([0, 0, 0], 2) }, null)).rejects.toThrow(/a loss/)
    const short = { inputIds: sequences(3), labels: [[1, 1]] }
    await expect(evaluation.add(short, { logits: choosing([0, 0, 0], 2) }, 1)).rejects.toThrow(/each of 3 tokens/)
    await expect(evaluation.add(batch, { startLogits: choosing([0], 2) }, 1)).rejects.toThrow(
      /logits but it gives startL/,
    )
    await expect(evaluation.add({ inputIds: sequences(3) }, {}, 1)).rejects.toThrow(/to have labels but/)
  })
})

describe('next sentence and pre-training', () => {
  test('next sentence', () => {
    const evaluation = new NextSentenceEvaluation()
    evaluation.add({ inputIds: sequences(2, 2, 2), labels: [0, 1, -100] }, { logits: choosing([0, 0, 1], 2) })
    evaluation.add({ inputIds: sequences(2), labels: [1] }, { logits: choosing([1], 2) })
    expect(evaluation.finish()).toEqual({ accuracy: 2 / 3 })
  })

  test('pre-training, with the logits of all tokens and of the labelled ones', async () => {
    const evaluation = new PreTrainingEvaluation()
    const batch = {
      inputIds: sequences(2, 3),
      labels: [
        [-100, 4],
        [3, -100, 2],
      ],
      nextSentenceLabel: [1, 0],
    }
    const seqRelationshipLogits = choosing([1, 1], 2)
    await evaluation.add(batch, { seqRelationshipLogits, predictionLogits: choosing([0, 4, 3, 0, 0], 5) }, 3)
    await evaluation.add(batch, { seqRelationshipLogits, predictionLogits: choosing([4, 0, 0], 5) }, 4)
    const { mlm_loss, nsp_loss, ...accuracies } = evaluation.finish()
    expect(accuracies).toEqual({ mlm_accuracy: 0.5, nsp_accuracy: 0.5 })
    // Logits 0 and 2: one pair of each batch is right.
    const pairLoss = (Math.log(1 + Math.exp(-2)) + Math.log(1 + Math.exp(2))) / 2
    expect(nsp_loss).toBeCloseTo(pairLoss, 6)
    expect(mlm_loss).toBeCloseTo(3.5 - pairLoss, 6)
  })

  test('hidden tokens of none are no number', async () => {
    const evaluation = new PreTrainingEvaluation()
    const none = { inputIds: sequences(2), labels: [[-100, -100]], nextSentenceLabel: [1] }
    const outputs = { seqRelationshipLogits: choosing([1], 2), predictionLogits: choosing([0, 0], 5) }
    await evaluation.add(none, outputs, Number.NaN)
    expect(await evaluation.finish()).toEqual({
      mlm_accuracy: Number.NaN,
      mlm_loss: Number.NaN,
      nsp_accuracy: 1,
      nsp_loss: expect.closeTo(Math.log(1 + Math.exp(-2)), 6),
    })
    const words = new LanguageModelEvaluation()
    await words.add(none, { logits: choosing([0, 0], 5) }, Number.NaN)
    expect(words.finish()).toEqual({ perplexity: Number.NaN, accuracy: Number.NaN })
    await words.add({ inputIds: sequences(2), labels: [[-100, 3]] }, { logits: choosing([0, 3], 5) }, 2)
    expect(words.finish()).toEqual({ perplexity: Math.exp(2), accuracy: 1 })
  })

  test('say what is missing', () => {
    const evaluation = new NextSentenceEvaluation()
    expect(() => evaluation.add({ inputIds: sequences(2) }, { logits: choosing([0], 2) })).toThrow(
      /labels but they have/,
    )
    const batch = { inputIds: sequences(2), labels: [[1, 2]] }
    expect(() => evaluation.add(batch, { logits: choosing([0], 2) })).toThrow(/received 2 numbers/)
    expect(() => evaluation.finish()).toThrow(/every label is -100/)
  })
})

describe('token classification', () => {
  const names = ['O', 'B-PER', 'I-PER', 'B-LOC']

  test('spans and tags of the labelled tokens of each sentence', () => {
    const evaluation = new TokenClassificationEvaluation(names)
    // B-PER ## I-PER O; what is predicted for the unlabelled piece does not count
    evaluation.add(
      { inputIds: sequences(4, 1), labels: [[1, -100, 2, 0], [2]] },
      { logits: choosing([1, 3, 2, 0, 2], 4) },
    )
    // one of two found, one too many
    evaluation.add({ inputIds: sequences(3), labels: [[1, 2, 3]] }, { logits: choosing([1, 3, 3], 4) })
    expect(evaluation.finish()).toEqual({
      precision: 3 / 5,
      recall: 3 / 4,
      f1: expect.closeTo(2 / 3, 12),
      accuracy: 6 / 7,
    })
    expect([...evaluation.scores().types]).toEqual([
      ['LOC', { precision: 1 / 2, recall: 1, f1: expect.closeTo(2 / 3, 12), support: 1 }],
      ['PER', { precision: 2 / 3, recall: 2 / 3, f1: expect.closeTo(2 / 3, 12), support: 3 }],
    ])
  })

  test('says what does not fit', () => {
    const evaluation = new TokenClassificationEvaluation(names)
    const batch = { inputIds: sequences(2), labels: [[0, 1]] }
    expect(() => evaluation.add(batch, { logits: choosing([0, 0], 3) })).toThrow(/shape \[2,4\] but received \[2,3\]/)
    expect(() => evaluation.finish()).toThrow(ArgumentError)
  })
})

describe('multiple choice', () => {
  const choices = (...counts: number[]) => counts.map((count) => sequences(...Array.from({ length: count }, () => 3)))

  test('as many choices for each example, or not', () => {
    const evaluation = new MultipleChoiceEvaluation()
    const logits = tensor([
      [1, 2, 0],
      [4, 3, 5],
    ])
    evaluation.add({ inputIds: choices(3, 3), labels: [1, 0] }, { logits })
    evaluation.add(
      { inputIds: choices(2, 4), labels: [0, 3] },
      { logits: { data: Float32Array.of(2, 1, 0, 0, 0, 1), shape: [6] } },
    )
    expect(evaluation.finish()).toEqual({ accuracy: 0.75 })
    expect(() => evaluation.add({ inputIds: choices(2, 2), labels: [0, 0] }, { logits })).toThrow(/logits of 4 choices/)
  })
})

describe('sequence classification', () => {
  test.each([
    ['single_label_classification', [0, 2, 1, 1, -100]],
    [
      'regression',
      [
        [0.5, 1, 2],
        [0, 1, 0],
        [1, 2, 2],
        [-1, 0, 2],
        [2, 2, 2],
      ],
    ],
    [
      'multi_label_classification',
      [
        [0, 1, 1],
        [1, 0, 0],
        [0, 0, 0],
        [1, 1, 1],
        [0, 0, 1],
      ],
    ],
  ] as const)('%s: the metrics of all batches together', (problemType, labels) => {
    const rows = [
      [0.5, -1, 2],
      [1, 0.25, -3],
      [-1, 2, 1],
      [0, 1, -2],
      [3, 2, 1],
    ]
    const evaluation = new SequenceClassificationEvaluation(problemType)
    for (const [from, to] of [
      [0, 2],
      [2, 5],
    ]) {
      const batch = { inputIds: sequences(...rows.slice(from, to).map(() => 2)), labels: labels.slice(from, to) }
      evaluation.add(batch, { logits: tensor(rows.slice(from, to)) })
    }
    expect(evaluation.finish()).toEqual(classificationMetrics(problemType, tensor(rows), labels.flat()))
  })

  test('wants labels', () => {
    const evaluation = new SequenceClassificationEvaluation('regression')
    const logits = tensor([[1]])
    expect(() => evaluation.add({ inputIds: sequences(2), labels: [1, 2] }, { logits })).toThrow(
      /labels for 1 examples/,
    )
    expect(() => evaluation.finish()).toThrow(ArgumentError)
  })
})

describe('question answering', () => {
  // [CLS] question [SEP] two words [SEP]
  const offsets = (...words: [number, number][]) => [null, null, null, ...words, null]
  const windows = [
    { question: 0, offsets: offsets([0, 2], [3, 5]) },
    { question: 0, offsets: offsets([3, 5], [6, 8]) },
    { question: 1, offsets: offsets([0, 3], [4, 7]) },
  ]
  const at = (position: number, score: number) => Array.from({ length: 6 }, (_, i) => (i === position ? score : 0))
  const flat = (rows: number[][]): Tensor => ({ data: Float32Array.from(rows.flat()), shape: [rows.flat().length] })
  const fill = async (evaluation: QuestionAnsweringEvaluation) => {
    const first = flat([at(3, 2), at(4, 3)])
    await evaluation.add({ inputIds: sequences(6, 6) }, { startLogits: first, endLogits: first })
    const second = flat([at(0, 4)])
    await evaluation.add({ inputIds: sequences(6) }, { startLogits: second, endLogits: second })
    return evaluation
  }

  test('scores the best answer of all windows of a question', async () => {
    const questions = [
      { context: 'ab cd ef', answers: ['cd', 'EF.'] },
      { context: 'one two', answers: ['one two'] },
    ]
    const scores = await (await fill(new QuestionAnsweringEvaluation(questions, windows))).finish()
    expect(scores).toEqual({ exact_match: 50, f1: expect.closeTo(50 * (1 + 2 / 3), 10) })
  })

  test('SQuAD 2.0', async () => {
    const questions = [
      { context: 'ab cd ef', answers: ['ef'] },
      { context: 'one two', answers: [] },
    ]
    const evaluation = new QuestionAnsweringEvaluation(questions, windows, { versionTwoWithNegative: true })
    const all = { exact_match: 100, f1: 100 }
    const each = { HasAns_exact: 100, HasAns_f1: 100, NoAns_exact: 100, NoAns_f1: 100 }
    expect(await (await fill(evaluation)).finish()).toEqual({ ...all, ...each })
    const old = await fill(new QuestionAnsweringEvaluation(questions, windows))
    await expect(old.finish()).rejects.toThrow(/question 2 has none, as in SQuAD 2.0/)
  })

  test('wants each window once', async () => {
    const questions = [{ context: 'ab cd ef', answers: ['ef'] }]
    await expect(fill(new QuestionAnsweringEvaluation(questions, windows.slice(0, 2)))).rejects.toThrow(/received more/)
    await expect(new QuestionAnsweringEvaluation(questions, windows.slice(0, 2)).finish()).rejects.toThrow(/received 0/)
  })
})
