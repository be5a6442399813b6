// Kills a process that trains at random moments, and continues from what it left. Needs `npm run build`.
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

const loop = path.join(import.meta.dirname, 'train-loop.mjs')

/** Trains until the end, or until it is killed some milliseconds after its first save; undefined: it is not killed. */
function train(folder, milliseconds) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [loop, folder], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errors = ''
    child.stdout.on('data', (data) => {
      if (output === '' && milliseconds !== undefined) setTimeout(() => child.kill('SIGKILL'), milliseconds)
      output += data
    })
    child.stderr.on('data', (data) => {
      errors += data
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (signal !== 'SIGKILL' && code !== 0) reject(new Error(`training ended with ${code}: ${errors.slice(-500)}`))
      const steps = [...output.matchAll(/^saved (\d+)$/gm)].map(([, step]) => Number(step))
      resolve({ step: steps.at(-1) ?? 0, result: /^done (\w+)$/m.exec(output)?.[1] })
    })
  })
}

const newest = async (folder) => {
  const steps = (await readdir(folder)).map((name) => Number(/^checkpoint-(\d+)$/.exec(name)?.[1] ?? 0))
  return Math.max(0, ...steps)
}

/**
 * Kills `count` times, in as many runs as that takes. A checkpoint that was reported saved must still be there, or a newer one, and
 * every run must end with the bits and the log of the one that nobody killed. Returns what was otherwise, and how many kills left
 * half-written folders.
 */
export async function killTraining(count, random) {
  const root = await mkdtemp(path.join(tmpdir(), 'bertkit-kill-train-'))
  const failures = []
  let interrupted = 0
  try {
    const { result: expected } = await train(path.join(root, 'whole'))
    for (let kill = 0, run = 0; kill < count; run++) {
      const folder = path.join(root, `run-${run}`)
      let result
      while (result === undefined) {
        // the last kills of a run that is over come to nothing
        const done = await train(folder, kill < count ? random() * 120 : undefined)
        result = done.result
        if (result !== undefined) break
        kill++
        if ((await readdir(folder)).some((name) => /\.(tmp|old)$/.test(name))) interrupted++
        const found = await newest(folder)
        if (found < done.step) failures.push(`kill ${kill}: step ${done.step} was saved, then the newest was ${found}`)
      }
      if (result !== expected) failures.push(`run ${run} ended with ${result} instead of ${expected}`)
      await rm(folder, { recursive: true })
    }
    return { failures, interrupted }
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}
