import type { Graph } from '../graph/graph.ts'
import { countLabelled, IGNORE_INDEX } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, labelledRows } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, LabelValues, PreparedLabels } from './head.ts'
import { tokenLabels, tokenTerm } from './labels.ts'
import { LanguageModelPredictions, tiedAliases } from './predictions.ts'

/**
 * BertLMHeadModel: the next word at each token, with a causal mask when config.isDecoder and cross-attention over an encoder's
 * states when config.addCrossAttention. Labels are the input's own words: the loss shifts them, and -100 leaves a word out.
 * Transformers' modeling_bert.py, BertLMHeadModel, and loss/loss_utils.py, ForCausalLMLoss.
 */
export class LMHead implements Head {
  readonly outputRows = { logits: 'tokens' } as const
  readonly reads = { labelled: true }
  readonly selective = false
  readonly labelNames = ['labels'] as const
  readonly aliases = tiedAliases('bert.')
  private readonly bert: Bert
  private readonly predictions: LanguageModelPredictions

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    this.bert = new Bert(scope.child('bert'), config, { pooler: false, selective: false })
    const cls = scope.child('cls').child('predictions')
    this.predictions = new LanguageModelPredictions(cls, config, this.bert.wordEmbeddings)
  }

  prepareLabels({ labels }: LabelInputs, shape: GivenShape): PreparedLabels | undefined {
    if (labels === undefined) return undefined
    const words = tokenLabels('labels', labels, shape, this.config.vocabSize)
    const next = new Int32Array(words.length).fill(IGNORE_INDEX)
    for (let b = 0; b < shape.sequences; b++)
      for (let i = shape.starts[b]; i + 1 < shape.starts[b + 1]; i++) next[i] = words[i + 1]
    return { kind: 'causal_lm', terms: { labels: tokenTerm(next) }, denominators: [countLabelled(next)] }
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
