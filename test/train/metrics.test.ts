import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import * as classification from '../../src/train/metrics/classification.ts'
import * as regression from '../../src/train/metrics/regression.ts'
import { classificationMetrics } from '../../src/train/metrics/sequence-classification.ts'

const metrics = { ...classification, ...regression, classificationMetrics }

// The expected values come from scikit-learn 1.9 and SciPy 1.17, on the same arrays:
//   from sklearn import metrics as M; from scipy import stats as S
//   M.precision_recall_fscore_support(y, p, average=a, zero_division=0)[:3]     a = macro, micro, weighted
//   M.precision_recall_fscore_support(yb, pb, average="binary", pos_label=k)    k = 1, 0
//   M.matthews_corrcoef(y, p), M.matthews_corrcoef(yb, pb), M.matthews_corrcoef([1, 1, 1], [0, 1, 1])
//   S.pearsonr(u, v)[0], S.spearmanr(u, v)[0], M.mean_squared_error(v, u)
//   M.f1_score(Y, P, average=a, zero_division=0) for micro and macro, M.accuracy_score(Y, P)
//   np.mean([S.pearsonr(X[:, i], T[:, i])[0] for i in (0, 1)]), the same with spearmanr, M.mean_squared_error(T, X)
const y = [0, 2, 1, 1, 2, 0, 2, 2, 1, 0, 4, 2, 1]
const p = [0, 2, 2, 1, 2, 1, 2, 0, 1, 0, 2, 2, 1]
const yb = [1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1]
const pb = [1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1]
const u = [0.5, 2.5, -1, 3, 2.5, 7, -1, 0.25]
const v = [1, 2, 0, 4, 1, 5, -2, 0]
const Y = [1, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
const P = [1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
const X = [0.5, 1, 2.5, 0, -1, 3, 3, 2, 2.5, 2, 7, -4]
const T = [1, 1, 2, 0.5, 0, 2, 4, 2, 1, 1, 5, -3]

const DIGITS = 14

describe('class metrics', () => {
  it('accuracy', () => {
    expect(metrics.accuracy(p, y)).toBeCloseTo(9 / 13, DIGITS)
  })

  it.each([
    [{ average: 'macro' }, y, p, [0.5208333333333333, 0.5541666666666667, 0.5359848484848484]],
    [{ average: 'micro' }, y, p, [0.6923076923076923, 0.6923076923076923, 0.6923076923076923]],
    [{ average: 'weighted' }, y, p, [0.641025641025641, 0.6923076923076923, 0.6643356643356644]],
    [{ average: 'binary' }, yb, pb, [0.8, 0.6666666666666666, 0.7272727272727273]],
    [{ average: 'binary', positive: 0 }, yb, pb, [0.6666666666666666, 0.8, 0.7272727272727273]],
    [undefined, [0, 0], [0, 0], [0, 0, 0]],
  ] as const)('precision, recall and F1, %j', (options, labels, predictions, [precision, recall, f1]) => {
    const got = metrics.precisionRecallF1(predictions, labels, options)
    expect(got.precision).toBeCloseTo(precision, DIGITS)
    expect(got.recall).toBeCloseTo(recall, DIGITS)
    expect(got.f1).toBeCloseTo(f1, DIGITS)
  })

  it('matthews, for many classes, two, and one', () => {
    expect(metrics.matthews(p, y)).toBeCloseTo(0.5492104702344917, DIGITS)
    expect(metrics.matthews(pb, yb)).toBeCloseTo(0.4666666666666667, DIGITS)
    expect(metrics.matthews([0, 1, 1], [1, 1, 1])).toBe(0)
    // 1 where all is right, and no more
    for (let n = 2; n < 60; n++) {
      const labels = Array.from({ length: n }, (_, i) => (i * i + 1) % Math.min(n, 7))
      expect(metrics.matthews(labels, labels)).toBe(1)
    }
  })

  it('rejects arrays of different lengths, none, and an unknown average', () => {
    expect(() => metrics.accuracy([1], [1, 2])).toThrow(/received 1 and 2/)
    expect(() => metrics.matthews([], [])).toThrow(ArgumentError)
    expect(() => metrics.precisionRecallF1([1], [1], { average: 'samples' as never })).toThrow(/received samples/)
  })
})

describe('series metrics', () => {
  it('pearson, spearman with ties, mean squared error', () => {
    expect(metrics.pearson(u, v)).toBeCloseTo(0.9069114604687261, DIGITS)
    expect(metrics.spearman(u, v)).toBeCloseTo(0.9634146341463415, DIGITS)
    for (let n = 2; n < 60; n++) {
      const values = Array.from({ length: n }, (_, i) => Math.sin(i * i))
      const others = values.map((value) => -Math.exp(value))
      expect([metrics.spearman(values, values), metrics.spearman(values, others)]).toEqual([1, -1])
      expect(metrics.pearson(values, values)).toBe(1)
    }
    // whose squares are too great, or too small, to be multiplied
    for (const scale of [1e90, 1e-90]) {
      const scaled = [1, 2, 4].map((value) => value * scale)
      expect(metrics.pearson(scaled, [1e90, 2e90, 4e90])).toBeCloseTo(1, DIGITS)
      expect(metrics.pearson(scaled, [1e-90, 2e-90, 4e-90])).toBeCloseTo(1, DIGITS)
    }
    expect(metrics.meanSquaredError(u, v)).toBeCloseTo(1.2265625, DIGITS)
  })

  it('are 1 and -1 for a line and never beyond', () => {
    for (let slope = 1; slope < 200; slope++) {
      const line = Array.from({ length: 37 }, (_, i) => 0.1 * i * slope)
      const image = line.map((x) => 3 * x + 0.7)
      const r = metrics.pearson(line, image)
      expect(r).toBeLessThanOrEqual(1)
      expect(r).toBeCloseTo(1, DIGITS)
    }
    const cubes = u.map((x) => -(x ** 3))
    expect(metrics.spearman(u, cubes)).toBeCloseTo(-1, DIGITS)
  })

  it('are NaN for a constant series, also one whose mean is rounded', () => {
    const constant = Array.from({ length: 10 }, () => 0.1)
    const line = constant.map((_, i) => i)
    expect(metrics.pearson(constant, line)).toBeNaN()
    expect(metrics.spearman(line, constant)).toBeNaN()
  })
})

describe('multiLabelScores', () => {
  it('scores decisions, columns and rows', () => {
    const got = metrics.multiLabelScores(P, Y, 4)
    expect(got.f1Micro).toBeCloseTo(0.6666666666666666, DIGITS)
    expect(got.f1Macro).toBeCloseTo(0.4, DIGITS)
    expect(got.subsetAccuracy).toBeCloseTo(0.4, DIGITS)
  })

  it('rejects values that are no whole rows', () => {
    expect(() => metrics.multiLabelScores([1, 0], [1, 0], 3)).toThrow(/rows of 3 columns/)
  })
})

describe('classificationMetrics', () => {
  it('single label: takes the greatest logit and leaves out rows labelled -100', () => {
    const data = p.flatMap((label) => [0, 1, 2, 3, 4].map((column) => (column === label ? 0.5 : -column)))
    const logits = { data: Float32Array.from([...data, 9, 0, 0, 0, 0]), shape: [p.length + 1, 5] }
    const got = metrics.classificationMetrics('single_label_classification', logits, [...y, -100])
    expect(Object.keys(got)).toEqual(['accuracy', 'f1', 'matthews'])
    expect(got.accuracy).toBeCloseTo(9 / 13, DIGITS)
    expect(got.f1).toBeCloseTo(0.5359848484848484, DIGITS)
    expect(got.matthews).toBeCloseTo(0.5492104702344917, DIGITS)
  })

  it('single label: the first of equal logits wins', () => {
    expect([...metrics.argmaxRows({ data: [1, 1, 0, 0, 2, 2], shape: [2, 3] })]).toEqual([0, 1])
  })

  it('multi-label: a logit above 0 is a yes', () => {
    const logits = { data: P.map((yes) => (yes ? 1e-6 : 0)), shape: [5, 4] }
    const got = metrics.classificationMetrics('multi_label_classification', logits, Y)
    expect(Object.keys(got)).toEqual(['f1_micro', 'f1_macro', 'accuracy'])
    expect(got.f1_micro).toBeCloseTo(0.6666666666666666, DIGITS)
    expect(got.f1_macro).toBeCloseTo(0.4, DIGITS)
    expect(got.accuracy).toBeCloseTo(0.4, DIGITS)
  })

  it('regression: correlations are means over the columns', () => {
    const got = metrics.classificationMetrics('regression', { data: X, shape: [6, 2] }, T)
    expect(Object.keys(got)).toEqual(['pearson', 'spearman', 'mse'])
    expect(got.pearson).toBeCloseTo(0.9365389286318728, DIGITS)
    expect(got.spearman).toBeCloseTo(0.9406792878411505, DIGITS)
    expect(got.mse).toBeCloseTo(1, DIGITS)
  })

  it('names the shape when labels do not fit', () => {
    const logits = { data: X, shape: [6, 2] }
    expect(() => metrics.classificationMetrics('single_label_classification', logits, T)).toThrow(/6 labels .*\[6,2\]/)
    expect(() => metrics.classificationMetrics('regression', logits, [1])).toThrow(/12 labels .* received 1/)
    expect(() => metrics.classificationMetrics('regression', { data: X, shape: [5, 2] }, T)).toThrow(/12 values/)
    expect(() => metrics.classificationMetrics('multi' as never, logits, T)).toThrow(/received multi/)
    expect(() =>
      metrics.classificationMetrics('single_label_classification', { data: [1, 2], shape: [1, 2] }, [-100]),
    ).toThrow(ArgumentError)
  })
})
