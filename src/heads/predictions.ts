import type { Graph, Value } from '../graph/graph.ts'
import { ActivatedLinear, LayerNorm } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { Parameter, ParameterScope } from '../model/parameters.ts'
import { linear } from '../ops/linear.ts'

/**
 * Names of a tied decoder's tensors in folders that store them twice. Of two biases, the decoder's is the one that Transformers adds to
 * scores; of two tables it uses both, so that they must be equal to be one.
 */
export const tiedAliases = (prefix: string): Readonly<Record<string, readonly string[]>> => ({
  [`${prefix}embeddings.word_embeddings.weight`]: ['cls.predictions.decoder.weight'],
  'cls.predictions.bias': ['cls.predictions.decoder.bias', 'cls.predictions.bias'],
})

/**
 * A score for each word of the vocabulary: dense, activation, LayerNorm, decoder. The decoder is the word embeddings when
 * config.tieWordEmbeddings, and then `bias` is its bias; else decoder.weight and decoder.bias are its own and `bias` is only stored,
 * as in Transformers' BertLMPredictionHead. No dropout.
 */
export class LanguageModelPredictions {
  private readonly bias: Parameter
  private readonly dense: ActivatedLinear
  private readonly norm: LayerNorm
  private readonly decoder: { readonly weight: Parameter; readonly bias: Parameter }

  constructor(scope: ParameterScope, config: BertConfig, wordEmbeddings: Parameter) {
    const { hiddenSize: H, vocabSize: V } = config
    this.bias = scope.declare('bias', [V], 'zeros')
    const transform = scope.child('transform')
    this.dense = new ActivatedLinear(transform, 'transform_act_fn', H, H, config)
    this.norm = new LayerNorm(transform.child('LayerNorm'), H, config.layerNormEps)
    const decoder = scope.child('decoder')
    this.decoder = config.tieWordEmbeddings
      ? { weight: wordEmbeddings, bias: this.bias }
      : { weight: decoder.declareMatrix('weight', [V, H], 'normal'), bias: decoder.declare('bias', [V], 'zeros') }
  }

  /** hiddenStates [rows, H] -> [rows, V] */
  record(graph: Graph, hiddenStates: Value): Value {
    return graph.scope('predictions', () => {
      const transformed = graph.scope('transform', () => {
        const projected = this.dense.record(graph, hiddenStates)
        return this.norm.record(graph, projected, undefined, 0)
      })
      const { weight, bias } = this.decoder
      return graph.scope('decoder', () =>
        linear(graph, transformed, weight.value(graph), bias.value(graph), 'linear', 'float32'),
      )
    })
  }
}
