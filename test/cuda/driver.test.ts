// What is recorded here is done again by bench/cuda/driver.py, which sees where a library gives something else.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { Recorder } from '../../bench/cuda/recorder.mjs'
import type { Backend } from '../../src/backend/backend.ts'
import { Row } from '../../src/graph/op-table.ts'
import { Random, runRecord } from '../conformance/harness.ts'
import { library, missing, openCuda } from './library.ts'

const python = process.env.BERTKIT_PYTHON ?? 'python3'
const hasNumpy = spawnSync(python, ['-c', 'import numpy']).status === 0
const reason = missing ?? (hasNumpy ? undefined : `${python} has no NumPy: BERTKIT_PYTHON`)
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-recording-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

const replay = (recording: string) => {
  const driver = path.join(import.meta.dirname, '../../bench/cuda/driver.py')
  const options = ['--library', library, '--replays', '20', recording]
  const { status, stdout, stderr } = spawnSync(python, [driver, ...options], { encoding: 'utf8' })
  return { status, text: stdout + stderr }
}

/** A product in bfloat16, rows by their index, and an index that is refused; with other row counts each time. */
async function runSome(backend: Backend): Promise<void> {
  const random = new Random(5)
  const [K, N, H] = [40, 24, 9]
  for (const tokens of [7, 50]) {
    const rows = { tokens, sequences: 3 }
    const capacity = { tokens: 64, sequences: 4 }
    await runRecord(backend, {
      op: 'linear',
      operands: { x: random.reals(tokens * K), w: random.reals(N * K), bias: random.reals(N) },
      attributes: { rows: Row.tokens, K, N, act: 'gelu' },
      type: 'bfloat16',
      rows,
      capacity,
    })
    const gathered = (index: Int32Array) =>
      runRecord(backend, {
        op: 'gatherRows',
        operands: { x: random.reals(tokens * H), index },
        attributes: { from: Row.tokens, to: Row.sequences, H },
        rows,
        capacity,
      })
    await gathered(Int32Array.of(tokens - 1, 0, 3))
    await expect(gathered(Int32Array.of(0, tokens, 0))).rejects.toThrow(/index\[1\] is/)
  }
}

async function record(name: string, backend: Backend, limit?: number): Promise<string> {
  const recording = path.join(folder, name)
  const recorder = new Recorder(recording, limit)
  await runSome(recorder.wrap(backend, () => ({ name })))
  recorder.close()
  return recording
}

describe.skipIf(reason)(`a recording${reason ? ` (${reason})` : ''}`, () => {
  it('is done again with the same results, errors too, and mixed', async () => {
    const { status, text } = replay(await record('honest', openCuda()))
    expect(status, text).toBe(0)
    expect(text).toMatch(/6 of 6 recorded runs in .* 0 failures/)
    expect(text).toMatch(/^linear +2 +0 /m)
    expect(text).toMatch(/^gather_rows +4 +0 /m)
    expect(text).toMatch(/^mixed: linear +20 +0 /m)
  })

  it('that says otherwise is seen, and where', async () => {
    const recording = await record('honest', openCuda())
    const index = path.join(recording, 'index.json.gz')
    const { cases, ...rest } = JSON.parse(gunzipSync(fs.readFileSync(index)).toString())
    const error = { ...cases[2].error, message: 'gather_rows: index[0] is 7' }
    const swapped = cases.with(0, { ...cases[0], after: cases[0].before }).with(2, { ...cases[2], error })
    fs.writeFileSync(index, gzipSync(JSON.stringify({ ...rest, cases: swapped })))
    const { status, text } = replay(recording)
    expect(status, text).toBe(1)
    expect(text).toMatch(/FAILED linear: honest: linear y: /)
    expect(text).toMatch(
      /FAILED gather_rows: honest: error 3: .*index\[1\] is 7, .*expected error 3: .*index\[0\] is 7/,
    )
    expect(text).toMatch(/^linear +2 +2 /m)
  })

  it('keeps a part of what there is where it has a limit', async () => {
    const cases = (recording: string): unknown[] =>
      JSON.parse(gunzipSync(fs.readFileSync(path.join(recording, 'index.json.gz'))).toString()).cases
    const bytes = (recording: string) => gunzipSync(fs.readFileSync(path.join(recording, 'data.bin.gz'))).length
    const limited = await record('limited', openCuda(), 12_000)
    expect(cases(limited).length).toBeGreaterThan(1)
    expect(cases(limited).length).toBeLessThan(6)
    expect(bytes(limited)).toBe(65536) // a block
    expect(replay(limited).status).toBe(0)
  })
})
