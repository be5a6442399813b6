// The public model classes: each is a PreTrainedModel around its head. BertLMHeadModel, which also generates, is in lm-head-model.ts.
import { BaseHead } from '../heads/base.ts'
import type { HeadConstructor, LabelInputs } from '../heads/head.ts'
import { MaskedLMHead } from '../heads/masked-lm.ts'
import { MultipleChoiceHead } from '../heads/multiple-choice.ts'
import { NextSentencePredictionHead } from '../heads/next-sentence-prediction.ts'
import { PreTrainingHead } from '../heads/pre-training.ts'
import { QuestionAnsweringHead } from '../heads/question-answering.ts'
import { SequenceClassificationHead } from '../heads/sequence-classification.ts'
import { TokenClassificationHead } from '../heads/token-classification.ts'
import type { Tensor } from '../tensor.ts'
import { type DecoderInputs, type DecoderOptions, forwardCached, usesCache, withoutCache } from './cached-forward.ts'
import type { ChoiceInput, ModelInputs } from './inputs.ts'
import type { KeyValueCache } from './key-value-cache.ts'
import type { CrossObservations, Loss, Observations } from './outputs.ts'
import { PreTrainedModel } from './pretrained.ts'

export type { DecoderInputs, DecoderOptions } from './cached-forward.ts'
export * from './lm-head-model.ts'

type WithLabels<Names extends keyof LabelInputs, Inputs = ModelInputs> = Inputs & Pick<LabelInputs, Names>

export interface BertModelOutput extends CrossObservations {
  /** [batch, length, H] for padded input; the rows of all sequences [tokens, H] for ragged input. */
  lastHiddenState: Tensor
  /** [batch, H]; with pastKeyValues of the first new token. */
  poolerOutput: Tensor
  /** With useCache or pastKeyValues: what later calls read on from; dispose() it. */
  pastKeyValues?: KeyValueCache
}

export interface BertForPreTrainingOutput extends Observations, Loss {
  /** [batch, length, V], or [tokens, V] for ragged input. */
  predictionLogits: Tensor
  /** [batch, 2]; the second segment follows the first, or not. */
  seqRelationshipLogits: Tensor
}

export interface MaskedLMOutput extends Observations, Loss {
  /** [batch, length, V], or [tokens, V] for ragged input. */
  logits: Tensor
}

export interface NextSentencePredictorOutput extends Observations, Loss {
  /** [batch, 2]; the second segment follows the first, or not. */
  logits: Tensor
}

export interface SequenceClassifierOutput extends Observations, Loss {
  /** [batch, numLabels] */
  logits: Tensor
}

export interface MultipleChoiceModelOutput extends Observations, Loss {
  /** [batch, choices]; one row after another where examples differ in their number of choices. */
  logits: Tensor
}

export interface TokenClassifierOutput extends Observations, Loss {
  /** [batch, length, numLabels], or [tokens, numLabels] for ragged input. */
  logits: Tensor
}

export interface QuestionAnsweringModelOutput extends Observations, Loss {
  /** [batch, length], or [tokens] for ragged input. */
  startLogits: Tensor
  endLogits: Tensor
}

/** The BERT encoder with its pooler, without a head. Transformers' BertModel. */
export class BertModel extends PreTrainedModel<DecoderInputs, BertModelOutput> {
  static override readonly architecture: string = 'BertModel'
  static override readonly head: HeadConstructor = BaseHead

  /** Of the new tokens only with pastKeyValues, of a decoder. Dropout is off where a cache is used. */
  override async forward(inputs: DecoderInputs, options: DecoderOptions = {}): Promise<BertModelOutput> {
    if (!usesCache(inputs, options)) return super.forward(inputs, withoutCache(options))
    const { runtime, config } = this
    const { rows, poolerOutput, cache } = await forwardCached(runtime, config, inputs, options, 'lastHiddenState')
    const tensor = (data: Float32Array): Tensor => ({
      data,
      shape: [data.length / config.hiddenSize, config.hiddenSize],
    })
    return { lastHiddenState: tensor(rows), poolerOutput: tensor(poolerOutput!), pastKeyValues: cache }
  }
}

/** Masked words and next sentence together; the loss needs both labels. Transformers' BertForPreTraining. */
export class BertForPreTraining extends PreTrainedModel<
  WithLabels<'labels' | 'nextSentenceLabel'>,
  BertForPreTrainingOutput
> {
  static override readonly architecture: string = 'BertForPreTraining'
  static override readonly head: HeadConstructor = PreTrainingHead
}

/** The word at each masked token; labels per token, -100 elsewhere. Transformers' BertForMaskedLM. */
export class BertForMaskedLM extends PreTrainedModel<WithLabels<'labels'>, MaskedLMOutput> {
  static override readonly architecture: string = 'BertForMaskedLM'
  static override readonly head: HeadConstructor = MaskedLMHead
}

/** Whether the second segment follows the first: label 0, or is a random one: 1. Transformers' BertForNextSentencePrediction. */
export class BertForNextSentencePrediction extends PreTrainedModel<WithLabels<'labels'>, NextSentencePredictorOutput> {
  static override readonly architecture: string = 'BertForNextSentencePrediction'
  static override readonly head: HeadConstructor = NextSentencePredictionHead
}

/**
 * BERT with a classifier or regressor on the pooled output; labels are a class per sequence, a number (regression), or one number
 * per label, see config.problemType. Transformers' BertForSequenceClassification.
 */
export class BertForSequenceClassification extends PreTrainedModel<WithLabels<'labels'>, SequenceClassifierOutput> {
  static override readonly architecture: string = 'BertForSequenceClassification'
  static override readonly head: HeadConstructor = SequenceClassificationHead
}

/** One score for each choice; labels are the right choice of each example. Transformers' BertForMultipleChoice. */
export class BertForMultipleChoice extends PreTrainedModel<
  WithLabels<'labels', ModelInputs<ChoiceInput>>,
  MultipleChoiceModelOutput
> {
  static override readonly architecture: string = 'BertForMultipleChoice'
  static override readonly head: HeadConstructor = MultipleChoiceHead
}

/** A class for each token; labels per token, -100 where there is none. Transformers' BertForTokenClassification. */
export class BertForTokenClassification extends PreTrainedModel<WithLabels<'labels'>, TokenClassifierOutput> {
  static override readonly architecture: string = 'BertForTokenClassification'
  static override readonly head: HeadConstructor = TokenClassificationHead
}

/** The first and the last token of an answer. Transformers' BertForQuestionAnswering. */
export class BertForQuestionAnswering extends PreTrainedModel<
  WithLabels<'startPositions' | 'endPositions'>,
  QuestionAnsweringModelOutput
> {
  static override readonly architecture: string = 'BertForQuestionAnswering'
  static override readonly head: HeadConstructor = QuestionAnsweringHead
}
