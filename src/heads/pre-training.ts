import type { Graph } from '../graph/graph.ts'
import { countLabelled } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, labelledRows } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, LabelValues, PreparedLabels } from './head.ts'
import { sequenceTerm, tokenLabels, tokenTerm } from './labels.ts'
import { SequenceRelationship } from './next-sentence-prediction.ts'
import { LanguageModelPredictions, tiedAliases } from './predictions.ts'

/**
 * BertForPreTraining: masked words and next sentence; the loss is the sum of both and needs both labels. Transformers'
 * modeling_bert.py, BertForPreTraining; Devlin et al. (2018), section 3.1.
 */
export class PreTrainingHead implements Head {
  readonly outputRows = { predictionLogits: 'tokens', seqRelationshipLogits: 'sequences' } as const
  readonly reads = { first: true, labelled: true }
  readonly selective: boolean
  readonly labelNames = ['labels', 'nextSentenceLabel'] as const
  readonly aliases = tiedAliases('bert.')
  private readonly bert: Bert
  private readonly predictions: LanguageModelPredictions
  private readonly relationship: SequenceRelationship

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    this.selective = !config.isDecoder
    this.bert = new Bert(scope.child('bert'), config, { pooler: true, selective: this.selective })
    const cls = scope.child('cls')
    this.predictions = new LanguageModelPredictions(cls.child('predictions'), config, this.bert.wordEmbeddings)
    this.relationship = new SequenceRelationship(cls, config)
  }

  prepareLabels({ labels, nextSentenceLabel }: LabelInputs, shape: GivenShape): PreparedLabels | undefined {
    const words = labels === undefined ? undefined : tokenLabels('labels', labels, shape, this.config.vocabSize)
    const next =
      nextSentenceLabel === undefined
        ? undefined
        : SequenceRelationship.labels('nextSentenceLabel', nextSentenceLabel, shape)
    if (!words || !next) return undefined
    return {
      kind: 'pretraining',
      terms: { labels: tokenTerm(words), nextSentenceLabel: sequenceTerm(next) },
      denominators: [countLabelled(words), countLabelled(next)],
    }
  }

  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues {
    const { bert, predictions, relationship } = this
    const hiddenStates = graph.scope('bert', () => bert.record(graph, batch, observed))
    const pooled = graph.scope('bert', () => bert.pool(graph, hiddenStates, batch))
    const rows = labelledRows(graph, hiddenStates, batch)
    const predictionLogits = graph.scope('cls', () => predictions.record(graph, rows))
    const seqRelationshipLogits = graph.scope('cls', () => relationship.record(graph, pooled))
    const outputs = { predictionLogits, seqRelationshipLogits }
    if (!labels) return { outputs }
    const loss = new Loss(graph)
    loss.crossEntropy(predictionLogits, labels.values.labels, true)
    loss.crossEntropy(seqRelationshipLogits, labels.values.nextSentenceLabel)
    return { outputs, loss: loss.value }
  }
}
