export type { BackendDescription } from './backend/backend.ts'
export { describeBackend } from './backend/open.ts'
export { BertTokenizer } from './data/tokenizer/tokenizer.ts'
export * from './errors.ts'
export { BertConfig, type BertConfigFields, type ProblemType } from './model/config.ts'
export * from './optim/schedules.ts'
export { AdamW, type AdamWOptions, type StepOptions } from './session/adamw.ts'
export type { ModelInputs, TokenInput } from './session/batch.ts'
export {
  BertForSequenceClassification,
  BertModel,
  type BertModelOutput,
  type SequenceClassifierOutput,
} from './session/models.ts'
export type {
  ForwardOptions,
  FromPretrainedOptions,
  LoadReport,
  ModelOptions,
  ParameterInfo,
} from './session/pretrained.ts'
export type { Tensor } from './tensor.ts'
export { Trainer } from './train/trainer.ts'
