// What every entry exports: whatever needs neither a file system nor Node.
export type { BackendChoice, BackendDescription } from './backend/backend.ts'
export { type BackendOptions, describeBackend } from './backend/open.ts'
export type { WasmOptions } from './backend/wasm/open.ts'
export { createMasking, type Masking, type MaskingOptions } from './data/collators/masked-lm.ts'
export type {
  DecodeOptions,
  EncodeOptions,
  Encoding,
  TextInput,
  TokenizerOptions,
  TokenizerTrainingProgress,
  TrainTokenizerOptions,
  TruncationSide,
  TruncationStrategy,
} from './data/tokenizer/tokenizer.ts'
export { BertTokenizer } from './data/tokenizer/tokenizer.ts'
export * from './errors.ts'
export type { FileContent, FileMap } from './formats/given-files.ts'
export type { DownloadProgress, HubOptions } from './formats/hub-options.ts'
export type { PretrainedSource } from './formats/pretrained-source.ts'
export type { FileSink, SaveOptions } from './formats/save-files.ts'
export type { PoolingMode } from './formats/sentence-transformers.ts'
export type { GenerateOutput, Generation } from './generation/generate.ts'
export type { GenerationConfig, GenerationConfigFields } from './generation/generation-config.ts'
export type { GenerateOptions } from './generation/options.ts'
export type { GeneratedToken } from './generation/sample.ts'
export type { LabelInputs, Labels } from './heads/head.ts'
export { BertConfig, type BertConfigFields, type ProblemType } from './model/config.ts'
export type { ParamGroup } from './optim/param-groups.ts'
export type { ScheduledOptimizer, Scheduler, SchedulerState } from './optim/scheduler.ts'
export * from './optim/schedules.ts'
export type { AggregationStrategy, EntityGroup, TokenEntity } from './pipelines/entities.ts'
export type { FeatureExtractionOptions } from './pipelines/feature-extraction.ts'
export type { FilledMask, FillMaskOptions, FillMaskOutput } from './pipelines/fill-mask.ts'
export type { OffsetUnit } from './pipelines/offsets.ts'
export type { CallOptions, PipelineOptions } from './pipelines/open.ts'
export {
  type PipelineModels,
  type Pipelines,
  type PipelineTask,
  type PipelineTaskOptions,
  pipeline,
} from './pipelines/pipeline.ts'
export type { Answer, QuestionAnsweringOptions, QuestionInput } from './pipelines/question-answering.ts'
export type { SimilarityInput } from './pipelines/sentence-similarity.ts'
export type { Classification, TextClassificationOptions, TextOrPair } from './pipelines/text-classification.ts'
export type { TextOrWords, TokenClassificationOptions } from './pipelines/token-classification.ts'
export type {
  FeatureExtractionPipeline,
  FillMaskPipeline,
  QuestionAnsweringPipeline,
  SentenceSimilarityPipeline,
  TextClassificationPipeline,
  TokenClassificationPipeline,
  ZeroShotClassificationPipeline,
} from './pipelines/types.ts'
export type { ZeroShotClassification, ZeroShotClassificationOptions } from './pipelines/zero-shot-classification.ts'
export { AdamW, type AdamWOptions, type StepOptions } from './session/adamw.ts'
export type { EncoderInputs } from './session/encoder.ts'
export type { ChoiceInput, ModelInputs, TokenInput } from './session/inputs.ts'
export type { KeyValueCache } from './session/key-value-cache.ts'
export * from './session/models.ts'
export type {
  ForwardOptions,
  FromPretrainedOptions,
  LoadReport,
  LossOptions,
  ModelOptions,
  ParameterInfo,
} from './session/options.ts'
export type { StepInputs } from './session/prepare.ts'
export type { InputTensor, Tensor } from './tensor.ts'
