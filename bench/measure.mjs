// Timing and reporting that every benchmark shares.
import { execFileSync } from 'node:child_process'
import os from 'node:os'
import { performance } from 'node:perf_hooks'

export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]

/** Options of a model for --backend and --threads. */
export const modelOn = ({ backend, threads }) => ({
  backend,
  threads: threads === undefined ? undefined : Number(threads),
})

/** Seconds of each of `runs` calls, after `warm` that do not count. */
export async function time(call, { runs = 7, warm = 2 } = {}) {
  const seconds = []
  for (let i = 0; i < warm + runs; i++) {
    const start = performance.now()
    await call()
    if (i >= warm) seconds.push((performance.now() - start) / 1000)
  }
  return seconds
}

/** What a figure needs to be compared: the machine, the instruction set, the commit and the date. */
export function provenance(description) {
  let commit = 'unknown'
  try {
    commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    // not a git checkout: the figure is still worth printing
  }
  return {
    machine: `${description.cpu}, ${os.cpus().length} CPUs`,
    isa: description.isa,
    threads: description.threads,
    commit,
    date: new Date().toISOString().slice(0, 10),
  }
}

/** Deterministic float32 values in [-1, 1). */
export function noise(length, seed = 1) {
  const values = new Float32Array(length)
  let state = seed >>> 0 || 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    values[i] = state / 2 ** 31 - 1
  }
  return values
}

/** Prints a result as one line of JSON, or as a table with a line for each field. */
export function printResult(result, json) {
  const lines = Object.entries(result).map(([key, value]) => `${key.padEnd(22)} ${value}`)
  console.log(json ? JSON.stringify(result) : lines.join('\n'))
}
