import { ArgumentError } from '../errors.ts'
import type { Graph } from '../graph/graph.ts'
import { countLabelled, IGNORE_INDEX } from '../labels.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert, Linear } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import { dropout } from '../ops/dropout.ts'
import { Loss } from '../ops/loss.ts'
import type { GivenShape, Head, HeadValues, LabelInputs, LabelValues, PreparedLabels } from './head.ts'
import { oneEach } from './labels.ts'

/**
 * BertForMultipleChoice: one score for each choice, a sequence of its own; cross-entropy over the choices of an example.
 * Transformers' modeling_bert.py, BertForMultipleChoice.
 */
export class MultipleChoiceHead implements Head {
  readonly outputRows = { logits: 'choices' } as const
  readonly reads = { first: true }
  readonly takesChoices = true
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
    this.classifier = new Linear(scope.child('classifier'), config.hiddenSize, 1)
  }

  prepareLabels({ labels }: LabelInputs, { cuChoices }: GivenShape): PreparedLabels | undefined {
    if (labels === undefined || !cuChoices) return undefined
    const data = Int32Array.from(oneEach('labels', labels, cuChoices.length - 1, 'examples'), (label, i) => {
      const choices = cuChoices[i + 1] - cuChoices[i]
      if (label !== IGNORE_INDEX && (label < 0 || label >= choices))
        throw new ArgumentError(
          `Expected labels[${i}] to be a choice from 0 to ${choices - 1} (or ${IGNORE_INDEX}) but received ${label}`,
        )
      return label
    })
    return {
      kind: 'multiple_choice',
      terms: { labels: { rows: 'examples', data, width: 1 } },
      denominators: [countLabelled(data)],
    }
  }

  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues {
    const { bert, classifier, config } = this
    const pooled = graph.scope('bert', () => bert.pool(graph, bert.record(graph, batch, observed), batch))
    const logits = graph.scope('classifier', () =>
      classifier.scores(graph, dropout(graph, pooled, config.effectiveClassifierDropout)),
    )
    if (!labels) return { outputs: { logits } }
    const loss = new Loss(graph)
    loss.segmentCrossEntropy(logits, batch.cuChoices!, [labels.values.labels], true)
    return { outputs: { logits }, loss: loss.value }
  }
}
