// The nine BERT classes of Transformers' modeling_bert.py as ONNX graphs. Inputs, their order, outputs and the names of axes are
// those of optimum-onnx, so that what reads its exports reads these; where it has no task for a class, Transformers' names stand.
import { ConfigError } from '../../errors.ts'
import { tiedAliases } from '../../heads/predictions.ts'
import type { BertConfig } from '../../model/config.ts'
import { activate } from './activations.ts'
import type { Architecture } from './architectures.ts'
import { type Encoded, type EncoderInputs, encode, layerNorm, linear, perToken, pool } from './encoder.ts'
import { GraphBuilder, type Value } from './graph.ts'

const BATCH = 'batch_size'
const CHOICES = 'num_choices'
const SEQUENCE = 'sequence_length'
const TOKENS = [BATCH, SEQUENCE] as const

/** The encoder under its prefix in the classes with a head. */
const bert = (g: GraphBuilder, config: BertConfig, inputs: EncoderInputs): Encoded =>
  g.scope('bert', () => encode(g, config, inputs))

const hiddenStatesOf = (g: GraphBuilder, { hiddenSize }: BertConfig, { rows, shape }: Encoded): Value =>
  perToken(g, rows, shape, hiddenSize)

/** [B, H] */
const pooled = (g: GraphBuilder, config: BertConfig, inputs: EncoderInputs): Value =>
  g.scope('bert', () => pool(g, config, hiddenStatesOf(g, config, encode(g, config, inputs))))

/** BertLMPredictionHead: [B, S, V]. Tied, its weight is the word embeddings and its bias its own; untied, both are the decoder's. */
function predictions(g: GraphBuilder, config: BertConfig, { rows, shape }: Encoded): Value {
  const { hiddenSize, vocabSize, tieWordEmbeddings } = config
  return g.scope('cls.predictions', () => {
    const transformed = g.scope('transform', () => {
      const projected = linear(g, 'dense', rows, hiddenSize, hiddenSize)
      return layerNorm(g, activate(g, 'transform_act_fn', projected, config.hiddenAct), config)
    })
    const weight = tieWordEmbeddings ? TIED.weight : 'cls.predictions.decoder.weight'
    const bias = tieWordEmbeddings ? 'cls.predictions.bias' : 'cls.predictions.decoder.bias'
    const operands = [g.sharedParameter(weight, [vocabSize, hiddenSize]), g.sharedParameter(bias, [vocabSize])]
    return perToken(g, g.apply('Gemm', [transformed, ...operands], { transB: 1n }), shape, vocabSize)
  })
}

const TIED = { weight: 'bert.embeddings.word_embeddings.weight' }

function languageModel(g: GraphBuilder, config: BertConfig, inputs: EncoderInputs): void {
  g.output('logits', predictions(g, config, bert(g, config, inputs)), [...TOKENS, config.vocabSize])
}

/** BertForQuestionAnswering: a start and an end logit for every token. */
function questionAnswering(g: GraphBuilder, config: BertConfig, inputs: EncoderInputs): void {
  const encoded = bert(g, config, inputs)
  const rows = linear(g, 'qa_outputs', encoded.rows, config.hiddenSize, 2)
  const logits = perToken(g, rows, encoded.shape, 2)
  for (const [i, name] of ['start_logits', 'end_logits'].entries())
    g.output(name, g.apply('Gather', [logits, g.int(i)], { axis: 2n }), TOKENS)
}

/** Records a class: parameters, nodes and outputs. */
type Head = (g: GraphBuilder, config: BertConfig, inputs: EncoderInputs, options: { readonly pooler: boolean }) => void

