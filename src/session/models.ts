// The public model classes: each is a PreTrainedModel around its head.
import { BaseHead } from '../heads/base.ts'
import type { Labels } from '../heads/head.ts'
import { SequenceClassificationHead } from '../heads/sequence-classification.ts'
import type { BertConfig } from '../model/config.ts'
import type { Tensor } from '../tensor.ts'
import type { ModelInputs } from './batch.ts'
import { type ForwardOptions, type FromPretrainedOptions, type ModelOptions, PreTrainedModel } from './pretrained.ts'

interface Observations {
  /** With outputHiddenStates: the embeddings' output and each layer's. */
  hiddenStates?: Tensor[]
  /** With outputAttentions: [batch, A, S, S] a layer for padded input, one [A, L, L] per sequence for ragged input. */
  attentions?: (Tensor | Tensor[])[]
}

export interface BertModelOutput extends Observations {
  /** [batch, length, H] for padded input; the rows of all sequences [tokens, H] for ragged input. */
  lastHiddenState: Tensor
  /** [batch, H] */
  poolerOutput: Tensor
}

export interface SequenceClassifierOutput extends Observations {
  /** null without labels. */
  loss: number | null
  /** [batch, numLabels] */
  logits: Tensor
}

/** The BERT encoder with its pooler, without a head. Transformers' BertModel. */
export class BertModel extends PreTrainedModel {
  constructor(config: BertConfig, options: ModelOptions = {}) {
    super(BaseHead, config, options)
  }

  /** Loads a Hugging Face folder or a model of the Hub by its id (see `HubOptions`); one of a class with a head will do. */
  static fromPretrained(nameOrFolder: string, options: FromPretrainedOptions = {}): Promise<BertModel> {
    return PreTrainedModel.load(nameOrFolder, options, (config, rest) => new BertModel(config, rest))
  }

  async forward(inputs: ModelInputs, options: ForwardOptions = {}): Promise<BertModelOutput> {
    const { tensors, hiddenStates, attentions } = await this.run(inputs, options)
    return { lastHiddenState: tensors.lastHiddenState, poolerOutput: tensors.poolerOutput, hiddenStates, attentions }
  }
}

/** BERT with a classifier or regressor on the pooled output. Transformers' BertForSequenceClassification. */
export class BertForSequenceClassification extends PreTrainedModel {
  constructor(config: BertConfig, options: ModelOptions = {}) {
    super(SequenceClassificationHead, config, options)
  }

  /**
   * Loads a Hugging Face folder or a model of the Hub by its id (see `HubOptions`); the classifier is new if it has none (see
   * `loadReport.missing`).
   */
  static fromPretrained(
    nameOrFolder: string,
    options: FromPretrainedOptions = {},
  ): Promise<BertForSequenceClassification> {
    return PreTrainedModel.load(
      nameOrFolder,
      options,
      (config, rest) => new BertForSequenceClassification(config, rest),
    )
  }

  /** `labels`: a class per sequence, a number (regression), or one number per label; see config.problemType. */
  async forward(
    inputs: ModelInputs & { labels?: Labels },
    options: ForwardOptions = {},
  ): Promise<SequenceClassifierOutput> {
    const { loss, tensors, hiddenStates, attentions } = await this.run(inputs, options)
    return { loss, logits: tensors.logits, hiddenStates, attentions }
  }
}
