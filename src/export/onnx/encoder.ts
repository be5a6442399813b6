// BERT's embeddings, encoder and pooler as ONNX nodes, in the order of Transformers' models/bert/modeling_bert.py. Between the
// embeddings and the output the tokens of all sequences are the rows of one matrix, as in src/model/bert.ts: a linear layer is then
// a Gemm that takes the weight as Hugging Face stores it, and a tied decoder is the same initializer.
//   B batch, S sequence, H hidden size, A heads, D = H / A
import type { BertConfig } from '../../model/config.ts'
import { activate } from './activations.ts'
import type { GraphBuilder, Value } from './graph.ts'
import { TensorProto_DataType as DataType } from './onnx_pb.ts'

/** int64, each [B, S]. */
export interface EncoderInputs {
  readonly inputIds: Value
  readonly attentionMask: Value
  readonly tokenTypeIds: Value
}

export interface Encoded {
  /** The last hidden state, [B * S, H]. */
  readonly rows: Value
  /** [B, S], int64 [2]. */
  readonly shape: Value
}

/** x W^T + b; x [rows, inputs] -> [rows, outputs]. */
export const linear = (g: GraphBuilder, module: string, x: Value, inputs: number, outputs: number): Value =>
  g.scope(module, () => {
    const weight = g.parameter('weight', [outputs, inputs])
    return g.apply('Gemm', [x, weight, g.parameter('bias', [outputs])], { transB: 1n })
  })

/** Over the last axis, of `config.hiddenSize` elements. */
export const layerNorm = (g: GraphBuilder, x: Value, { hiddenSize, layerNormEps }: BertConfig): Value =>
  g.scope('LayerNorm', () => {
    const [weight, bias] = [g.parameter('weight', [hiddenSize]), g.parameter('bias', [hiddenSize])]
    return g.apply('LayerNormalization', [x, weight, bias], { axis: -1n, epsilon: layerNormEps })
  })

/** [B * S, width] -> [B, S, width] */
export const perToken = (g: GraphBuilder, rows: Value, shape: Value, width: number): Value =>
  g.apply('Reshape', [rows, g.apply('Concat', [shape, g.ints([width])], { axis: 0n })])

/** What all layers share. */
interface Attention {
  /** [B, S, A, D], int64 [4]. */
  readonly shape: Value
  /** Added to the scores: 0, or the lowest float32 where a query may not see a key. [B, 1, 1 or S, S] */
  readonly bias: Value
  /** 0 for a query that sees no key at all, else 1. [B, 1, 1 or S, 1] */
  readonly sees: Value
}

// the attribute of Cast
const FLOAT = BigInt(DataType.FLOAT)
const BOOL = BigInt(DataType.BOOL)
const LOWEST_FLOAT32 = -3.4028234663852886e38

/** 0, 1, ..., S - 1, int64 [S]. */
const positionsOf = (g: GraphBuilder, shape: Value): Value =>
  g.apply('Range', [g.int(0), g.apply('Gather', [shape, g.int(1)], { axis: 0n }), g.int(1)])

function attentionOf(g: GraphBuilder, config: BertConfig, mask: Value, shape: Value, positions: Value): Attention {
  const { hiddenSize, numAttentionHeads } = config
  const keys = g.apply('Unsqueeze', [g.apply('Cast', [mask], { to: BOOL }), g.ints([1, 2])])
  // key <= query, [S, S]
  const causal = () => g.apply('LessOrEqual', [positions, g.apply('Unsqueeze', [positions, g.ints([1])])])
  const visible = config.isDecoder ? g.apply('And', [keys, causal()]) : keys
  // Softmax turns equal scores into equal probabilities; a row that sees nothing is 0 instead, as with PyTorch's
  // scaled_dot_product_attention and in bertkit's own attention.
  const count = g.apply('ReduceSum', [g.apply('Cast', [visible], { to: FLOAT }), g.ints([-1])])
  return {
    shape: g.apply('Concat', [shape, g.ints([numAttentionHeads, hiddenSize / numAttentionHeads])], { axis: 0n }),
    bias: g.apply('Where', [visible, g.float(0), g.float(LOWEST_FLOAT32)]),
    sees: g.apply('Min', [count, g.float(1)]),
  }
}

