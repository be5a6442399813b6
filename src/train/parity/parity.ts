import { ArgumentError, DataError } from '../../errors.ts'
import { countLabelled } from '../../labels.ts'
import { AdamW, type StepOptions } from '../../session/adamw.ts'
import { BertLMHeadModel } from '../../session/lm-head-model.ts'
import type { Reproduction } from '../../session/masks.ts'
import {
  BertForMaskedLM,
  BertForPreTraining,
  BertForQuestionAnswering,
  BertForTokenClassification,
} from '../../session/models.ts'
import { PreTrainedModel } from '../../session/pretrained.ts'
import { TorchGenerator } from '../../torch-generator.ts'
import type { TrainingArguments } from '../argument-rules.ts'
import type { TrainingSource } from '../source.ts'
import type { ModelBatch, TrainableModel, TrainableOptimizer } from '../types.ts'
import { drawNewTensors } from './initialize.ts'
import { padBatch } from './padding.ts'

const hasLabelsOfTokens = (model: PreTrainedModel): boolean =>
  model instanceof BertForTokenClassification ||
  model instanceof BertForMaskedLM ||
  model instanceof BertForPreTraining ||
  model instanceof BertLMHeadModel

const countLabels = (batches: readonly ModelBatch[]): number =>
  countLabelled(batches.flatMap(({ labels }) => (labels ?? []).flat()))

/**
 * What Transformers 5.18 divides the loss of each micro-batch by (trainer.py, get_batch_samples and training_step). Most heads of BERT
 * ignore the number of items of the whole update that the Trainer hands them, and each takes its own mean, so that the gradient grows
 * with the accumulation (huggingface/transformers#47688). The language model obeys, but with the first label of each sequence counted,
 * which it does not predict; a head without `labels` is not handed the number, and the Trainer divides by the micro-batches instead.
 */
function lossDenominators(
  model: PreTrainedModel,
  batches: readonly ModelBatch[],
  labelSmoothing: number,
): Reproduction['denominators'] {
  if (model instanceof BertForQuestionAnswering)
    return (own) => own.map((terms) => terms.map((count) => count * own.length))
  if (model instanceof BertLMHeadModel) {
    const items = countLabels(batches)
    return (own) => own.map(() => [items])
  }
  // the label smoother takes the loss from the head, and obeys
  return labelSmoothing > 0 ? undefined : (own) => own
}

/**
 * Training as Transformers 5.18 does it, where bertkit's own rules differ: batches are padded, which the loss of question answering
 * sees, and losses are divided by Transformers' denominators. With a generator, that of PyTorch on a CPU, from which masks of dropout
 * and new tensors are drawn: one stream, whose place is part of a checkpoint.
 */
export class Parity {
  readonly #model: PreTrainedModel
  readonly #optimizer: AdamW
  readonly #seed: number
  #generator: TorchGenerator | undefined

  private constructor(model: PreTrainedModel, optimizer: AdamW, { parity, seed }: TrainingArguments) {
    this.#model = model
    this.#optimizer = optimizer
    this.#seed = seed
    // Transformers' Trainer calls set_seed when it is made
    if (parity === 'pytorch-cpu') this.#generator = new TorchGenerator(seed)
  }

  /** Undefined where the arguments do not ask for it. Throws ArgumentError where model, optimiser or data cannot have it. */
  static of(
    args: TrainingArguments,
    model: TrainableModel,
    optimizer: TrainableOptimizer,
    { size }: TrainingSource,
  ): Parity | undefined {
    if (args.parity === 'none') return undefined
    if (args.parity === 'pytorch-cpu' && args.trainSamplingStrategy === 'random' && !size.lengths)
      throw new ArgumentError(
        "Expected trainDataset to be an array because of parity 'pytorch-cpu' but it is streamed, and is shuffled piece by piece",
      )
    if (model instanceof PreTrainedModel && optimizer instanceof AdamW) return new Parity(model, optimizer, args)
    throw new ArgumentError(
      `Expected a model of bertkit and its AdamW because of parity '${args.parity}' but received another object`,
    )
  }

  /** Begins a run: a new one draws the new tensors of the model, one that is resumed goes on at `saved`, from `save`. */
  async begin(saved: string | null): Promise<void> {
    if (!this.#generator) return
    if (saved === null) return drawNewTensors(this.#model, this.#seed)
    const generator = TorchGenerator.parse(saved)
    if (!generator)
      throw new DataError(
        'Expected bertkit.generator of trainer_state.json to be the state of a generator but it is damaged',
      )
    this.#generator = generator
  }

  /** Where the stream stands; null without one. */
  save(): string | null {
    return this.#generator?.toText() ?? null
  }

  /** An evaluation has begun to read its data. */
  evaluated(): void {
    this.#generator?.drawLoaderSeed()
  }

  /** An update, the first of an epoch or not. One that fails leaves the stream where it was. */
  async step(
    batches: readonly ModelBatch[],
    options: StepOptions,
    firstOfEpoch: boolean,
  ): Promise<{ loss: number; gradNorm: number }> {
    const model = this.#model
    const before = this.#generator?.clone()
    if (firstOfEpoch) this.#generator?.drawLoaderSeed()
    const padTokenId = model.config.padTokenId ?? 0
    const padded = batches.map((batch) => padBatch(batch, padTokenId, hasLabelsOfTokens(model)))
    const denominators = lossDenominators(model, batches, options.labelSmoothing ?? 0)
    try {
      return await this.#optimizer.stepReproducing(padded, options, { masks: this.#generator, denominators })
    } catch (error) {
      this.#generator = before
      throw error
    }
  }
}
