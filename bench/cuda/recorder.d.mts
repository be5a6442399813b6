import type { Backend } from '../../src/backend/backend.ts'

export class Recorder {
  constructor(folder: string, limit?: number)
  readonly skipped: number
  wrap(
    backend: Backend,
    about: () => { readonly name: string },
    options?: { readonly arenas?: readonly number[]; readonly singly?: () => boolean },
  ): Backend
  close(): string
}
