// Saving where any one call of the file system fails: the folder has the old weights or the new ones, whole.
import { mkdtempSync, readFileSync } from 'node:fs'
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { saveFolder, saveWeights } from '../../src/formats/save.ts'
import { openWeights } from '../../src/formats/weights.ts'

/** The call that fails, counted from the next one; and whether it has. */
const failing = { left: Number.POSITIVE_INFINITY, met: false }
const NAMES = ['open', 'rename', 'link', 'rm'] as const
const real = { ...fs }

beforeAll(() => {
  for (const name of NAMES) {
    const call = real[name] as (...args: unknown[]) => Promise<unknown>
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        failing.left -= 1
        if (failing.left !== 0) return call(...args)
        failing.met = true
        return Promise.reject(Object.assign(new Error('EMFILE: injected'), { code: 'EMFILE' }))
      },
    })
  }
  syncBuiltinESMExports()
})
afterAll(() => {
  for (const name of NAMES) Object.assign(fs, { [name]: real[name] })
  syncBuiltinESMExports()
})

const tensors = ['c', 'a', 'b', 'd'].map((name, i) => ({ name, shape: [i + 1, 2] }))
const data = (value: number) => (name: string) =>
  new Float32Array(2 * (tensors.find((each) => each.name === name)?.shape[0] ?? 0)).fill(value)
const SIZES = { 'one file': 1000, 'two shards': 40, 'three shards': 24 }

/** The one value that all of the folder's weights have. */
async function loaded(folder: string): Promise<number> {
  const source = await openWeights(new FolderFiles(folder))
  const values = new Set<number>()
  for (const { name } of tensors) for (const value of await source.read(name)) values.add(value)
  await source.close()
  expect([...source.tensors.keys()].sort()).toEqual(['a', 'b', 'c', 'd'])
  expect(values.size).toBe(1)
  return [...values][0]
}

/** Runs `save` with its k-th call failing, for every k that it has; what is left is checked by `check`. */
async function failEach(
  before: (folder: string) => Promise<void>,
  save: (folder: string) => Promise<void>,
  check: (folder: string, error: unknown) => Promise<void>,
) {
  let calls = 0
  for (failing.met = true; failing.met; calls++) {
    const folder = mkdtempSync(join(tmpdir(), 'bertkit-failures-'))
    await before(folder)
    Object.assign(failing, { left: calls + 1, met: false })
    const error = await save(folder).then(
      () => undefined,
      (reason) => reason,
    )
    failing.left = Number.POSITIVE_INFINITY
    await check(folder, error)
  }
  return calls - 1
}

describe('a call of the file system that fails', () => {
  const names = Object.keys(SIZES) as (keyof typeof SIZES)[]
  it.each(names.flatMap((before) => names.map((after) => [before, after] as const)))(
    '%s, then %s',
    async (before, after) => {
      const save = (value: number, size: keyof typeof SIZES) => (folder: string) =>
        saveWeights(folder, tensors, data(value), { maxShardSize: SIZES[size] })
      const calls = await failEach(save(1, before), save(2, after), async (folder, error) => {
        const value = await loaded(folder)
        if (error === undefined) expect(value).toBe(2)
        else expect([1, 2]).toContain(value)
      })
      expect(calls).toBeGreaterThan(3)
    },
  )

  it('before the weights are replaced leaves the other files as they were', async () => {
    const save = (value: number) => (folder: string) =>
      saveFolder(folder, {
        weights: { tensors, data: data(value) },
        texts: [
          ['config.json', `${value}`],
          ['other.json', `${value}`],
        ],
      })
    let old = 0
    await failEach(save(1), save(2), async (folder) => {
      const texts = ['config.json', 'other.json'].map((name) => readFileSync(join(folder, name), 'utf8'))
      if ((await loaded(folder)) === 2) return
      old++
      expect(texts).toEqual(['1', '1'])
    })
    expect(old).toBeGreaterThan(3)
  })
})
