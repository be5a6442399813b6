// Chooses a backend and says why another one cannot be had.
import { ArgumentError, BackendError } from '../errors.ts'
import { quote } from '../json.ts'
import { checkOptionNames } from '../options.ts'
import { type BackendOffer, platform } from '../platform.ts'
import type { Backend, BackendChoice, BackendDescription } from './backend.ts'
import { checkWasmOptions, type WasmOptions } from './wasm/options.ts'

const CHOICES: readonly BackendChoice[] = ['auto', 'cpu', 'cuda', 'wasm']

/** Those of BackendOptions, and of the model that they are passed along with. */
const KNOWN: readonly string[] = ['backend', 'threads', 'wasm', 'dtype', 'seed']

export interface BackendOptions {
  /** Default: auto, the best that can be opened here. */
  readonly backend?: BackendChoice
  /** Size of the thread pool; BERTKIT_THREADS, else the CPUs that the process may use. */
  readonly threads?: number
  /** Of the wasm backend. */
  readonly wasm?: WasmOptions
}

/** 0: the CPUs that the process may use. */
function threadsOf(value: number | undefined): number {
  const text = platform().env('BERTKIT_THREADS')
  if (value === undefined && (!text || text === '0')) return 0
  const threads = value === undefined ? Number(text) : value
  if (!Number.isInteger(threads) || threads < 1 || threads > 256)
    throw new ArgumentError(
      `Expected threads to be an integer from 1 to 256 but received ${value === undefined ? `BERTKIT_THREADS=${text}` : quote(value)}`,
    )
  return threads
}

/**
 * The backend for these options, opened at the first call. Explicit choices never fall back to another one silently; for 'auto' the
 * first that can be opened serves, and one line says what could not. An ArgumentError for an option that is none, or that no backend takes.
 */
export async function openBackend(given: BackendOptions = {}): Promise<Backend> {
  checkOptionNames('The backend', given, KNOWN)
  const { backend = 'auto', threads, wasm } = given
  if (!CHOICES.includes(backend))
    throw new ArgumentError(`Expected backend to be one of ${CHOICES.join(', ')} but received ${quote(backend)}`)
  if (wasm !== undefined) checkWasmOptions(wasm)
  const { backends, env } = platform()
  const options = { isa: env('BERTKIT_ISA') || undefined, threads: threadsOf(threads), wasm }
  if (backend === 'auto') return openFirst(backends, options)
  const found = backends.find(({ name }) => name === backend)
  if (!found) {
    const names = [...backends.map(({ name }) => name), 'auto'].map((name) => `'${name}'`)
    throw new BackendError(`The ${backend} backend is not part of this build; use backend ${names.join(' or ')}`)
  }
  return found.open(options)
}

let told = false

async function openFirst(
  backends: readonly BackendOffer[],
  options: Parameters<BackendOffer['open']>[0],
): Promise<Backend> {
  const reasons: string[] = []
  for (const { name, open } of backends)
    try {
      const opened = await open(options)
      if (reasons.length > 0 && !told) {
        told = true
        console.warn(`bertkit: using the ${name} backend. ${reasons.join('. ')}`)
      }
      return opened
    } catch (error) {
      if (error instanceof BackendError && error.reason === 'absent') continue // nobody has asked for it
      // what was asked for or built wrongly is no reason to take another
      if (!(error instanceof BackendError && error.reason === 'unavailable')) throw error
      reasons.push(error.message)
    }
  throw new BackendError(reasons.join('. '))
}

/** What would run a model with these options. */
export async function describeBackend(options: BackendOptions = {}): Promise<BackendDescription> {
  const backend = await openBackend(options)
  backend.close()
  return backend.description
}
