// The BERT encoder: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2018). Modules, names and order of
// operations follow Transformers' models/bert/modeling_bert.py. Each module declares its parameters when it is constructed and
// records its ops when `record` is called; rows are the tokens of all sequences one after another.
import type { Graph, Value } from '../graph/graph.ts'
import type { ActivationName } from '../graph/op-table.ts'
import { attention } from '../ops/attention.ts'
import { dropoutInPlace } from '../ops/dropout.ts'
import { embedding } from '../ops/embedding.ts'
import { layerNorm } from '../ops/layer-norm.ts'
import { linear } from '../ops/linear.ts'
import { gatherRows } from '../ops/pooling.ts'
import { activationOf, type BertConfig } from './config.ts'
import type { Parameter, ParameterScope } from './parameters.ts'

/** What a batch brings: one row per token, and the borders of the sequences. */
export interface BatchValues {
  readonly ids: Value
  readonly typeIds: Value
  readonly positionIds: Value
  /** [sequences + 1] */
  readonly cuSeqlens: Value
  /** 0 hides a token as a key; undefined: nothing is hidden. */
  readonly keyMask: Value | undefined
  /** Row of each sequence's first token, [sequences]. */
  readonly firstTokens: Value
}

/** What the caller wants to see beside the result. */
export interface Observed {
  /** [tokens, H]: after the embeddings and after each layer. */
  readonly hiddenStates?: Value[]
  /** [A, L, L] of each sequence, for each layer. */
  readonly attentions?: Value[]
}

export class Linear {
  private readonly weight: Parameter
  private readonly bias: Parameter

  constructor(
    scope: ParameterScope,
    inputs: number,
    outputs: number,
    private readonly activation: ActivationName = 'linear',
  ) {
    this.weight = scope.declare('weight', [outputs, inputs], 'normal')
    this.bias = scope.declare('bias', [outputs], 'zeros')
  }

  record(graph: Graph, x: Value): Value {
    return linear(graph, x, this.weight.value(graph), this.bias.value(graph), this.activation)
  }
}

class LayerNorm {
  private readonly weight: Parameter
  private readonly bias: Parameter

  constructor(
    scope: ParameterScope,
    size: number,
    private readonly eps: number,
  ) {
    this.weight = scope.declare('weight', [size], 'ones')
    this.bias = scope.declare('bias', [size], 'zeros')
  }

  /** LayerNorm(dropout(x) + residual); x's buffer is used up. */
  record(graph: Graph, x: Value, residual: Value | undefined, dropout: number): Value {
    return graph.scope('LayerNorm', () =>
      layerNorm(graph, x, residual, this.weight.value(graph), this.bias.value(graph), { eps: this.eps, dropout }),
    )
  }
}

class BertEmbeddings {
  private readonly word: Parameter
  private readonly position: Parameter
  private readonly type: Parameter
  private readonly norm: LayerNorm

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    const H = config.hiddenSize
    this.word = scope
      .child('word_embeddings')
      .declare('weight', [config.vocabSize, H], 'normal', config.padTokenId ?? undefined)
    this.position = scope.child('position_embeddings').declare('weight', [config.maxPositionEmbeddings, H], 'normal')
    this.type = scope.child('token_type_embeddings').declare('weight', [config.typeVocabSize, H], 'normal')
    this.norm = new LayerNorm(scope.child('LayerNorm'), H, config.layerNormEps)
  }

  record(graph: Graph, batch: BatchValues): Value {
    const { config } = this
    const tables = { word: this.word.value(graph), type: this.type.value(graph), position: this.position.value(graph) }
    const sum = embedding(graph, batch, tables, config.hiddenSize, config.padTokenId ?? -1)
    return dropoutInPlace(graph, this.norm.record(graph, sum, undefined, 0), config.hiddenDropoutProb)
  }
}

class BertSelfAttention {
  private readonly weight: Parameter
  private readonly bias: Parameter

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
  ) {
    const H = config.hiddenSize
    const parts = ['query', 'key', 'value']
    const named = (tensor: string) => parts.map((part) => `${part}.${tensor}`)
    this.weight = scope.stack('qkv.weight', named('weight'), [H, H], 'normal')
    this.bias = scope.stack('qkv.bias', named('bias'), [H], 'zeros')
  }

  record(graph: Graph, hiddenStates: Value, batch: BatchValues, observed: Observed): Value {
    const { config } = this
    const qkv = linear(graph, hiddenStates, this.weight.value(graph), this.bias.value(graph))
    const attentions = observed.attentions
    return attention(
      graph,
      { qkv, cuSeqlens: batch.cuSeqlens, keyMask: batch.keyMask },
      {
        heads: config.numAttentionHeads,
        causal: config.isDecoder,
        dropout: config.attentionProbsDropoutProb,
        onProbabilities: attentions && ((probs) => attentions.push(graph.keep(probs))),
      },
    )
  }
}

