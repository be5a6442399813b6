// What callers see of each task: its inputs, options and outputs.
import type {
  BertForMaskedLM,
  BertForQuestionAnswering,
  BertForSequenceClassification,
  BertForTokenClassification,
  BertModel,
} from '../session/models.ts'
import type { Tensor } from '../tensor.ts'
import type { AggregationStrategy, EntityGroup, TokenEntity } from './entities.ts'
import type { FeatureExtractionOptions } from './feature-extraction.ts'
import type { FillMaskOptions, FillMaskOutput } from './fill-mask.ts'
import type { CallOptions, OpenPipeline } from './open.ts'
import type { Answer, QuestionAnsweringOptions, QuestionInput } from './question-answering.ts'
import type { SimilarityInput } from './sentence-similarity.ts'
import type { Classification, TextClassificationOptions, TextOrPair } from './text-classification.ts'
import type { TokenClassificationOptions } from './token-classification.ts'
import type { ZeroShotClassification, ZeroShotClassificationOptions } from './zero-shot-classification.ts'

/** Inputs that come one after another; outputs then do, too. */
type Stream<Input> = AsyncIterable<Input> | Iterable<Input>

/** A task whose output has one type whatever the options. */
export interface PlainPipeline<Model, Input, Options, Output> extends OpenPipeline<Model> {
  (input: Input, options?: Options & CallOptions): Promise<Output>
  (inputs: readonly Input[], options?: Options & CallOptions): Promise<Output[]>
  (inputs: Stream<Input>, options?: Options & CallOptions): AsyncGenerator<Output>
}

export type FillMaskPipeline = PlainPipeline<BertForMaskedLM, string, FillMaskOptions, FillMaskOutput>
export type FeatureExtractionPipeline = PlainPipeline<BertModel, string, FeatureExtractionOptions, Tensor>
export type SentenceSimilarityPipeline = PlainPipeline<BertModel, SimilarityInput, object, number[]>
export type ZeroShotClassificationPipeline = PlainPipeline<
  BertForSequenceClassification,
  string,
  ZeroShotClassificationOptions,
  ZeroShotClassification
>

/** What a text gives with these options; `Else` where they leave topK to the pipeline. */
export type ClassificationOf<Options, Else> = Options extends { topK: number | null } ? Classification[] : Else

/** `Each`: what an input gives without topK in the call. A text alone then gives a list of it, as in Transformers. */
export interface TextClassificationPipeline<Each = Classification> extends OpenPipeline<BertForSequenceClassification> {
  <const Options extends TextClassificationOptions & CallOptions>(
    text: string,
    options?: Options,
  ): Promise<ClassificationOf<Options, Each[]>>
  <const Options extends TextClassificationOptions & CallOptions>(
    pair: Exclude<TextOrPair, string>,
    options?: Options,
  ): Promise<ClassificationOf<Options, Each>>
  <const Options extends TextClassificationOptions & CallOptions>(
    inputs: readonly TextOrPair[],
    options?: Options,
  ): Promise<ClassificationOf<Options, Each>[]>
  <const Options extends TextClassificationOptions & CallOptions>(
    inputs: Stream<TextOrPair>,
    options?: Options,
  ): AsyncGenerator<ClassificationOf<Options, Each>>
}

type Grouping = Exclude<AggregationStrategy, 'none'>
/** What a strategy finds; `Else` where the options leave it to the pipeline. */
export type EntityOf<Options, Else> = Options extends { aggregationStrategy: infer Strategy }
  ? Strategy extends Grouping
    ? EntityGroup
    : TokenEntity
  : Else

/** `Each`: an entity of calls without aggregationStrategy. Words alone give a list with one output, as in Transformers. */
export interface TokenClassificationPipeline<Each = TokenEntity> extends OpenPipeline<BertForTokenClassification> {
  <const Options extends TokenClassificationOptions & CallOptions>(
    text: string,
    options?: Options,
  ): Promise<EntityOf<Options, Each>[]>
  <const Options extends TokenClassificationOptions & CallOptions>(
    texts: readonly string[] | readonly (readonly string[])[],
    options?: Options,
  ): Promise<EntityOf<Options, Each>[][]>
  <const Options extends TokenClassificationOptions & CallOptions>(
    inputs: Stream<string> | Stream<readonly string[]>,
    options?: Options,
  ): AsyncGenerator<EntityOf<Options, Each>[]>
}

/** One answer, or a list where topK asks for more than one; `Else` where the options leave it to the pipeline. */
export type AnswerOf<Options, Else> = Options extends { topK: infer Count }
  ? Count extends 1
    ? Answer
    : number extends Count
      ? Answer | Answer[]
      : Answer[]
  : Else

/** `Each`: what a question gives without topK in the call. */
export interface QuestionAnsweringPipeline<Each = Answer> extends OpenPipeline<BertForQuestionAnswering> {
  <const Options extends QuestionAnsweringOptions & CallOptions>(
    input: QuestionInput,
    options?: Options,
  ): Promise<AnswerOf<Options, Each>>
  <const Options extends QuestionAnsweringOptions & CallOptions>(
    inputs: readonly QuestionInput[],
    options?: Options,
  ): Promise<AnswerOf<Options, Each>[]>
  <const Options extends QuestionAnsweringOptions & CallOptions>(
    inputs: Stream<QuestionInput>,
    options?: Options,
  ): AsyncGenerator<AnswerOf<Options, Each>>
}
