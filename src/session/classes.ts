// The model classes by their names, as the `architectures` of a config.json name them.
import * as models from './models.ts'
import type { ModelClass, PreTrainedModel } from './pretrained.ts'

const CLASSES: Readonly<Record<string, ModelClass<PreTrainedModel>>> = { ...models }

/** The class of that name; undefined: there is none. */
export const modelClass = (name: string): ModelClass<PreTrainedModel> | undefined =>
  Object.hasOwn(CLASSES, name) ? CLASSES[name] : undefined
