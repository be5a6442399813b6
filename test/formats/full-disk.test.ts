import { join } from 'node:path'
import { expect, it } from 'vitest'
import { canMount, folder, onSmallDisk, whySkipped } from '../small-disk.ts'

it.skipIf(!canMount)(`a full disk is an ENOSPC that leaves the old weights${whySkipped}`, () => {
  const script = join(import.meta.dirname, 'full-disk.mjs')
  const { stdout, stderr } = onSmallDisk(process.execPath, script, folder)
  expect(stderr).toBe('')
  const result = { error: { name: 'FileError', errno: 'ENOSPC' }, left: true, values: [1] }
  expect(JSON.parse(stdout)).toEqual([result, result, result, result])
})