/** BertSelfOutput and BertOutput: LayerNorm(dropout(dense(x)) + residual). */
class ResidualOutput {
  private readonly dense: Linear
  private readonly norm: LayerNorm

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
    inputs: number,
  ) {
    this.dense = new Linear(scope.child('dense'), inputs, config.hiddenSize)
    this.norm = new LayerNorm(scope.child('LayerNorm'), config.hiddenSize, config.layerNormEps)
  }

  record(graph: Graph, x: Value, residual: Value): Value {
    const projected = graph.scope('dense', () => this.dense.record(graph, x))
    return this.norm.record(graph, projected, residual, this.config.hiddenDropoutProb)
  }
}

class BertLayer {
  private readonly self: BertSelfAttention
  private readonly selfOutput: ResidualOutput
  private readonly intermediate: Linear
  private readonly output: ResidualOutput

  constructor(scope: ParameterScope, config: BertConfig) {
    const attentionScope = scope.child('attention')
    this.self = new BertSelfAttention(attentionScope.child('self'), config)
    this.selfOutput = new ResidualOutput(attentionScope.child('output'), config, config.hiddenSize)
    const activation = activationOf(config.hiddenAct) as ActivationName
    this.intermediate = new Linear(
      scope.child('intermediate').child('dense'),
      config.hiddenSize,
      config.intermediateSize,
      activation,
    )
    this.output = new ResidualOutput(scope.child('output'), config, config.intermediateSize)
  }

  record(graph: Graph, hiddenStates: Value, batch: BatchValues, observed: Observed): Value {
    const attended = graph.scope('attention', () => {
      const context = graph.scope('self', () => this.self.record(graph, hiddenStates, batch, observed))
      return graph.scope('output', () => this.selfOutput.record(graph, context, hiddenStates))
    })
    const intermediate = graph.scope('intermediate', () => this.intermediate.record(graph, attended))
    return graph.scope('output', () => this.output.record(graph, intermediate, attended))
  }
}

class BertPooler {
  private readonly dense: Linear

  constructor(scope: ParameterScope, config: BertConfig) {
    this.dense = new Linear(scope.child('dense'), config.hiddenSize, config.hiddenSize, 'tanh')
  }

  record(graph: Graph, hiddenStates: Value, firstTokens: Value): Value {
    return graph.scope('pooler', () => this.dense.record(graph, gatherRows(graph, hiddenStates, firstTokens)))
  }
}

/** Embeddings, encoder and, unless the head does without, pooler: the base model inside every class. */
export class Bert {
  private readonly embeddings: BertEmbeddings
  private readonly layers: BertLayer[]
  private readonly pooler: BertPooler | undefined

  constructor(scope: ParameterScope, config: BertConfig, { pooler }: { readonly pooler: boolean }) {
    this.embeddings = new BertEmbeddings(scope.child('embeddings'), config)
    const layers = scope.child('encoder').child('layer')
    this.layers = Array.from(
      { length: config.numHiddenLayers },
      (_, i) => new BertLayer(layers.child(String(i)), config),
    )
    this.pooler = pooler ? new BertPooler(scope.child('pooler'), config) : undefined
  }

  /** -> last hidden state [tokens, H] */
  record(graph: Graph, batch: BatchValues, observed: Observed = {}): Value {
    const observe = (hiddenStates: Value): Value => {
      observed.hiddenStates?.push(graph.keep(hiddenStates))
      return hiddenStates
    }
    const embedded = observe(graph.scope('embeddings', () => this.embeddings.record(graph, batch)))
    return graph.scope('encoder', () =>
      this.layers.reduce(
        (x, layer, i) => observe(graph.scope(`layer.${i}`, () => layer.record(graph, x, batch, observed))),
        embedded,
      ),
    )
  }

  /** tanh(dense(first token)) -> [sequences, H] */
  pool(graph: Graph, lastHiddenState: Value, batch: BatchValues): Value {
    if (!this.pooler) throw new TypeError('This model has no pooler')
    return this.pooler.record(graph, lastHiddenState, batch.firstTokens)
  }
}
