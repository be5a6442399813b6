import type { Graph } from '../graph/graph.ts'
import { countLabelled } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, labelledRows } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, LabelValues, PreparedLabels } from './head.ts'
import { tokenLabels, tokenTerm } from './labels.ts'
import { LanguageModelPredictions, tiedAliases } from './predictions.ts'

/**
 * BertForMaskedLM: the word at each masked token; labels are -100 elsewhere. In training, scores are computed at labelled tokens
 * only. Transformers' modeling_bert.py, BertForMaskedLM; Devlin et al. (2018), section 3.1, task 1.
 */
export class MaskedLMHead implements Head {
  readonly outputRows = { logits: 'tokens' } as const
  readonly reads = { labelled: true }
  readonly selective: boolean
  readonly labelNames = ['labels'] as const
  readonly aliases = tiedAliases('bert.')
  private readonly bert: Bert
  private readonly predictions: LanguageModelPredictions

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    this.selective = !config.isDecoder
    this.bert = new Bert(scope.child('bert'), config, { pooler: false, selective: this.selective })
    const cls = scope.child('cls').child('predictions')
    this.predictions = new LanguageModelPredictions(cls, config, this.bert.wordEmbeddings)
  }

  prepareLabels({ labels }: LabelInputs, shape: GivenShape): PreparedLabels | undefined {
    if (labels === undefined) return undefined
    const data = tokenLabels('labels', labels, shape, this.config.vocabSize)
    return { kind: 'masked_lm', terms: { labels: tokenTerm(data) }, denominators: [countLabelled(data)] }
  }

  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues {
    const hiddenStates = graph.scope('bert', () => this.bert.record(graph, batch, observed))
    const rows = labelledRows(graph, hiddenStates, batch)
    const logits = graph.scope('cls', () => this.predictions.record(graph, rows))
    if (!labels) return { outputs: { logits } }
    const loss = new Loss(graph)
    loss.crossEntropy(logits, labels.values.labels, true)
    return { outputs: { logits }, loss: loss.value }
  }
}
