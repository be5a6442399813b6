// What the programs of this folder share: commands that have to succeed, and reasons to stop.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

// import.meta.dirname is not in the versions of Node that run.mjs refuses in words
export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')

/** A reason to stop that has been explained: no stack. */
export class Stop extends Error {}

/** npm, as the words of a command: the one that runs this program, else that of the PATH. */
export const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm']

/**
 * Runs a command and returns what it prints; with `stdio: 'inherit'` that is shown instead. Stops where the command fails, with what it
 * has printed. `what` is the command in that message.
 */
export function run([command, ...args], { what = [command, ...args].join(' '), ...options } = {}) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  })
  if (status === 0) return stdout
  throw new Stop([`${what} failed${error ? `: ${error.message}` : ''}`, stdout, stderr].filter(Boolean).join('\n'))
}

const modified = (...parts) => fs.statSync(path.join(...parts), { throwIfNoEntry: false })?.mtimeMs ?? 0

/**
 * Installs what the lock file of a folder names, where that is newer than what is installed: npm writes its own copy of it last. Without
 * install scripts, since they download, or move what the packages bring.
 */
export function installModules(folder) {
  if (modified(folder, 'node_modules', '.package-lock.json') >= modified(folder, 'package-lock.json')) return
  const options = { cwd: folder, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' && npm.length === 1 }
  const command = [...npm, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  run(command, { what: `npm ci in ${path.relative(root, folder)}`, ...options })
}

/** Runs what a program does. A Stop is told in one message that begins with the program's name, and is its exit code. */
export async function main(name, program) {
  try {
    await program()
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    console.error(`${name}: ${error.message}`)
    process.exitCode = 1
  }
}
