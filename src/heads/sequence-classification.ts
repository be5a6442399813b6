import { ArgumentError } from '../errors.ts'
import type { Graph } from '../graph/graph.ts'
import { quote } from '../json.ts'
import { countLabelled } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, Linear } from '../model/bert.ts'
import type { BertConfig, ProblemType } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { dropout } from '../ops/dropout.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, LabelValues, PreparedLabels } from './head.ts'
import { classLabels, type LabelRow, labelRows, oneNumber, sequenceTerm } from './labels.ts'

/**
 * BertForSequenceClassification: dropout and a linear layer on the pooled output; cross-entropy, mean squared error or binary
 * cross-entropy by config.problemType. Transformers' modeling_bert.py, BertForSequenceClassification.
 */
export class SequenceClassificationHead implements Head {
  readonly outputRows = { logits: 'sequences' } as const
  readonly reads = { first: true }
  readonly selective: boolean
  readonly labelNames = ['labels'] as const
  private readonly bert: Bert
  private readonly classifier: Linear

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    this.selective = !config.isDecoder
    this.bert = new Bert(scope.child('bert'), config, { pooler: true, selective: this.selective })
    this.classifier = new Linear(scope.child('classifier'), config.hiddenSize, config.numLabels)
  }

  prepareLabels({ labels }: LabelInputs, { sequences }: GivenShape): PreparedLabels | undefined {
    if (labels === undefined) return undefined
    const rows = labelRows('labels', labels, sequences, 'sequences')
    const problem = this.problemOf(rows)
    const prepared = problem === 'single_label_classification' ? this.classes(rows) : this.reals(rows, problem)
    this.config.problemType = problem
    return prepared
  }

  /** An open problemType is what the first loss that works decides, as in Transformers. */
  private problemOf(rows: readonly LabelRow[]): ProblemType {
    const { config } = this
    if (config.problemType) return config.problemType
    const oneInteger = rows.every((row) => Number.isInteger(oneNumber(row)))
    if (config.numLabels === 1) return 'regression'
    return oneInteger ? 'single_label_classification' : 'multi_label_classification'
  }

  private classes(rows: readonly LabelRow[]): PreparedLabels {
    const labels = rows as readonly number[]
    const shape = { count: rows.length, what: 'sequences', classes: this.config.numLabels }
    const data = classLabels('labels', labels, shape)
    return {
      kind: 'single_label_classification',
      terms: { labels: sequenceTerm(data) },
      denominators: [countLabelled(data)],
    }
  }

  private reals(rows: readonly LabelRow[], kind: ProblemType): PreparedLabels {
    const { numLabels } = this.config
    const data = new Float32Array(rows.length * numLabels)
    rows.forEach((row, i) => {
      const values = typeof row === 'number' ? [row] : row
      if (values.length !== numLabels)
        throw new ArgumentError(`Expected labels[${i}] to hold ${numLabels} numbers but received ${quote(row)}`)
      values.forEach((value, j) => {
        if (!Number.isFinite(value))
          throw new ArgumentError(`Expected labels[${i}][${j}] to be a finite number but received ${value}`)
        data[i * numLabels + j] = value
      })
    })
    return { kind, terms: { labels: sequenceTerm(data, numLabels) }, denominators: [data.length] }
  }

  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues {
    const { bert, classifier, config } = this
    const pooled = graph.scope('bert', () => bert.pool(graph, bert.record(graph, batch, observed), batch))
    const logits = graph.scope('classifier', () =>
      classifier.scores(graph, dropout(graph, pooled, config.effectiveClassifierDropout)),
    )
    if (!labels) return { outputs: { logits } }
    const loss = new Loss(graph)
    const targets = labels.values.labels
    if (labels.kind === 'regression') loss.meanSquaredError(logits, targets)
    else if (labels.kind === 'single_label_classification') loss.crossEntropy(logits, targets, true)
    else loss.binaryCrossEntropy(logits, targets)
    return { outputs: { logits }, loss: loss.value }
  }
}
