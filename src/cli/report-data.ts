import { ArgumentError } from '../errors.ts'

// What a report shows, made from predictions and steps.

/** An update, or the mean of neighbouring ones. */
export interface CurvePoint {
  /** The last update of those. */
  readonly step: number
  readonly loss: number
  readonly learningRate: number
  readonly gradNorm: number
}

const CURVE_POINTS = 2000

/** Keeps a curve of any length in at most `limit` points: when they are full, neighbours become their mean. */
export class CurveRecorder {
  readonly #limit: number
  #points: CurvePoint[] = []
  #stepsPerPoint = 1
  /** The updates of a point that is not complete yet. */
  #pending: CurvePoint[] = []

  constructor(limit = CURVE_POINTS) {
    if (!Number.isSafeInteger(limit) || limit < 2)
      throw new ArgumentError(`Expected limit to be an integer of at least 2 but received ${limit}`)
    this.#limit = limit
  }

  add({ step, loss, learningRate, gradNorm }: CurvePoint): void {
    this.#pending.push({ step, loss, learningRate, gradNorm })
    if (this.#pending.length < this.#stepsPerPoint) return
    this.#points.push(meanOf(this.#pending))
    this.#pending = []
    if (this.#points.length < this.#limit) return
    const halves = Array.from({ length: this.#points.length >> 1 }, (_, i) =>
      meanOf(this.#points.slice(2 * i, 2 * i + 2)),
    )
    // An odd one is the first half of the next.
    const odd = this.#points.length % 2 === 1 ? this.#points.slice(-1) : []
    this.#pending = odd.flatMap((point) => Array<CurvePoint>(this.#stepsPerPoint).fill(point))
    this.#points = halves
    this.#stepsPerPoint *= 2
  }

  get points(): readonly CurvePoint[] {
    return this.#pending.length === 0 ? this.#points : [...this.#points, meanOf(this.#pending)]
  }
}

/** The rate is that of the last update, as in a log line. */
function meanOf(points: readonly CurvePoint[]): CurvePoint {
  const { learningRate, step } = points[points.length - 1]
  const mean = (of: 'loss' | 'gradNorm'): number => points.reduce((sum, point) => sum + point[of], 0) / points.length
  return { step, loss: mean('loss'), learningRate, gradNorm: mean('gradNorm') }
}

/** How often classes were taken for one another; of many classes most pairs never occur, and are not held. */
export interface Confusion {
  readonly classes: number
  /** The pairs that occur, by label and then by prediction. */
  readonly pairs: readonly { readonly label: number; readonly predicted: number; readonly count: number }[]
  /** Examples of each class. */
  readonly labelled: ArrayLike<number>
  /** How often each class was predicted. */
  readonly predicted: ArrayLike<number>
}

/**
 * Counts the pairs of true and predicted classes. Labels below 0 count nowhere, as those of tokens that no loss is computed for. Throws
 * ArgumentError where the lengths differ or a class is out of range.
 */
export function confusionOf(predictions: ArrayLike<number>, labels: ArrayLike<number>, classes: number): Confusion {
  if (predictions.length !== labels.length)
    throw new ArgumentError(
      `Expected as many predictions as labels, ${labels.length}, but received ${predictions.length}`,
    )
  const isClass = (value: number): boolean => Number.isInteger(value) && value >= 0 && value < classes
  const counts = new Map<number, number>()
  const [labelled, predicted] = [new Uint32Array(classes), new Uint32Array(classes)]
  for (let i = 0; i < labels.length; i++) {
    const [label, prediction] = [labels[i], predictions[i]]
    if (label < 0) continue
    if (!isClass(label) || !isClass(prediction))
      throw new ArgumentError(
        `Expected classes below ${classes} but received label ${label} and prediction ${prediction} at ${i}`,
      )
    const pair = label * classes + prediction
    counts.set(pair, (counts.get(pair) ?? 0) + 1)
    labelled[label]++
    predicted[prediction]++
  }
  const pairs = [...counts]
    .sort(([a], [b]) => a - b)
    .map(([pair, count]) => ({ label: Math.floor(pair / classes), predicted: pair % classes, count }))
  return { classes, pairs, labelled, predicted }
}

export interface ClassScore {
  readonly index: number
  /** Examples of the class. */
  readonly count: number
  /** NaN where the class was never predicted, or has no example. */
  readonly precision: number
  readonly recall: number
  /** 0 where nothing of the class was found. */
  readonly f1: number
}

/** Precision, recall and F1 of each class. */
export function classScores({ classes, labelled, pairs, predicted }: Confusion): ClassScore[] {
  const right = new Uint32Array(classes)
  for (const pair of pairs) if (pair.label === pair.predicted) right[pair.label] = pair.count
  return Array.from(right, (found, index) => ({
    index,
    count: labelled[index],
    precision: found / predicted[index],
    recall: found / labelled[index],
    f1: (2 * found) / (labelled[index] + predicted[index]) || 0,
  }))
}

export interface ConfusedPair {
  readonly label: number
  readonly predicted: number
  readonly count: number
  /** Of all examples of the label. */
  readonly share: number
}

/** The pairs of different classes that were mixed up most often, most frequent first; of equal ones the larger share. */
export function confusedPairs({ labelled, pairs }: Confusion, limit: number): ConfusedPair[] {
  return pairs
    .filter(({ label, predicted }) => label !== predicted)
    .map((pair) => ({ ...pair, share: pair.count / labelled[pair.label] }))
    .sort((a, b) => b.count - a.count || b.share - a.share)
    .slice(0, limit)
}

/** An example that the model was wrong or unsure about. */
export interface WorstExample {
  readonly text: string
  readonly label: string
  readonly predicted: string
  /** Of the prediction: its probability, where it has one. */
  readonly score: number
  readonly loss: number
}

/**
 * The examples with the highest cross-entropy, highest first. `logits`: [examples, names], row by row; `labels`: classes. An example
 * whose logits are not finite is the worst.
 */
export function worstExamples(
  texts: readonly string[],
  labels: ArrayLike<number>,
  logits: ArrayLike<number>,
  names: readonly string[],
  limit = 20,
): WorstExample[] {
  const classes = names.length
  if (labels.length !== texts.length || logits.length !== texts.length * classes)
    throw new ArgumentError(
      `Expected ${texts.length} labels and ${texts.length * classes} logits but received ${labels.length} and ${logits.length}`,
    )
  const judged = texts.map((text, row) => {
    const scores = Array.from({ length: classes }, (_, i) => logits[row * classes + i])
    const highest = Math.max(...scores)
    const logSum = highest + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - highest), 0))
    const predicted = Math.max(0, scores.indexOf(highest))
    const score = Math.exp(highest - logSum)
    return { text, label: names[labels[row]], predicted: names[predicted], score, loss: logSum - scores[labels[row]] }
  })
  const order = (loss: number): number => (Number.isNaN(loss) ? Number.POSITIVE_INFINITY : loss)
  const byLoss = (a: WorstExample, b: WorstExample): number =>
    order(a.loss) === order(b.loss) ? 0 : order(b.loss) - order(a.loss)
  return judged.sort(byLoss).slice(0, limit)
}
