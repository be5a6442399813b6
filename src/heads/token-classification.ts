import type { Graph } from '../graph/graph.ts'
import { countLabelled } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, Linear, labelledRows } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { dropout } from '../ops/dropout.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, LabelValues, PreparedLabels } from './head.ts'
import { tokenLabels, tokenTerm } from './labels.ts'

/**
 * BertForTokenClassification: dropout and a linear layer on every token; labels are -100 where a token has none. Transformers'
 * modeling_bert.py, BertForTokenClassification.
 */
export class TokenClassificationHead implements Head {
  readonly outputRows = { logits: 'tokens' } as const
  readonly reads = { labelled: true }
  readonly selective: boolean
  readonly labelNames = ['labels'] as const
  private readonly bert: Bert
  private readonly classifier: Linear

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    this.selective = !config.isDecoder
    this.bert = new Bert(scope.child('bert'), config, { pooler: false, selective: this.selective })
    this.classifier = new Linear(scope.child('classifier'), config.hiddenSize, config.numLabels)
  }

  prepareLabels({ labels }: LabelInputs, shape: GivenShape): PreparedLabels | undefined {
    if (labels === undefined) return undefined
    const data = tokenLabels('labels', labels, shape, this.config.numLabels)
    return { kind: 'token_classification', terms: { labels: tokenTerm(data) }, denominators: [countLabelled(data)] }
  }

  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues {
    const { bert, classifier, config } = this
    const hiddenStates = graph.scope('bert', () => bert.record(graph, batch, observed))
    const rows = labelledRows(graph, hiddenStates, batch)
    const logits = graph.scope('classifier', () =>
      classifier.scores(graph, dropout(graph, rows, config.effectiveClassifierDropout)),
    )
    if (!labels) return { outputs: { logits } }
    const loss = new Loss(graph)
    loss.crossEntropy(logits, labels.values.labels, true)
    return { outputs: { logits }, loss: loss.value }
  }
}
