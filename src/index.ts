export type { BackendDescription } from './backend/backend.ts'
export { describeBackend } from './backend/open.ts'
export type {
  DecodeOptions,
  EncodeOptions,
  Encoding,
  TextInput,
  TokenizerOptions,
  TruncationStrategy,
} from './data/tokenizer/tokenizer.ts'
export { BertTokenizer } from './data/tokenizer/tokenizer.ts'
export * from './errors.ts'
export type { ExportOnnxOptions, OnnxExport } from './export/onnx/export.ts'
export type { Architecture } from './export/onnx/heads.ts'
export { exportOnnx } from './export/onnx.ts'
export type { DownloadProgress, HubOptions } from './formats/hub.ts'
export type { SaveOptions } from './formats/save.ts'
export type { GenerateOutput, Generation } from './generation/generate.ts'
export type { GenerateOptions } from './generation/options.ts'
export type { GeneratedToken } from './generation/sample.ts'
export type { LabelInputs, Labels } from './heads/head.ts'
export { BertConfig, type BertConfigFields, type ProblemType } from './model/config.ts'
export type { ParamGroup } from './optim/param-groups.ts'
export type { ScheduledOptimizer, Scheduler, SchedulerState } from './optim/scheduler.ts'
export * from './optim/schedules.ts'
export { AdamW, type AdamWOptions, type StepOptions } from './session/adamw.ts'
export type { EncoderInputs } from './session/encoder.ts'
export type { ChoiceInput, ModelInputs, TokenInput } from './session/given.ts'
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
export type { Tensor } from './tensor.ts'
export type { TrainingArguments, TrainingArgumentsInput } from './train/arguments.ts'
export type { TrainEvent, TrainingRun, TrainOutput } from './train/events.ts'
export { Trainer, type TrainerOptions } from './train/trainer.ts'
export type { ComputeMetrics, Example, ModelBatch } from './train/types.ts'
