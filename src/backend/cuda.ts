// Finds the CUDA library: a package of its own that nothing depends on, so that whoever has no GPU does not have it either.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import * as path from 'node:path'
import { BackendError } from '../errors.ts'
import type { Backend } from './backend.ts'
import { here } from './here.ts'
import { hostPlatform } from './host-platform.ts'
import { openSharedNative } from './native.ts'
import { SCOPE } from './prebuilt.ts'

const absent = (message: string, cause?: unknown) =>
  new BackendError(`The cuda backend is not here: ${message}`, { cause, reason: 'absent' })

/** The file that BERTKIT_CUDA_LIBRARY names, else that of this platform's package. */
function findLibrary(): string {
  const named = process.env.BERTKIT_CUDA_LIBRARY
  if (named) {
    const file = path.resolve(named)
    if (existsSync(file)) return file
    throw new BackendError(`There is no CUDA library where BERTKIT_CUDA_LIBRARY says, ${file}`)
  }
  const name = `${SCOPE}/cuda-${hostPlatform()}`
  try {
    return createRequire(here(import.meta.url)).resolve(name)
  } catch (cause) {
    const remedy = hostPlatform() === 'linux-x64' ? `npm install ${name} installs it` : 'it exists for linux-x64 only'
    throw absent(`${name} is not installed; ${remedy}`, cause)
  }
}

/** Opens the device of the process. A BackendError says what is missing: the package ('absent'), or a driver or a device ('unavailable'). */
export function openCuda(): Backend {
  const library = findLibrary()
  try {
    return openSharedNative({ library })
  } catch (cause) {
    if (!(cause instanceof BackendError) || cause.reason !== 'device') throw cause
    throw new BackendError(`Cannot use CUDA with ${library}: ${cause.message}`, { cause, reason: 'unavailable' })
  }
}
