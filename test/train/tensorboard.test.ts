import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FileError } from '../../src/errors.ts'
import { type TensorBoardOrigin, TensorBoardWriter, tensorBoardTag } from '../../src/train/tensorboard.ts'

let folder: string
beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-tensorboard-'))
})
afterEach(async () => {
  vi.restoreAllMocks()
  await fs.rm(folder, { recursive: true })
})

/** A second passes with every event. */
function fixedOrigin(): TensorBoardOrigin {
  let now = 1_700_000_000
  return { host: 'host', process: 7, now: () => now++ }
}

/** The writes of every file handle. */
async function handlePrototype(): Promise<fs.FileHandle> {
  const handle = await fs.open(path.join(folder, 'any'), 'w')
  await handle.close()
  return Object.getPrototypeOf(handle)
}

describe('TensorBoardWriter', () => {
  test("writes the bytes of TensorBoard's own messages", async () => {
    const writer = await TensorBoardWriter.open(path.join(folder, 'runs', 'a'), fixedOrigin())
    await writer.text('args', '{\n  "learningRate": 5e-5\n}')
    await writer.text('model_config', `größe 384 🤗 ${'x'.repeat(200)}`, 300)
    await writer.scalars(1, { loss: 2.5, learning_rate: 5e-5, epoch: 0.25, step: 1 }, 1_700_000_004.5)
    const values = { eval_loss: Number.NaN, eval_f1_macro: Infinity, test_loss: -Infinity, eval: 0 }
    await writer.scalars(2 ** 40 + 129, values)
    await writer.close()
    expect(path.basename(writer.file)).toMatch(/^events\.out\.tfevents\.1700000000\.host\.7\.\d+$/)
    const golden = await fs.readFile(path.join(import.meta.dirname, 'tensorboard.events'))
    expect((await fs.readFile(writer.file)).toString('hex')).toBe(golden.toString('hex'))
  })

  test('has written what it was given when a call resolves, and opens a new file each time', async () => {
    const [a, b] = [await TensorBoardWriter.open(folder), await TensorBoardWriter.open(folder)]
    expect(a.file).not.toBe(b.file)
    const before = (await fs.stat(a.file)).size
    await a.scalars(1, { loss: 1 })
    expect((await fs.stat(a.file)).size).toBe(before + 16 + 9 + 2 + 2 + 2 + 12 + 5)
    await a.close()
    await b.close()
  })

  test('keeps the order of calls that are not awaited', async () => {
    const write = async (name: string, together: boolean) => {
      const writer = await TensorBoardWriter.open(path.join(folder, name), fixedOrigin())
      const calls = [1, 2, 3].map((step) => () => writer.scalars(step, { loss: step }))
      if (together) await Promise.all(calls.map((call) => call()))
      else for (const call of calls) await call()
      await writer.close()
      return fs.readFile(writer.file)
    }
    expect(await write('together', true)).toEqual(await write('apart', false))
  })

  test('rejects a failed write with its errno, and the next one writes over what it left', async () => {
    const write = async (name: string, failing: boolean) => {
      const writer = await TensorBoardWriter.open(path.join(folder, name), fixedOrigin())
      if (failing) {
        const prototype = await handlePrototype()
        const original = prototype.write as (
          this: fs.FileHandle,
          ...args: unknown[]
        ) => Promise<{ bytesWritten: number }>
        const full = Object.assign(new Error('no space'), { code: 'ENOSPC' })
        const spy = vi.spyOn(prototype, 'write')
        spy.mockImplementationOnce(function (
          this: fs.FileHandle,
          bytes: unknown,
          offset: unknown,
          _: unknown,
          at: unknown,
        ) {
          return original.call(this, bytes, offset, 11, at)
        } as typeof prototype.write)
        spy.mockRejectedValueOnce(full)
        const failure = await writer.scalars(1, { loss: 1 }, 1).catch((error: unknown) => error)
        expect(failure).toBeInstanceOf(FileError)
        expect(failure).toMatchObject({ errno: 'ENOSPC', message: expect.stringContaining(writer.file) })
      }
      await writer.scalars(2, { loss: 2 }, 2)
      await writer.close()
      return fs.readFile(writer.file)
    }
    expect(await write('failing', true)).toEqual(await write('well', false))
  })

  test('says which folder cannot be made', async () => {
    await fs.writeFile(path.join(folder, 'file'), '')
    const failure = await TensorBoardWriter.open(path.join(folder, 'file')).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(FileError)
    expect(failure).toMatchObject({ message: expect.stringContaining(path.join(folder, 'file')) })
  })
})

test.each([
  ['eval_loss', 'eval/loss'],
  ['test_f1', 'test/f1'],
  ['loss', 'train/loss'],
  ['train_runtime', 'train/train_runtime'],
  ['evaluation', 'train/evaluation'],
  ['eval_', 'eval/'],
])('the tag of %s is %s', (name, tag) => {
  expect(tensorBoardTag(name)).toBe(tag)
})
