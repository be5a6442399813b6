// Finds and loads the addon: the one that was built here, else that of the package for this platform.
import { createHash } from 'node:crypto'
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { BackendError } from '../errors.ts'
import { opsHash } from '../graph/op-table.ts'
import { here } from './here.ts'

/** The addon's exports (native/addon.cc). */
export interface Addon {
  readonly opsHash: bigint
  readonly Engine: new (isa: string, threads: number) => NativeEngine
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
const folder = path.dirname(fileURLToPath(HERE))
/** Where a build leaves the addon, from src/backend and from dist/backend alike. */
const BUILT = path.resolve(folder, '../../build/Release/bertkit.node')
/** SHA-256 of the addon of each platform, as released with this version; not in a checkout. */
const SUMS = path.resolve(folder, '../prebuilds.json')
const REBUILD = 'Build them with: npx bertkit build-native (in a checkout: npm run build)'

/** The loader that starts a 64-bit ELF program: the segment PT_INTERP (ELF specification, 2-3 and 2-13). */
function interpreterOf(program: string): string {
  const file = openSync(program, 'r')
  const at = (offset: number, bytes: number) => {
    const buffer = Buffer.alloc(bytes)
    return buffer.subarray(0, readSync(file, buffer, 0, bytes, offset))
  }
  try {
    const header = at(0, 64)
    const [entry, count] = [header.readUInt16LE(54), header.readUInt16LE(56)]
    const table = at(Number(header.readBigUInt64LE(32)), entry * count)
    for (let offset = 0; offset < table.length; offset += entry)
      if (table.readUInt32LE(offset) === 3)
        return at(Number(table.readBigUInt64LE(offset + 8)), Number(table.readBigUInt64LE(offset + 32))).toString()
    return ''
  } finally {
    closeSync(file)
  }
}

function isMusl(): boolean {
  try {
    return interpreterOf(process.execPath).includes('/ld-musl-')
  } catch {
    return false // a program that cannot be read is taken for one of glibc's, as most are
  }
}

/** As in the name of the platform's package. */
export function platformName(): string {
  return `${process.platform}-${process.arch}${process.platform === 'linux' && isMusl() ? '-musl' : ''}`
}

const firstLine = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\n')[0]

/** The addon in a file. `what` is it in an error. */
function load(file: string, what: string): Addon {
  let addon: Addon
  try {
    addon = require(file) as Addon
  } catch (cause) {
    throw new BackendError(`Cannot load the native kernels from ${what}: ${firstLine(cause)}. ${REBUILD}`, {
      cause,
      reason: 'unavailable',
    })
  }
  if (addon.opsHash !== opsHash)
    throw new BackendError(
      `The native kernels in ${what} were built from another list of ops, that of another version. ${REBUILD}`,
    )
  return addon
}

/** The addon of the platform's package, which npm installed with bertkit. */
function loadPackage(): Addon {
  const platform = platformName()
  const name = `@bertkit/${platform}`
  let file: string
  try {
    file = require.resolve(name)
  } catch (cause) {
    const sums = readSums()
    const why =
      sums && !(platform in sums)
        ? `there are none for ${platform}`
        : `${name} is not installed, which npm does with bertkit unless optional packages are left out`
    throw new BackendError(`Cannot load the native kernels: ${why}. ${REBUILD}`, { cause, reason: 'unavailable' })
  }
  const expected = readSums()?.[platform]
  if (expected && createHash('sha256').update(readFileSync(file)).digest('hex') !== expected)
    throw new BackendError(
      `The native kernels in ${file} are not those that were released with this version of bertkit: expected ${name} of the same version. Install both again`,
      { reason: 'unavailable' },
    )
  return load(file, file)
}

function readSums(): Record<string, string> | undefined {
  return existsSync(SUMS) ? (JSON.parse(readFileSync(SUMS, 'utf8')) as Record<string, string>) : undefined
}

let loaded: Addon | undefined

/**
 * The addon, loaded once: from the file that BERTKIT_ADDON names (for tests and packagers), else from a build beside this code, else
 * from the platform's package. A BackendError says what was tried; its reason is 'unavailable' where another backend may serve.
 */
export function loadAddon(): Addon {
  const { BERTKIT_ADDON } = process.env
  if (BERTKIT_ADDON) loaded ??= load(path.resolve(BERTKIT_ADDON), path.resolve(BERTKIT_ADDON))
  else loaded ??= existsSync(BUILT) ? load(BUILT, BUILT) : loadPackage()
  return loaded
}
