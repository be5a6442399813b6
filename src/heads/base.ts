import type { Graph } from '../graph/graph.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import { Bert } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import type { Head, HeadValues } from './head.ts'

/** BertModel: the last hidden state and the pooled first token. Transformers' modeling_bert.py, BertModel. */
export class BaseHead implements Head {
  readonly outputRows = { lastHiddenState: 'tokens', poolerOutput: 'sequences' } as const
  readonly reads = { all: true }
  readonly selective = false
  readonly labelNames = []
  private readonly bert: Bert

  constructor(scope: ParameterScope, config: BertConfig) {
    this.bert = new Bert(scope, config, { pooler: true, selective: false })
  }

  prepareLabels(): undefined {
    return undefined
  }

  record(graph: Graph, batch: BatchValues, _labels: undefined, observed: Observed): HeadValues {
    const lastHiddenState = this.bert.record(graph, batch, observed)
    return { outputs: { lastHiddenState, poolerOutput: this.bert.pool(graph, lastHiddenState, batch) } }
  }
}
