// The runtimes that npm packages of this folder bring.
import fs from 'node:fs'
import path from 'node:path'

const modules = path.join(import.meta.dirname, 'node_modules')
const windows = process.platform === 'win32'

/** A file of an installed package; undefined where it is not. */
export function installed(name, ...file) {
  const program = path.join(modules, name, ...file)
  return fs.existsSync(program) ? program : undefined
}

const denoName = {
  linux: `@deno/linux-${process.arch}-glibc`,
  darwin: `@deno/darwin-${process.arch}`,
  win32: `@deno/win32-${process.arch}`,
}[process.platform]
const bunMachine = { x64: 'x64', arm64: 'aarch64' }[process.arch]

/** By major version. */
export const nodes = Object.fromEntries(
  ['20', '22', '24'].map((major) => [major, installed(`node${major}`, 'bin', windows ? 'node.exe' : 'node')]),
)
export const deno = installed(denoName, windows ? 'deno.exe' : 'deno')
export const bun = installed(
  `@oven/bun-${windows ? 'windows' : process.platform}-${bunMachine}`,
  'bin',
  windows ? 'bun.exe' : 'bun',
)

/** The arguments before a script, with the permissions that a program with bertkit needs in Deno. */
const DENO = [
  'run',
  '--quiet',
  '--no-prompt',
  '--node-modules-dir=manual',
  '--allow-read',
  '--allow-env',
  '--allow-ffi',
]

/** What runs a program: a name for tests, and a command with the arguments before the script; `missing` says why there is none. */
export const runtimes = [
  ...Object.entries(nodes).map(([major, program]) => ({
    name: `Node ${major}`,
    command: [program],
    missing: program ? undefined : `npm has no Node ${major} for this machine in test/packages/package.json`,
  })),
  { name: 'Deno', command: [deno, ...DENO], missing: deno ? undefined : 'npm has no Deno for this machine' },
  { name: 'Bun', command: [bun, '--no-install'], missing: bun ? undefined : 'npm has no Bun for this machine' },
]