function embeddings(g: GraphBuilder, config: BertConfig, inputs: EncoderInputs, positions: Value): Value {
  const { hiddenSize } = config
  const table = (name: string, size: number, ids: Value): Value =>
    g.scope(name, () => g.apply('Gather', [g.parameter('weight', [size, hiddenSize]), ids], { axis: 0n }))
  const words = table('word_embeddings', config.vocabSize, inputs.inputIds)
  const types = table('token_type_embeddings', config.typeVocabSize, inputs.tokenTypeIds)
  const places = table('position_embeddings', config.maxPositionEmbeddings, positions)
  const sum = g.apply('Add', [g.apply('Add', [words, types]), places])
  return g.apply('Reshape', [layerNorm(g, sum, config), g.ints([-1, hiddenSize])])
}

function selfAttention(g: GraphBuilder, config: BertConfig, x: Value, attention: Attention): Value {
  const { hiddenSize, numAttentionHeads } = config
  const heads = (module: string, perm: readonly bigint[], scale?: number): Value => {
    const projected = linear(g, module, x, hiddenSize, hiddenSize)
    const scaled = scale === undefined ? projected : g.apply('Mul', [projected, g.float(scale)])
    return g.apply('Transpose', [g.apply('Reshape', [scaled, attention.shape])], { perm })
  }
  const query = heads('query', [0n, 2n, 1n, 3n], (hiddenSize / numAttentionHeads) ** -0.5)
  const key = heads('key', [0n, 2n, 3n, 1n])
  const value = heads('value', [0n, 2n, 1n, 3n])
  const scores = g.apply('Add', [g.apply('MatMul', [query, key]), attention.bias])
  const context = g.apply('MatMul', [g.apply('Softmax', [scores], { axis: -1n }), value])
  const seen = g.apply('Mul', [context, attention.sees])
  return g.apply('Reshape', [g.apply('Transpose', [seen], { perm: [0n, 2n, 1n, 3n] }), g.ints([-1, hiddenSize])])
}

/** BertSelfOutput and BertOutput: LayerNorm(dense(x) + residual). */
const residualOutput = (g: GraphBuilder, config: BertConfig, x: Value, width: number, residual: Value): Value =>
  g.scope('output', () =>
    layerNorm(g, g.apply('Add', [linear(g, 'dense', x, width, config.hiddenSize), residual]), config),
  )

function layer(g: GraphBuilder, config: BertConfig, x: Value, attention: Attention): Value {
  const { hiddenSize, intermediateSize } = config
  const attended = g.scope('attention', () => {
    const context = g.scope('self', () => selfAttention(g, config, x, attention))
    return residualOutput(g, config, context, hiddenSize, x)
  })
  const intermediate = g.scope('intermediate', () =>
    activate(g, 'intermediate_act_fn', linear(g, 'dense', attended, hiddenSize, intermediateSize), config.hiddenAct),
  )
  return residualOutput(g, config, intermediate, intermediateSize, attended)
}

/** Embeddings and layers. Queries see earlier keys only if config.isDecoder; a key whose mask is 0 is hidden. */
export function encode(g: GraphBuilder, config: BertConfig, inputs: EncoderInputs): Encoded {
  const shape = g.apply('Shape', [inputs.inputIds])
  const positions = positionsOf(g, shape)
  const attention = attentionOf(g, config, inputs.attentionMask, shape, positions)
  let rows = g.scope('embeddings', () => embeddings(g, config, inputs, positions))
  for (let i = 0; i < config.numHiddenLayers; i++)
    rows = g.scope(`encoder.layer.${i}`, () => layer(g, config, rows, attention))
  return { rows, shape }
}

/** tanh(dense(first token)); hidden states [B, S, H] -> [B, H] */
export const pool = (g: GraphBuilder, config: BertConfig, hiddenStates: Value): Value =>
  g.scope('pooler', () => {
    const first = g.apply('Gather', [hiddenStates, g.int(0)], { axis: 1n })
    return g.apply('Tanh', [linear(g, 'dense', first, config.hiddenSize, config.hiddenSize)])
  })