const heads: Readonly<Record<Architecture, Head>> = {
  BertModel(g, config, inputs, { pooler }) {
    const hiddenStates = hiddenStatesOf(g, config, encode(g, config, inputs))
    g.output('last_hidden_state', hiddenStates, [...TOKENS, config.hiddenSize])
    if (pooler) g.output('pooler_output', pool(g, config, hiddenStates), [BATCH, config.hiddenSize])
  },
  BertForPreTraining(g, config, inputs) {
    const encoded = bert(g, config, inputs)
    const first = g.scope('bert', () => pool(g, config, hiddenStatesOf(g, config, encoded)))
    g.output('prediction_logits', predictions(g, config, encoded), [...TOKENS, config.vocabSize])
    g.output('seq_relationship_logits', linear(g, 'cls.seq_relationship', first, config.hiddenSize, 2), [BATCH, 2])
  },
  BertForMaskedLM: languageModel,
  BertLMHeadModel: languageModel,
  BertForNextSentencePrediction(g, config, inputs) {
    const logits = linear(g, 'cls.seq_relationship', pooled(g, config, inputs), config.hiddenSize, 2)
    g.output('logits', logits, [BATCH, 2])
  },
  BertForSequenceClassification(g, config, inputs) {
    const logits = linear(g, 'classifier', pooled(g, config, inputs), config.hiddenSize, config.numLabels)
    g.output('logits', logits, [BATCH, config.numLabels])
  },
  BertForMultipleChoice(g, config, inputs) {
    const shape = g.apply('Shape', [inputs.inputIds])
    const lengths = g.apply('Concat', [g.ints([-1]), g.apply('Gather', [shape, g.ints([2])], { axis: 0n })], {
      axis: 0n,
    })
    const flat = (ids: Value): Value => g.apply('Reshape', [ids, lengths])
    const choices = {
      inputIds: flat(inputs.inputIds),
      attentionMask: flat(inputs.attentionMask),
      tokenTypeIds: flat(inputs.tokenTypeIds),
    }
    const scores = linear(g, 'classifier', pooled(g, config, choices), config.hiddenSize, 1)
    const logits = g.apply('Reshape', [scores, g.apply('Gather', [shape, g.ints([0, 1])], { axis: 0n })])
    g.output('logits', logits, [BATCH, CHOICES])
  },
  BertForTokenClassification(g, config, inputs) {
    const encoded = bert(g, config, inputs)
    const rows = linear(g, 'classifier', encoded.rows, config.hiddenSize, config.numLabels)
    g.output('logits', perToken(g, rows, encoded.shape, config.numLabels), [...TOKENS, config.numLabels])
  },
  BertForQuestionAnswering: questionAnswering,
}

/** Other names under which a folder may have a parameter, for matchWeights: those of tied tensors. */
export const aliasesOf = ({ tieWordEmbeddings }: BertConfig): Readonly<Record<string, readonly string[]>> =>
  tieWordEmbeddings ? tiedAliases('bert.') : { 'cls.predictions.decoder.bias': ['cls.predictions.bias'] }

/**
 * The graph of a class for any batch and sequence: int64 input_ids, attention_mask and token_type_ids of [batch, sequence]
 * (multiple choice: [batch, choices, sequence]) -> float32 outputs. Dropout is left out. `pooler`: whether BertModel has its second
 * output. A ConfigError, which `where` begins, for what a graph without past and encoder states cannot compute.
 */
export function buildGraph(
  architecture: Architecture,
  config: BertConfig,
  options: { readonly pooler: boolean },
  where: string,
): GraphBuilder {
  if (config.addCrossAttention)
    throw new ConfigError(
      `${where}: a decoder with cross-attention (add_cross_attention true) cannot be exported to ONNX: its graph would need the encoder's states`,
    )
  if (architecture === 'BertForQuestionAnswering' && config.numLabels !== 2)
    throw new ConfigError(
      `${where}: BertForQuestionAnswering has two outputs, start and end, but there are ${config.numLabels} labels`,
    )
  const g = new GraphBuilder()
  const axes = architecture === 'BertForMultipleChoice' ? [BATCH, CHOICES, SEQUENCE] : TOKENS
  const inputs = {
    inputIds: g.input('input_ids', axes),
    attentionMask: g.input('attention_mask', axes),
    tokenTypeIds: g.input('token_type_ids', axes),
  }
  heads[architecture](g, config, inputs, options)
  return g
}
