// bertkit build-native: the addon, built on this machine where no prebuilt one fits, or for more than the baseline.
import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, realpathSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, Option } from 'commander'
import { openBackend } from '../backend/open.ts'
import { SCOPE } from '../backend/prebuilt.ts'
import { AbortedError, BackendError } from '../errors.ts'
import { addHelpParagraph } from './help.ts'
import type { Io } from './io.ts'

/** Where CMakeLists.txt and binding.gyp are: the package, or a checkout. */
const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const TOOLS = ['cmake-js', 'node-gyp'] as const
type Tool = (typeof TOOLS)[number]
const NEEDS = { 'cmake-js': 'CMake, and Ninja or Make', 'node-gyp': 'Make and Python' }
const INSTALL = 'npm install --save-dev cmake-js node-addon-api'

/** A file of a package that this project or bertkit itself can import, else undefined. */
function resolve(specifier: string): string | undefined {
  for (const from of [ROOT, process.cwd()])
    try {
      return createRequire(path.join(from, 'package.json')).resolve(specifier)
    } catch {
      // not from there
    }
  return undefined
}

/** The program of a tool. npm brings node-gyp, and says where npm is to what it runs. */
function programOf(tool: Tool): string | undefined {
  const file = { 'cmake-js': 'cmake-js/bin/cmake-js', 'node-gyp': 'node-gyp/bin/node-gyp.js' }[tool]
  const found = resolve(file)
  const { npm_execpath: npm } = process.env
  if (found || tool !== 'node-gyp' || !npm) return found
  const bundled = path.join(path.dirname(realpathSync(npm)), '..', 'node_modules', file)
  return existsSync(bundled) ? bundled : undefined
}

/** What is run, in ROOT. */
function commandOf(tool: Tool, program: string): string[] {
  if (tool === 'cmake-js') return [program, 'compile']
  // the headers that came with this Node; without them node-gyp downloads some
  const nodedir = path.join(path.dirname(realpathSync(process.execPath)), '..')
  const headers = existsSync(path.join(nodedir, 'include', 'node', 'node_api.h')) ? [`--nodedir=${nodedir}`] : []
  return [program, 'rebuild', ...headers]
}

/** A package manager may put it where only the project finds it; CMakeLists.txt and binding.gyp ask from where they lie. */
const nodePath = (manifest: string) =>
  [path.resolve(manifest, '../..'), process.env.NODE_PATH].filter(Boolean).join(path.delimiter)

function findTool(wanted: Tool | undefined): { tool: Tool; program: string; modules: string } {
  if (process.platform === 'win32')
    throw new BackendError(
      `The native kernels cannot be built on Windows, where cmake-js and node-gyp compile with MSVC; npm installs prebuilt ones with bertkit, ${SCOPE}/win32-x64 or ${SCOPE}/win32-arm64`,
    )
  const addonApi = resolve('node-addon-api/package.json')
  if (!addonApi)
    throw new BackendError(
      `Building the native kernels needs the package node-addon-api and there is none. Install what it takes with: ${INSTALL}`,
    )
  for (const tool of wanted ? [wanted] : TOOLS) {
    const program = programOf(tool)
    if (program) return { tool, program, modules: nodePath(addonApi) }
  }
  throw new BackendError(
    `Building the native kernels needs ${wanted ?? TOOLS.join(' or ')} and there is none. Install what it takes with: ${INSTALL}`,
  )
}

/** In the package binding.gyp lies in native/, since npm would build what has one in its root; it is in the root while node-gyp runs. */
async function withGypFile<Result>(body: () => Promise<Result>): Promise<Result> {
  const [packed, place] = [path.join(ROOT, 'native', 'binding.gyp'), path.join(ROOT, 'binding.gyp')]
  if (!existsSync(packed)) return body()
  copyFileSync(packed, place)
  try {
    return await body()
  } finally {
    rmSync(place, { force: true })
  }
}

/** Runs a program in ROOT, its output shown as it comes; the exit code. */
function runShown(args: readonly string[], modules: string, { stderr, signal }: Io): Promise<number | null> {
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: { ...process.env, NODE_PATH: modules },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  })
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => stderr.write(chunk.toString()))
  return new Promise((done, fail) => {
    child.once('error', (error) => fail(signal?.aborted ? new AbortedError('The build was stopped') : error))
    child.once('close', done)
  })
}

async function buildNative(wanted: Tool | undefined, io: Io): Promise<void> {
  const { tool, program, modules } = findTool(wanted)
  const code = await withGypFile(() => runShown(commandOf(tool, program), modules, io))
  if (code !== 0)
    throw new BackendError(
      `${tool} could not build the native kernels in ${ROOT}: it ended with ${code}, and what it said is above. It takes g++ or clang++, and ${NEEDS[tool]}`,
    )
  const backend = await openBackend({ backend: 'cpu' })
  io.stdout.write(
    `The native kernels were built with ${tool} and run on this machine, with ${backend.description.isa}\n`,
  )
  backend.close()
}

export function addBuildNative(program: Command, io: Io): void {
  const command = program
    .command('build-native')
    .description('build the native kernels on this machine, where no prebuilt ones fit')
    .addOption(
      new Option('--tool <name>', 'what builds them (default: the first of the two that is installed)').choices(TOOLS),
    )
    .action(({ tool }: { tool?: Tool }) => buildNative(tool, io))
  addHelpParagraph(
    command,
    `Installs nothing by itself. What it takes: ${INSTALL}\ng++ or clang++, and ${NEEDS['cmake-js']}; with node-gyp ${NEEDS['node-gyp']}.`,
  )
}
