// Kills a process that saves at random moments, and looks at what it left. Needs `npm run build`.
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { FolderFiles } from '../../dist/formats/folder-files.js'
import { openWeights } from '../../dist/formats/weights.js'

const loop = path.join(import.meta.dirname, 'save-loop.mjs')

/** Starts the loop, kills it some milliseconds after its first save, and returns the last save that it called done. */
function saveAndKill(folder, first, milliseconds) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [loop, folder, String(first)], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errors = ''
    child.stdout.on('data', (data) => {
      if (output === '') setTimeout(() => child.kill('SIGKILL'), milliseconds)
      output += data
    })
    child.stderr.on('data', (data) => {
      errors += data
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (signal !== 'SIGKILL') reject(new Error(`the saving process ended with ${code}: ${errors.slice(-500)}`))
      else resolve(Number(output.trimEnd().split('\n').at(-1)))
    })
  })
}

/** The values that the folder's weights have. */
async function valuesIn(folder) {
  const source = await openWeights(new FolderFiles(folder))
  try {
    const values = new Set()
    for (const name of source.tensors.keys()) for (const value of await source.read(name)) values.add(value)
    if (source.tensors.size !== 12) values.add(`${source.tensors.size} tensors`)
    return [...values]
  } finally {
    await source.close()
  }
}

/**
 * Kills `count` times. After each kill the folder must load, and all of it be of the last save that was done or of the next one.
 * Returns what was otherwise, how many kills came in the middle of a save that had left files, and the rests that are there at the end.
 */
export async function killRepeatedly(count, random) {
  const folder = await mkdtemp(path.join(tmpdir(), 'bertkit-kill-'))
  const failures = []
  let interrupted = 0
  let next = 0
  for (let kill = 0; kill < count; kill++) {
    const done = await saveAndKill(folder, next, random() * 40)
    if ((await readdir(folder)).some((name) => name.endsWith('.tmp'))) interrupted++
    try {
      const values = await valuesIn(folder)
      if (values.length !== 1 || (values[0] !== done && values[0] !== done + 1))
        failures.push(`kill ${kill}: ${done} was saved, then [${values.slice(0, 5)}] found`)
    } catch (error) {
      failures.push(`kill ${kill}: ${error}`)
    }
    next = done + 1
  }
  await rm(folder, { recursive: true })
  return { failures, interrupted }
}
