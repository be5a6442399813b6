// With BERTKIT_RECORD_PLANS=FOLDER the suite writes what it runs there, for bench/cuda/driver.py on a machine without Node; at most
// BERTKIT_RECORD_MEGABYTES of it.
import { afterAll, expect } from 'vitest'
import { Recorder } from '../../bench/cuda/recorder.mjs'
import type { Open } from '../conformance/harness.ts'

export function recorded(open: Open): Open {
  const folder = process.env.BERTKIT_RECORD_PLANS
  if (!folder) return open
  const recorder = new Recorder(folder, 1e6 * Number(process.env.BERTKIT_RECORD_MEGABYTES ?? 48))
  afterAll(() => console.log(recorder.close()), 120_000)
  return (options) => recorder.wrap(open(options), () => ({ name: expect.getState().currentTestName ?? 'a test' }))
}
