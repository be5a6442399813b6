/// <reference lib="esnext.disposable" preserve="true" />
// For Node, Deno and Bun.
import './platform-node.ts'

export * from './core.ts'
export type { LabelSet } from './data/label-names.ts'
export type { Architecture } from './export/onnx/architectures.ts'
export type { ExportOnnxOptions, OnnxExport } from './export/onnx/export.ts'
export { exportOnnx } from './export/onnx.ts'
export type { TrainingArguments, TrainingArgumentsInput } from './train/arguments.ts'
export {
  type CallbackContext,
  EarlyStoppingCallback,
  type EarlyStoppingOptions,
  type TrainerCallback,
  type TrainerControl,
} from './train/callbacks.ts'
export type { Predictions } from './train/evaluation.ts'
export type { LogRecord, TrainEvent, TrainingRun, TrainOutput } from './train/events.ts'
export { accuracy, matthews, precisionRecallF1 } from './train/metrics/classification.ts'
export { meanSquaredError, pearson, spearman } from './train/metrics/regression.ts'
export { SpanCounter, spansOf } from './train/metrics/spans.ts'
export { SquadCounter, SquadV2Counter } from './train/metrics/squad.ts'
export type { Task, TaskName, TaskOptions, TaskRow } from './train/tasks/task.ts'
export { type DataSettings, readTaskData, type TaskData, type TokenizeSettings } from './train/tasks/task-data.ts'
export { TensorBoardCallback } from './train/tensorboard-callback.ts'
export { Trainer, type TrainerOptions } from './train/trainer.ts'
export type { Dataset, TaskDataset } from './train/trainer-options.ts'
export type {
  ComputeMetrics,
  DataCollator,
  Evaluation,
  Example,
  ModelBatch,
  PredictionsForMetrics,
  StateDict,
  StreamedDataset,
  TrainableModel,
  TrainableOptimizer,
} from './train/types.ts'
export { initializeUnigramBias } from './train/unigram-bias.ts'
export { initializeWordEmbeddings, type WordEmbeddingsOptions } from './train/word-embeddings.ts'
