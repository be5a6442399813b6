import { ConfigError } from '../errors.ts'
import type { Graph } from '../graph/graph.ts'
import { countLabelled, IGNORE_INDEX } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, Linear } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, Labels, LabelValues, PreparedLabels } from './head.ts'
import { oneEach, sequenceTerm } from './labels.ts'

/**
 * BertForQuestionAnswering: a start and an end score for every token, padding included. The loss is the mean of two
 * cross-entropies over the tokens of each sequence. Transformers' modeling_bert.py, BertForQuestionAnswering.
 */
export class QuestionAnsweringHead implements Head {
  readonly outputRows = { startLogits: 'tokens', endLogits: 'tokens' } as const
  readonly reads = { all: true }
  readonly selective = false
  readonly labelNames = ['startPositions', 'endPositions'] as const
  private readonly bert: Bert
  private readonly qaOutputs: Linear

  constructor(scope: ParameterScope, config: BertConfig) {
    if (config.numLabels !== 2)
      throw new ConfigError(
        `BertForQuestionAnswering: expected num_labels 2, a start and an end, but received ${config.numLabels}`,
      )
    this.bert = new Bert(scope.child('bert'), config, { pooler: false, selective: false })
    this.qaOutputs = new Linear(scope.child('qa_outputs'), config.hiddenSize, 2)
  }

  prepareLabels({ startPositions, endPositions }: LabelInputs, shape: GivenShape): PreparedLabels | undefined {
    const start = startPositions === undefined ? undefined : positions('startPositions', startPositions, shape)
    const end = endPositions === undefined ? undefined : positions('endPositions', endPositions, shape)
    if (!start || !end) return undefined
    return {
      kind: 'question_answering',
      terms: { startPositions: sequenceTerm(start), endPositions: sequenceTerm(end) },
      // the mean of two losses: each counts half
      denominators: [2 * countLabelled(start), 2 * countLabelled(end)],
    }
  }

  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues {
    const hiddenStates = graph.scope('bert', () => this.bert.record(graph, batch, observed))
    const logits = graph.scope('qa_outputs', () => this.qaOutputs.scores(graph, hiddenStates))
    const outputs = { startLogits: { value: logits, column: 0 }, endLogits: { value: logits, column: 1 } }
    if (!labels) return { outputs }
    const loss = new Loss(graph)
    const { startPositions, endPositions } = labels.values
    loss.segmentCrossEntropy(logits, batch.cuSeqlens, [startPositions, endPositions])
    return { outputs, loss: loss.value }
  }
}

/** Clamped to the sequence as in Transformers: below 0 it is the first token, at or beyond the end the sequence is left out. */
function positions(name: string, labels: Labels, { sequences, starts }: GivenShape): Int32Array {
  return Int32Array.from(oneEach(name, labels, sequences, 'sequences'), (position, b) =>
    position >= starts[b + 1] - starts[b] ? IGNORE_INDEX : Math.max(0, position),
  )
}
