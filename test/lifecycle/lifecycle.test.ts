// Workers, exits and disposal at bad moments: no signal, no hang. Each scenario is a process of its own on the built package.
import { execFile } from 'node:child_process'
import * as fs from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const file = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
const built = fs.existsSync(file('../../dist/index.js'))

const run = (scenario: string): Promise<{ code: number | null; signal: NodeJS.Signals | null; output: string }> =>
  new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['--expose-gc', file('./scenarios.mjs'), scenario],
      { timeout: 110_000, killSignal: 'SIGKILL' },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, signal: child.signalCode, output: stdout + stderr }),
    )
  })

describe.skipIf(!built)(`lifetime${built ? '' : ' (skipped: run npm run build first)'}`, () => {
  it.each([
    'terminate workers mid-step',
    'two workers and the main thread at once',
    'exit mid-step',
    'exit in a worker mid-step',
    'an uncaught error mid-step',
    'dispose mid-step',
    'abort at random moments',
    'create and dispose 2000 models',
    'leave a model behind',
  ])('%s', async (scenario) => {
    const { code, signal, output } = await run(scenario)
    expect({ code, signal, output: output.trim().split('\n').at(-1) }).toEqual({
      code: 0,
      signal: null,
      output: 'done',
    })
  })
})
