// The BERT encoder: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2018). Modules, names and order of
// operations follow Transformers' models/bert/modeling_bert.py. Each module declares its parameters when it is constructed and
// records its ops when `record` is called; rows are the tokens of all sequences one after another.
import type { Graph, Value } from '../graph/graph.ts'
import { type ActivationName, Row } from '../graph/op-table.ts'
import { attention, type CrossAttentionInputs, crossAttention } from '../ops/attention.ts'
import { dropout } from '../ops/dropout.ts'
import { embedding } from '../ops/embedding.ts'
import { layerNorm } from '../ops/layer-norm.ts'
import { linear } from '../ops/linear.ts'
import { rowsOf } from '../ops/op.ts'
import { gatherRows, storeRows } from '../ops/pooling.ts'
import type { BatchValues, EncoderValues, Observed, RowSubset } from './batch.ts'
import { activationOf, type BertConfig } from './config.ts'
import type { Parameter, ParameterScope } from './parameters.ts'
import { isParametric, parametric, type RecordActivation } from './parametric-activation.ts'

export class Linear {
  private readonly weight: Parameter
  private readonly bias: Parameter

  constructor(
    scope: ParameterScope,
    inputs: number,
    outputs: number,
    private readonly activation: ActivationName = 'linear',
  ) {
    this.weight = scope.declareMatrix('weight', [outputs, inputs], 'normal')
    this.bias = scope.declare('bias', [outputs], 'zeros')
  }

  record(graph: Graph, x: Value): Value {
    return linear(graph, x, this.weight.value(graph), this.bias.value(graph), this.activation)
  }

  /** What a loss reads: float32 whatever the activations are. */
  scores(graph: Graph, x: Value): Value {
    return linear(graph, x, this.weight.value(graph), this.bias.value(graph), this.activation, 'float32')
  }
}

/**
 * act(dense(x)) with the config's activation: fused, or an op of its own where the activation has parameters, those of the module
 * `activation`.
 */
export class ActivatedLinear {
  private readonly dense: Linear
  private readonly activation: RecordActivation | undefined

  constructor(scope: ParameterScope, activation: string, inputs: number, outputs: number, config: BertConfig) {
    const act = activationOf(config.hiddenAct)
    const fused = isParametric(act) ? 'linear' : (act as ActivationName)
    this.dense = new Linear(scope.child('dense'), inputs, outputs, fused)
    if (isParametric(act)) this.activation = parametric[act](scope.child(activation))
  }

  record(graph: Graph, x: Value): Value {
    const z = graph.scope('dense', () => this.dense.record(graph, x))
    return this.activation ? this.activation(graph, z) : z
  }
}

export class LayerNorm {
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
  readonly word: Parameter
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
      .declareMatrix('weight', [config.vocabSize, H], 'normal', config.padTokenId ?? undefined)
    this.position = scope.child('position_embeddings').declare('weight', [config.maxPositionEmbeddings, H], 'normal')
    this.type = scope.child('token_type_embeddings').declare('weight', [config.typeVocabSize, H], 'normal')
    this.norm = new LayerNorm(scope.child('LayerNorm'), H, config.layerNormEps)
  }

  record(graph: Graph, batch: BatchValues): Value {
    const { config } = this
    const tables = { word: this.word.value(graph), type: this.type.value(graph), position: this.position.value(graph) }
    const sum = embedding(graph, batch, tables, config.hiddenSize, config.padTokenId ?? -1)
    return dropout(graph, this.norm.record(graph, sum, undefined, 0), config.hiddenDropoutProb)
  }
}

