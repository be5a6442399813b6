import type * as bertkit from '../../src/index.ts'

export const VOCABULARY: string[]
export const MODELS: Record<string, [className: string, fields: object]>
export const CASES: [
  task: bertkit.PipelineTask,
  model: string,
  options: Record<string, unknown>,
  inputs: unknown[],
][]
export function writeModels(library: typeof bertkit, folder: string): Promise<void>
