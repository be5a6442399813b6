import type { Graph, Value } from '../graph/graph.ts'
import { countLabelled } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, Linear } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, Labels, LabelValues, PreparedLabels } from './head.ts'
import { classLabels, sequenceTerm } from './labels.ts'

/** Whether the second segment follows the first: a linear layer on the pooled output. BertOnlyNSPHead's seq_relationship. */
export class SequenceRelationship {
  private readonly seqRelationship: Linear

  constructor(scope: ParameterScope, { hiddenSize }: BertConfig) {
    this.seqRelationship = new Linear(scope.child('seq_relationship'), hiddenSize, 2)
  }

  /** pooled [sequences, H] -> [sequences, 2] */
  record(graph: Graph, pooled: Value): Value {
    return graph.scope('seq_relationship', () => this.seqRelationship.scores(graph, pooled))
  }

  static labels(name: string, labels: Labels, { sequences: count }: GivenShape): Int32Array {
    return classLabels(name, labels, { count, what: 'sequences', classes: 2 })
  }
}

/**
 * BertForNextSentencePrediction: label 0, the second segment follows the first; 1, it is a random one. Transformers'
 * modeling_bert.py, BertForNextSentencePrediction.
 */
export class NextSentencePredictionHead implements Head {
  readonly outputRows = { logits: 'sequences' } as const
  readonly reads = { first: true }
  readonly selective: boolean
  readonly labelNames = ['labels'] as const
  private readonly bert: Bert
  private readonly cls: SequenceRelationship

  constructor(scope: ParameterScope, config: BertConfig) {
    this.selective = !config.isDecoder
    this.bert = new Bert(scope.child('bert'), config, { pooler: true, selective: this.selective })
    this.cls = new SequenceRelationship(scope.child('cls'), config)
  }

  prepareLabels({ labels }: LabelInputs, shape: GivenShape): PreparedLabels | undefined {
    if (labels === undefined) return undefined
    const data = SequenceRelationship.labels('labels', labels, shape)
    return { kind: 'next_sentence', terms: { labels: sequenceTerm(data) }, denominators: [countLabelled(data)] }
  }

  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues {
    const { bert, cls } = this
    const pooled = graph.scope('bert', () => bert.pool(graph, bert.record(graph, batch, observed), batch))
    const logits = graph.scope('cls', () => cls.record(graph, pooled))
    if (!labels) return { outputs: { logits } }
    const loss = new Loss(graph)
    loss.crossEntropy(logits, labels.values.labels, true)
    return { outputs: { logits }, loss: loss.value }
  }
}
