import { join } from 'node:path'
import { expect, it } from 'vitest'
import { canMount, folder, onSmallDisk, whySkipped } from '../small-disk.ts'

it.skipIf(!canMount)(
  `a disk that fills up in a save ends training with ENOSPC and keeps the checkpoint before${whySkipped}`,
  () => {
    const script = join(import.meta.dirname, 'full-disk.mjs')
    const { stdout, stderr } = onSmallDisk(process.execPath, script, folder)
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({
      error: { name: 'FileError', errno: 'ENOSPC' },
      saved: ['checkpoint-1'],
      left: ['checkpoint-1'],
      globalStep: 4,
    })
  },
)