/** query, key and value are one product: every token asks and answers. */
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

  record(graph: Graph, hiddenStates: Value, batch: BatchValues, attentions: Value[] | undefined, layer: number): Value {
    const { config } = this
    const { cache } = batch
    const H = config.hiddenSize
    const qkv = linear(graph, hiddenStates, this.weight.value(graph), this.bias.value(graph))
    if (cache) storeRows(graph, qkv, cache.rows, cache.layers[layer], H)
    if (cache?.stage === 'decode') {
      const q = graph.value('query', rowsOf(qkv), H)
      storeRows(graph, qkv, cache.everyToken, q, 0)
      return crossAttention(
        graph,
        { q, kv: cache.layers[layer], cuQueries: batch.cuSeqlens, cuKeys: cache.cuCached, keyMask: cache.filled },
        { heads: config.numAttentionHeads, causal: true, dropout: 0, pairs: Row.pairs },
      )
    }
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

/**
 * Queries apart from keys and values: SeparateAttention, and the self-attention of a last layer of which only some rows are read,
 * whose queries, output and feed-forward are then computed for those rows alone.
 */
class SeparateAttention {
  private readonly query: Linear
  private readonly weight: Parameter
  private readonly bias: Parameter

  constructor(
    scope: ParameterScope,
    private readonly config: BertConfig,
    private readonly pairs: Row,
  ) {
    const H = config.hiddenSize
    this.query = new Linear(scope.child('query'), H, H)
    this.weight = scope.stack('kv.weight', ['key.weight', 'value.weight'], [H, H], 'normal')
    this.bias = scope.stack('kv.bias', ['key.bias', 'value.bias'], [H], 'zeros')
  }

  /** source [keys, H] -> [keys, 2 H] */
  keysAndValues(graph: Graph, source: Value): Value {
    return linear(graph, source, this.weight.value(graph), this.bias.value(graph))
  }

  record(
    graph: Graph,
    queries: Value,
    keysAndValues: Value,
    borders: Omit<CrossAttentionInputs, 'q' | 'kv'>,
    attentions: Value[] | undefined,
  ): Value {
    const { config } = this
    const q = graph.scope('query', () => this.query.record(graph, queries))
    return crossAttention(
      graph,
      { q, kv: keysAndValues, ...borders },
      {
        heads: config.numAttentionHeads,
        causal: false,
        dropout: config.attentionProbsDropoutProb,
        pairs: this.pairs,
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

/** BertAttention over an encoder's output: attention and residual output. */
class CrossAttentionBlock {
  private readonly cross: SeparateAttention
  private readonly output: ResidualOutput

  constructor(scope: ParameterScope, config: BertConfig) {
    this.cross = new SeparateAttention(scope.child('self'), config, Row.keyPairs)
    this.output = new ResidualOutput(scope.child('output'), config, config.hiddenSize)
  }

  record(graph: Graph, x: Value, encoder: EncoderValues, batch: BatchValues, observed: Observed, layer: number): Value {
    const { states, cuKeys, keyMask } = encoder
    const { cache } = batch
    const borders = { cuQueries: cache?.cuPrompts ?? batch.only?.cuRows ?? batch.cuSeqlens, cuKeys, keyMask }
    const context = graph.scope('self', () => {
      const kept = cache?.encoderLayers[layer]
      const kv = kept && cache.stage === 'decode' ? kept : this.cross.keysAndValues(graph, states!)
      if (kept && kept !== kv) storeRows(graph, kv, cache.everyKey!, kept, 0)
      return this.cross.record(graph, x, kv, borders, observed.crossAttentions)
    })
    return graph.scope('output', () => this.output.record(graph, context, x))
  }
}

class BertLayer {
  private readonly self: BertSelfAttention | SeparateAttention
  private readonly selfOutput: ResidualOutput
  private readonly crossAttention: CrossAttentionBlock | undefined
  private readonly intermediate: ActivatedLinear
  private readonly output: ResidualOutput

  /** `selective`: it can compute some rows only. */
  constructor(
    scope: ParameterScope,
    config: BertConfig,
    selective: boolean,
    private readonly index: number,
  ) {
    const attentionScope = scope.child('attention')
    const selfScope = attentionScope.child('self')
    this.self = selective
      ? new SeparateAttention(selfScope, config, Row.pairs)
      : new BertSelfAttention(selfScope, config)
    this.selfOutput = new ResidualOutput(attentionScope.child('output'), config, config.hiddenSize)
    if (config.addCrossAttention) this.crossAttention = new CrossAttentionBlock(scope.child('crossattention'), config)
    const { hiddenSize, intermediateSize } = config
    const intermediate = scope.child('intermediate')
    this.intermediate = new ActivatedLinear(intermediate, 'intermediate_act_fn', hiddenSize, intermediateSize, config)
    this.output = new ResidualOutput(scope.child('output'), config, config.intermediateSize)
  }

  /** -> [rows, H], or [subset, H] of `only`, which a selective layer takes. */
  record(graph: Graph, hiddenStates: Value, batch: BatchValues, observed: Observed, only?: RowSubset): Value {
    const { self, crossAttention } = this
    if (only && self instanceof BertSelfAttention) throw new TypeError('This layer computes all rows')
    const attended = graph.scope('attention', () => {
      const residual = only ? gatherRows(graph, hiddenStates, only.index) : hiddenStates
      const context = graph.scope('self', () => {
        if (self instanceof BertSelfAttention) {
          return self.record(graph, hiddenStates, batch, observed.attentions, this.index)
        }
        const { cuSeqlens: cuKeys, keyMask } = batch
        const borders = { cuQueries: only?.cuRows ?? cuKeys, cuKeys, keyMask }
        const kv = self.keysAndValues(graph, hiddenStates)
        return self.record(graph, residual, kv, borders, observed.attentions)
      })
      return graph.scope('output', () => this.selfOutput.record(graph, context, residual))
    })
    const { encoder } = batch
    const crossed =
      crossAttention && encoder
        ? graph.scope('crossattention', () =>
            crossAttention.record(graph, attended, encoder, batch, observed, this.index),
          )
        : attended
    const intermediate = graph.scope('intermediate', () => this.intermediate.record(graph, crossed))
    return graph.scope('output', () => this.output.record(graph, intermediate, crossed))
  }
}

class BertPooler {
  private readonly dense: Linear

  constructor(scope: ParameterScope, config: BertConfig) {
    this.dense = new Linear(scope.child('dense'), config.hiddenSize, config.hiddenSize, 'tanh')
  }

  record(graph: Graph, firstTokens: Value): Value {
    return graph.scope('pooler', () => this.dense.record(graph, firstTokens))
  }
}

export interface BertOptions {
  readonly pooler: boolean
  /** Whether the last layer may compute only the rows that are read. */
  readonly selective: boolean
}

/** Embeddings, encoder and, unless the head does without, pooler: the base model inside every class. */
export class Bert {
  private readonly embeddings: BertEmbeddings
  private readonly layers: BertLayer[]
  private readonly pooler: BertPooler | undefined

  constructor(scope: ParameterScope, config: BertConfig, { pooler, selective }: BertOptions) {
    this.embeddings = new BertEmbeddings(scope.child('embeddings'), config)
    const layers = scope.child('encoder').child('layer')
    const last = config.numHiddenLayers - 1
    this.layers = Array.from(
      { length: config.numHiddenLayers },
      (_, i) => new BertLayer(layers.child(String(i)), config, selective && i === last, i),
    )
    this.pooler = pooler ? new BertPooler(scope.child('pooler'), config) : undefined
  }

  /** The word embeddings [V, H], which the decoder of a language model shares. */
  get wordEmbeddings(): Parameter {
    return this.embeddings.word
  }

  /** -> last hidden state [tokens, H], or [subset, H] where the batch asks for some rows only */
  record(graph: Graph, batch: BatchValues, observed: Observed = {}): Value {
    const observe = (hiddenStates: Value): Value => {
      observed.hiddenStates?.push(graph.keep(hiddenStates))
      return hiddenStates
    }
    const embedded = observe(graph.scope('embeddings', () => this.embeddings.record(graph, batch)))
    const last = this.layers.length - 1
    return graph.scope('encoder', () =>
      this.layers.reduce(
        (x, layer, i) =>
          observe(
            graph.scope(`layer.${i}`, () =>
              graph.checkpoint(() => layer.record(graph, x, batch, observed, i === last ? batch.only : undefined)),
            ),
          ),
        embedded,
      ),
    )
  }

  /** tanh(dense(first token)) -> [sequences, H] */
  pool(graph: Graph, lastHiddenState: Value, batch: BatchValues): Value {
    if (!this.pooler) throw new TypeError('This model has no pooler')
    const { firstTokens } = batch
    return this.pooler.record(graph, firstTokens ? gatherRows(graph, lastHiddenState, firstTokens) : lastHiddenState)
  }
}

/** The rows of the last hidden state that a loss over tokens reads: those with a label, in training; else all. */
export const labelledRows = (graph: Graph, lastHiddenState: Value, { labelledRows }: BatchValues): Value =>
  labelledRows ? gatherRows(graph, lastHiddenState, labelledRows) : lastHiddenState
