import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'bertkit-full-'))
/** Runs in a mount namespace of its own, which takes the disk with it when it ends. */
const onSmallDisk = (...command: string[]) =>
  spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs -o size=5m none "$0" && "$@"', folder, ...command], {
    encoding: 'utf8',
  })
const canMount = onSmallDisk('true').status === 0

it.skipIf(!canMount)(
  `a disk that fills up in a save ends training with ENOSPC and keeps the checkpoint before${canMount ? '' : ' (skipped: it needs root to mount a small disk)'}`,
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
