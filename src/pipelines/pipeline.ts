// pipeline(): a task by its name.
import { ArgumentError } from '../errors.ts'
import type { PretrainedSource } from '../formats/pretrained-source.ts'
import { quote } from '../json.ts'
import type {
  BertForMaskedLM,
  BertForQuestionAnswering,
  BertForSequenceClassification,
  BertForTokenClassification,
  BertModel,
} from '../session/models.ts'
import type { TokenEntity } from './entities.ts'
import { type FeatureExtractionOptions, featureExtraction } from './feature-extraction.ts'
import { type FillMaskOptions, fillMask } from './fill-mask.ts'
import { type Callable, open, type PipelineOptions } from './open.ts'
import { type Answer, type QuestionAnsweringOptions, questionAnswering } from './question-answering.ts'
import { sentenceSimilarity } from './sentence-similarity.ts'
import { type Classification, type TextClassificationOptions, textClassification } from './text-classification.ts'
import { type TokenClassificationOptions, tokenClassification } from './token-classification.ts'
import type {
  AnswerOf,
  ClassificationOf,
  EntityOf,
  FeatureExtractionPipeline,
  FillMaskPipeline,
  QuestionAnsweringPipeline,
  SentenceSimilarityPipeline,
  TextClassificationPipeline,
  TokenClassificationPipeline,
  ZeroShotClassificationPipeline,
} from './types.ts'
import { type ZeroShotClassificationOptions, zeroShotClassification } from './zero-shot-classification.ts'

/** The options of each task, its aliases included. */
export interface PipelineTaskOptions {
  'fill-mask': FillMaskOptions
  'text-classification': TextClassificationOptions
  'sentiment-analysis': TextClassificationOptions
  'token-classification': TokenClassificationOptions
  ner: TokenClassificationOptions
  'question-answering': QuestionAnsweringOptions
  'feature-extraction': FeatureExtractionOptions
  'sentence-similarity': object
  'zero-shot-classification': ZeroShotClassificationOptions
}

export type PipelineTask = keyof PipelineTaskOptions

/** The class of the model that each task needs. */
export interface PipelineModels {
  'fill-mask': BertForMaskedLM
  'text-classification': BertForSequenceClassification
  'sentiment-analysis': BertForSequenceClassification
  'token-classification': BertForTokenClassification
  ner: BertForTokenClassification
  'question-answering': BertForQuestionAnswering
  'feature-extraction': BertModel
  'sentence-similarity': BertModel
  'zero-shot-classification': BertForSequenceClassification
}

/** The pipeline of each task, made with `Options`. */
export interface Pipelines<Options> {
  'fill-mask': FillMaskPipeline
  'text-classification': TextClassificationPipeline<ClassificationOf<Options, Classification>>
  'sentiment-analysis': TextClassificationPipeline<ClassificationOf<Options, Classification>>
  'token-classification': TokenClassificationPipeline<EntityOf<Options, TokenEntity>>
  ner: TokenClassificationPipeline<EntityOf<Options, TokenEntity>>
  'question-answering': QuestionAnsweringPipeline<AnswerOf<Options, Answer>>
  'feature-extraction': FeatureExtractionPipeline
  'sentence-similarity': SentenceSimilarityPipeline
  'zero-shot-classification': ZeroShotClassificationPipeline
}

type Opener = (model: unknown, options: PipelineOptions) => Promise<Callable<unknown>>

const OPENERS: Readonly<Record<PipelineTask, Opener>> = {
  'fill-mask': (model, options) => open(fillMask, model, options),
  'text-classification': (model, options) => open(textClassification, model, options),
  'sentiment-analysis': (model, options) => open(textClassification, model, options),
  'token-classification': (model, options) => open(tokenClassification, model, options),
  ner: (model, options) => open(tokenClassification, model, options),
  'question-answering': (model, options) => open(questionAnswering, model, options),
  'feature-extraction': (model, options) => open(featureExtraction, model, options),
  'sentence-similarity': (model, options) => open(sentenceSimilarity, model, options),
  'zero-shot-classification': (model, options) => open(zeroShotClassification, model, options),
}

/**
 * Opens a model for a task: a function of texts. Called with an input it promises its output, with a list a list of outputs, and with
 * any other iterable, asynchronous ones too, it gives an AsyncGenerator of outputs. Batches are ragged, so that an output depends
 * neither on batchSize nor on other inputs. Options and outputs are those of Transformers' pipelines in camelCase. Options of the task
 * that are given here are the defaults of its calls.
 *
 *     using classify = await pipeline('text-classification', './my-model')
 *     const [{ label, score }] = await classify('what a film')
 *
 * `model`: a folder, a Hub id, a URL or an object of files (see `PretrainedSource`), or a model of the task's class that is loaded, which
 * needs the option tokenizer and stays its owner's. How a folder makes embeddings, its pooling and its longest text, is not known of a
 * model that is loaded.
 * @throws ArgumentError without a model, for an unknown task or option, or for one about loading beside a model that is loaded;
 * WeightsError or ConfigError for a model of another task; else what fromPretrained throws. Calls throw ArgumentError, which names the input, and AbortedError.
 */
export async function pipeline<Task extends PipelineTask, const Options extends PipelineTaskOptions[Task]>(
  task: Task,
  model?: PretrainedSource | PipelineModels[Task],
  options?: PipelineOptions & Options,
): Promise<Pipelines<Options>[Task]> {
  if (!Object.hasOwn(OPENERS, task))
    throw new ArgumentError(`Expected a task of ${Object.keys(OPENERS).join(', ')} but received ${quote(task)}`)
  const opened: unknown = await OPENERS[task](model, options ?? {})
  return opened as Pipelines<Options>[Task]
}
