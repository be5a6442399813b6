import { ArgumentError } from '../errors.ts'
import type { Graph, Value } from '../graph/graph.ts'
import { type BatchValues, Bert, Linear, type Observed } from '../model/bert.ts'
import type { BertConfig, ProblemType } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { dropoutInPlace } from '../ops/dropout.ts'
import { Loss } from '../ops/loss.ts'
import type { Head, HeadValues, Labels, PreparedLabels } from './head.ts'

const IGNORE_INDEX = -100

/**
 * BertForSequenceClassification: dropout and a linear layer on the pooled output; cross-entropy, mean squared error or binary
 * cross-entropy by config.problemType. Transformers' modeling_bert.py, BertForSequenceClassification.
 */
export class SequenceClassificationHead implements Head {
  readonly outputRows = { logits: 'sequences' } as const
  private readonly bert: Bert
  private readonly classifier: Linear

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    this.bert = new Bert(scope.child('bert'), config, { pooler: true })
    this.classifier = new Linear(scope.child('classifier'), config.hiddenSize, config.numLabels)
  }

  prepareLabels(labels: Labels, sequences: number): PreparedLabels {
    const rows = labelRows(labels)
    if (rows.length !== sequences)
      throw new ArgumentError(`Expected labels for ${sequences} sequences but received ${rows.length}`)
    const problem = this.problemOf(rows)
    const prepared = problem === 'single_label_classification' ? this.classLabels(rows) : this.realLabels(rows, problem)
    this.config.problemType = problem
    return prepared
  }

  /** An open problemType is what the first loss that works decides, as in Transformers. */
  private problemOf(rows: readonly (number | readonly number[])[]): ProblemType {
    const { config } = this
    if (config.problemType) return config.problemType
    const oneInteger = rows.every((row) => typeof row === 'number' && Number.isInteger(row))
    if (config.numLabels === 1) return 'regression'
    return oneInteger ? 'single_label_classification' : 'multi_label_classification'
  }

  private classLabels(rows: readonly (number | readonly number[])[]): PreparedLabels {
    const { numLabels } = this.config
    const data = Int32Array.from(rows, (row, i) => {
      const label = typeof row === 'number' ? row : row.length === 1 ? row[0] : Number.NaN
      if (!Number.isInteger(label) || (label !== IGNORE_INDEX && (label < 0 || label >= numLabels)))
        throw new ArgumentError(
          `Expected labels[${i}] to be a class from 0 to ${numLabels - 1} (or ${IGNORE_INDEX}) but received ${JSON.stringify(row)}`,
        )
      return label
    })
    const counted = data.reduce((n, label) => n + (label === IGNORE_INDEX ? 0 : 1), 0)
    return { kind: 'single_label_classification', data, width: 1, denominators: [counted] }
  }

  private realLabels(rows: readonly (number | readonly number[])[], kind: ProblemType): PreparedLabels {
    const { numLabels } = this.config
    const data = new Float32Array(rows.length * numLabels)
    rows.forEach((row, i) => {
      const values = typeof row === 'number' ? [row] : row
      if (values.length !== numLabels)
        throw new ArgumentError(
          `Expected labels[${i}] to hold ${numLabels} numbers but received ${JSON.stringify(row)}`,
        )
      values.forEach((value, j) => {
        if (!Number.isFinite(value))
          throw new ArgumentError(`Expected labels[${i}][${j}] to be a finite number but received ${value}`)
        data[i * numLabels + j] = value
      })
    })
    return { kind, data, width: numLabels, denominators: [data.length] }
  }

  record(
    graph: Graph,
    batch: BatchValues,
    labels: { readonly kind: string; readonly value: Value } | undefined,
    observed: Observed,
  ): HeadValues {
    const { config } = this
    const pooled = graph.scope('bert', () => this.bert.pool(graph, this.bert.record(graph, batch, observed), batch))
    const logits = graph.scope('classifier', () =>
      this.classifier.record(graph, dropoutInPlace(graph, pooled, config.effectiveClassifierDropout)),
    )
    if (!labels) return { outputs: { logits } }
    const loss = new Loss(graph)
    if (labels.kind === 'regression') loss.meanSquaredError(logits, labels.value)
    else if (labels.kind === 'single_label_classification') loss.crossEntropy(logits, labels.value)
    else loss.binaryCrossEntropy(logits, labels.value)
    return { outputs: { logits }, loss: loss.value }
  }
}

/** One entry per sequence: a number, or the numbers of its labels. */
function labelRows(labels: Labels): readonly (number | readonly number[])[] {
  if (Array.isArray(labels)) {
    labels.forEach((row: unknown, i) => {
      if (typeof row !== 'number' && !Array.isArray(row) && !ArrayBuffer.isView(row))
        throw new ArgumentError(
          `Expected labels[${i}] to be a number or an array of numbers but received ${String(row)}`,
        )
    })
    return labels
  }
  if (labels === null || typeof labels !== 'object' || !('data' in labels) || !('shape' in labels))
    throw new ArgumentError('Expected labels to be an array or a tensor { data, shape }')
  const { data, shape } = labels
  const count = shape[0] ?? 1
  const width = shape.slice(1).reduce((n, dim) => n * dim, 1)
  if (data.length !== count * width)
    throw new ArgumentError(
      `Expected labels of shape [${shape}] to hold ${count * width} numbers but received ${data.length}`,
    )
  return Array.from({ length: count }, (_, i) =>
    shape.length < 2 ? data[i] : Array.from({ length: width }, (_, j) => data[i * width + j]),
  )
}
