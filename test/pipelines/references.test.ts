// The pipelines of Transformers 5.18 on the same models, texts and options: see make_pipelines.py.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as bertkit from '../../src/index.ts'
import { CASES, writeModels } from './cases.mjs'

const packed = fs.readFileSync(path.join(import.meta.dirname, 'references.json.gz'))
const REFERENCES: unknown[][] = JSON.parse(gunzipSync(packed).toString())
/** Of scores from 0 to 1 and of hidden states up to 4; the references were computed in float64 and have seven digits. */
const TOLERANCE = 5e-6

type Run = (inputs: unknown, options: object) => Promise<unknown[]> & AsyncIterable<unknown>

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-pipelines-'))
beforeAll(() => writeModels(bertkit, folder))
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** Where two outputs differ; undefined where they are the same up to rounding. A tensor is compared with a nested list. */
function difference(actual: unknown, expected: unknown, where = ''): string | undefined {
  const differ = `${where}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`
  if (typeof expected === 'number' && typeof actual === 'number')
    return Math.abs(actual - expected) <= TOLERANCE * Math.max(1, Math.abs(expected)) ? undefined : differ
  if (typeof expected !== 'object' || expected === null) return Object.is(actual, expected) ? undefined : differ
  if (typeof actual !== 'object' || actual === null) return differ
  const keys = Object.keys(expected)
  if (Object.keys(actual).sort().join() !== keys.sort().join()) return differ
  for (const key of keys) {
    const found = difference(Reflect.get(actual, key), Reflect.get(expected, key), `${where}/${key}`)
    if (found !== undefined) return found
  }
  return undefined
}

/** A tensor as a nested list. */
function nested({ data, shape }: bertkit.Tensor, axis = 0, start = 0): unknown {
  if (axis === shape.length) return data[start]
  const size = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  return Array.from({ length: shape[axis] }, (_, i) => nested({ data, shape }, axis + 1, start + i * size))
}

const plain = (output: unknown) =>
  typeof output === 'object' && output !== null && 'shape' in output ? nested(output as bertkit.Tensor) : output

const SIZES = [1, 7, 32]

test('there are 200 inputs of each task', () => {
  const counts = new Map<string, number>()
  for (const [task, , , inputs] of CASES) counts.set(task, (counts.get(task) ?? 0) + inputs.length)
  expect(counts.size).toBe(7)
  for (const [task, count] of counts) expect(count, task).toBeGreaterThanOrEqual(200)
  expect(REFERENCES.map(({ length }) => length)).toEqual(CASES.map(([, , , { length }]) => length))
})

describe.each(CASES.map((each, i) => [i, ...each] as const))('%i %s, %s, %o', (i, task, model, options, inputs) => {
  test(`gives the outputs of Transformers for ${inputs.length} inputs`, async () => {
    using pipe = await bertkit.pipeline(task, path.join(folder, model))
    const run = pipe as unknown as Run
    const unit = ['token-classification', 'question-answering'].includes(task) ? { offsetUnit: 'codepoint' } : {}
    const batchSize = SIZES[i % SIZES.length]
    const outputs = await run(inputs, { ...options, ...unit, batchSize })
    const differences = outputs.flatMap((output, row) => difference(plain(output), REFERENCES[i][row], `${row}`) ?? [])
    expect(outputs).toHaveLength(inputs.length)
    expect(differences).toEqual([])

    // the same bits alone and in other batches, as a stream
    let row = 0
    async function* source() {
      yield* inputs.slice(0, 20)
    }
    for await (const output of run(source(), { ...options, ...unit, batchSize: 3 }))
      expect(output).toEqual(outputs[row++])
    expect(row).toBe(Math.min(20, inputs.length))
  })
})
