import { describe, expect, test } from 'vitest'
import {
  accuracy,
  matthews,
  multiLabelScores,
  type PrecisionRecallF1,
  precisionRecallF1,
} from '../../../src/train/metrics/classification.ts'
import { LanguageModelEvaluation } from '../../../src/train/metrics/language-modeling.ts'
import { meanSquaredError, pearson, spearman } from '../../../src/train/metrics/regression.ts'
import { SpanCounter, spansOf } from '../../../src/train/metrics/spans.ts'
import { SquadCounter, SquadV2Counter } from '../../../src/train/metrics/squad.ts'
import { references } from './references.ts'

const near = (value: number, digits = 12) => expect.closeTo(value, digits)
const asList = ({ precision, recall, f1 }: PrecisionRecallF1) => [precision, recall, f1]

describe('scikit-learn and SciPy', () => {
  test('classes', () => {
    for (const { labels, predictions, ...expected } of references('classes')) {
      const any = (values: number[]) => values.map((value) => Number(value > 0))
      expect({
        accuracy: accuracy(predictions, labels),
        matthews: matthews(predictions, labels),
        micro: asList(precisionRecallF1(predictions, labels, { average: 'micro' })),
        macro: asList(precisionRecallF1(predictions, labels, { average: 'macro' })),
        weighted: asList(precisionRecallF1(predictions, labels, { average: 'weighted' })),
        binary: asList(precisionRecallF1(any(predictions), any(labels))),
      }).toEqual({
        accuracy: near(expected.accuracy),
        matthews: near(expected.matthews),
        micro: expected.micro.map((score) => near(score)),
        macro: expected.macro.map((score) => near(score)),
        weighted: expected.weighted.map((score) => near(score)),
        binary: expected.binary.map((score) => near(score)),
      })
    }
  })

  test('series', () => {
    for (const { x, y, ...expected } of references('series')) {
      const coefficient = (value: number | null) => (value === null ? Number.NaN : near(value, 8))
      expect(pearson(x, y)).toEqual(coefficient(expected.pearson))
      expect(spearman(x, y)).toEqual(coefficient(expected.spearman))
      expect(meanSquaredError(x, y) / expected.mse || 1).toBeCloseTo(1, 12)
    }
  })

  test('columns', () => {
    for (const { decisions, labels, columns, f1, accuracy } of references('columns')) {
      expect(multiLabelScores(decisions, labels, columns)).toEqual({
        f1Micro: near(f1[0]),
        f1Macro: near(f1[1]),
        subsetAccuracy: near(accuracy),
      })
    }
  })
})

describe('seqeval', () => {
  const cases = references('spans')
  test.each([...new Set(cases.map(({ scheme }) => scheme))])('%s', (name) => {
    for (const { labels, predictions, entities, ...expected } of cases.filter(({ scheme }) => scheme === name)) {
      const spans = labels.map((sentence) => spansOf(sentence).map(({ type, start, end }) => [type, start, end - 1]))
      expect(spans).toEqual(entities)
      const counter = new SpanCounter()
      for (const [i, sentence] of labels.entries()) counter.add(predictions[i], sentence)
      const scores = counter.scores()
      expect([scores.accuracy, ...asList(scores)]).toEqual(
        [expected.accuracy, ...expected.micro].map((score) => near(score)),
      )
      expect([...scores.types].map(([type, each]) => [type, ...asList(each), each.support])).toEqual(
        expected.types.map(([type, ...numbers]) => [type, ...numbers.map((score) => near(score))]),
      )
    }
  })
})

describe("SQuAD's scripts", () => {
  test('1.1', () => {
    for (const { questions, v1 } of references('squad')) {
      const counter = new SquadCounter()
      for (const { prediction, answers } of questions) counter.add(prediction, answers)
      expect(counter.scores()).toEqual({ exact_match: near(v1.exact_match), f1: near(v1.f1) })
    }
  })

  test('2.0', () => {
    for (const { questions, impossible, v2 } of references('squad')) {
      const counter = new SquadV2Counter()
      for (const [i, { prediction, answers }] of questions.entries())
        counter.add(prediction, impossible[i] ? [] : answers)
      expect(counter.scores()).toEqual(
        Object.fromEntries(Object.entries(v2).map(([name, score]) => [name, near(score)])),
      )
    }
  })
})

describe.each(['masked', 'causal'] as const)('NumPy: a %s language model', (kind) => {
  const causal = kind === 'causal'

  test.each(['all', 'labelled'])('logits of %s rows', async (rows) => {
    for (const { batches, ...expected } of references('language')) {
      const evaluation = new LanguageModelEvaluation({ causal })
      for (const { logits, labels, shifted, losses } of batches) {
        const targets = causal ? shifted : labels.flat()
        const kept = rows === 'all' ? logits : logits.filter((_, row) => targets[row] !== -100)
        const tensor = { data: Float32Array.from(kept.flat()), shape: [kept.length, logits[0].length] }
        await evaluation.add({ inputIds: labels, labels }, { logits: tensor }, losses[causal ? 1 : 0])
      }
      const [perplexity, accuracy] = expected[kind]
      const got = evaluation.finish()
      expect(got.perplexity / perplexity).toBeCloseTo(1, 10)
      expect(got.accuracy).toBeCloseTo(accuracy, 12)
    }
  })
})
