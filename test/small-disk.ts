import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const folder = mkdtempSync(join(tmpdir(), 'bertkit-full-'))

/** Runs with a disk of a few MB at `folder`, in a mount namespace of its own, which takes the disk with it when it ends. */
export const onSmallDisk = (...command: string[]) =>
  spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs -o size=5m none "$0" && "$@"', folder, ...command], {
    encoding: 'utf8',
  })

export const canMount = onSmallDisk('true').status === 0
/** Why a test is skipped, for its name. */
export const whySkipped = canMount ? '' : ' (skipped: it needs root to mount a small disk)'
