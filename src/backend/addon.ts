// Finds and loads the addon: the one that was built here, else that of the package for this platform.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { BackendError, messageOf } from '../errors.ts'
import { opsHash } from '../graph/op-table.ts'
import { here } from './here.ts'
import { hostPlatform } from './host-platform.ts'
import { MAIN, RELEASE, SCOPE } from './prebuilt.ts'

/** The addon's exports (native/addon.cc). */
export interface Addon {
  readonly opsHash: bigint
  /** `library`: the file of one with the kernels, in place of the addon's own. */
  readonly Engine: new (
    isa: string,
    threads: number,
    library?: string,
  ) => NativeEngine
  readonly Memory: new (engine: NativeEngine) => NativeMemory
  readonly Program: new (engine: NativeEngine, plan: Int32Array) => NativeProgram
}
export interface NativeEngine {
  describe(): string
  measurePeak(peak: number, seconds: number): number
  cancel(run: number): void
}
export interface NativeMemory {
  reserve(arena: number, bytes: number): void
  release(arena: number): void
  write(arena: number, offset: number, source: NodeJS.TypedArray): void
  read(arena: number, offset: number, target: NodeJS.TypedArray): void
  dispose(): void
}
export interface NativeProgram {
  run(
    memory: NativeMemory,
    scalars: Float64Array,
    done: (error: number, message: string, seconds: Float64Array | undefined) => void,
    timed: boolean,
  ): number
  dispose(): void
}

const HERE = here(import.meta.url)
const require = createRequire(HERE)

/** Where a build leaves the addon, from src/backend and from dist/backend alike; undefined where there is none, or this is in a bundle. */
function builtHere(): string | undefined {
  const root = path.resolve(path.dirname(fileURLToPath(HERE)), '../..')
  const file = path.join(root, 'build', 'Release', 'bertkit.node')
  try {
    // two folders above a bundle lies what is nobody's, and anybody might put a library there
    const { name } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { name?: unknown }
    return name === MAIN && existsSync(file) ? file : undefined
  } catch {
    return undefined
  }
}

const firstLine = (error: unknown) => messageOf(error).split(/\r?\n/)[0]

const unavailable = (message: string, cause?: unknown) =>
  new BackendError(`Cannot load the native kernels${message}`, { cause, reason: 'unavailable' })

/** How the package of a platform comes here. */
const installation = (name: string) => `npm install ${name}@${RELEASE?.version ?? 'latest'}`

function load(file: string): Addon {
  let addon: Addon
  try {
    addon = require(file) as Addon
  } catch (cause) {
    throw unavailable(` from ${file}: ${firstLine(cause)}`, cause)
  }
  if (addon.opsHash !== opsHash)
    throw new BackendError(
      `The native kernels in ${file} are those of another version of bertkit: build or install them again`,
    )
  return addon
}

/** A file that somebody chose is loaded or is an error, and nothing serves in its place. */
function loadNamed(name: string): Addon {
  const file = path.resolve(name)
  try {
    return load(file)
  } catch (error) {
    const cause = error instanceof BackendError && error.reason === 'unavailable' ? error.cause : error
    throw new BackendError(`Cannot load the native kernels that BERTKIT_ADDON names, ${file}: ${firstLine(cause)}`, {
      cause,
    })
  }
}

/** The addon of the platform's package, which npm installed with bertkit. */
function loadPackage(): Addon {
  const platform = hostPlatform()
  const name = `${SCOPE}/${platform}`
  const expected = RELEASE?.sums[platform]
  let file: string
  try {
    file = require.resolve(name)
  } catch (cause) {
    const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'MODULE_NOT_FOUND'
    if (!isMissing) throw unavailable(`: ${name} cannot be looked for: ${firstLine(cause)}`, cause)
    if (!RELEASE) throw unavailable(': none were built. In a checkout, npm run build builds them', cause)
    if (!expected)
      throw unavailable(`: there are none for ${platform}, but npx bertkit build-native builds them`, cause)
    throw unavailable(
      `: ${name} is not installed; npm installs it with bertkit unless optional dependencies are omitted. ${installation(name)} installs it; for a bundle, deploy node_modules/${name} beside it`,
      cause,
    )
  }
  if (expected && createHash('sha256').update(readFileSync(file)).digest('hex') !== expected)
    throw unavailable(
      ` from ${file}: the file is damaged, or of another version than bertkit ${RELEASE?.version}. ${installation(name)} installs the one that was released`,
    )
  return load(file)
}

/** What a build made here, and where that cannot be loaded, as in files that were copied from another system, the package's. */
function loadFirst(): Addon {
  const built = builtHere()
  if (!built) return loadPackage()
  try {
    return load(built)
  } catch (error) {
    if (!(error instanceof BackendError && error.reason === 'unavailable')) throw error
    try {
      return loadPackage()
    } catch (second) {
      throw unavailable(` from ${built}: ${firstLine(error.cause)}. ${firstLine(second)}`, error)
    }
  }
}

let loaded: Addon | undefined

/**
 * The addon, loaded once: from the file that BERTKIT_ADDON names (for tests and packagers), else from a build beside this code, else
 * from the platform's package. A BackendError says what was tried; its reason is 'unavailable' where another backend may serve.
 */
export function loadAddon(): Addon {
  const { BERTKIT_ADDON } = process.env
  loaded ??= BERTKIT_ADDON ? loadNamed(BERTKIT_ADDON) : loadFirst()
  return loaded
}
