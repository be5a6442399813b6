// What differs between Node and the web, as far as modules of both need it. src/index.ts registers the one, src/edge.ts the other.
import type { Backend, BackendName } from './backend/backend.ts'
import type { WasmOptions } from './backend/wasm/open.ts'
import { BackendError } from './errors.ts'
import type { HubOptions } from './formats/hub-options.ts'
import type { ModelFiles } from './formats/model-files.ts'
import type { FilesToSave } from './formats/save-files.ts'

/** What a model may be read for: its config.json; its tokenizer; its config.json and weights. */
export type ModelPart = 'config' | 'tokenizer' | 'model'

export interface BackendOffer {
  readonly name: BackendName
  /** `isa`: an instruction set by name, else the best. `threads`: 0 for as many as there are. */
  readonly open: (options: {
    readonly isa?: string
    readonly threads: number
    readonly wasm?: WasmOptions
  }) => Backend | Promise<Backend>
}

export interface Platform {
  /** An environment variable; undefined where there is none, or no environment. */
  env(name: string): string | undefined
  /** What can run plans here, best first. */
  readonly backends: readonly BackendOffer[]
  /** A model by its folder, URL or Hub id. `options` are checked. Throws ArgumentError, FileError, HubError or DownloadError. */
  openModel(source: string | URL, part: ModelPart, options: HubOptions): Promise<ModelFiles>
  /** Writes a model's files into a folder, in place of older ones. Throws FileError, or ArgumentError where there are no folders. */
  saveModel(folder: string, files: FilesToSave): Promise<void>
}

let registered: Platform | undefined

export function registerPlatform(platform: Platform): void {
  registered = platform
}

export const hasPlatform = (): boolean => registered !== undefined

/** The platform that the entry of the program registered. */
export function platform(): Platform {
  if (!registered) throw new BackendError("bertkit was not imported by one of its entries, 'bertkit' or 'bertkit/edge'")
  return registered
}
