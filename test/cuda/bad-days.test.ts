// No driver, no device, no memory, a kernel that goes astray: errors of one type, and a process that lives. The emulation of test/native/cuda
// has bad days when the environment says so; each program is a process of its own, since a device is opened once.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { library, missing } from './library.ts'

const root = path.join(import.meta.dirname, '..', '..')

const PRELUDE = `import * as bertkit from 'bertkit'
const config = new bertkit.BertConfig({ vocabSize: 30, hiddenSize: 16, numHiddenLayers: 1, numAttentionHeads: 2, intermediateSize: 16 })
const open = (options) => new bertkit.BertForSequenceClassification(config, { backend: 'cuda', ...options })
const batch = { inputIds: [[1, 2, 3], [4, 5]], labels: [0, 1] }
const told = (error) => ({ name: error.name, code: error.code, reason: error.reason, message: error.message })
const attempt = (promise) => promise.then(() => 'done', told)
const print = (value) => console.log(JSON.stringify(value))
`

/** What a program prints, and what it warns of. */
function run(env: NodeJS.ProcessEnv, program: string): { printed: unknown[]; warned: string } {
  const options = {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, BERTKIT_CUDA_LIBRARY: library, ...env },
  } as const
  const warnings =
    'const lines = []; console.warn = (line) => lines.push(line); process.on("exit", () => print({ lines }))\n'
  const flags = ['--input-type=module', '-e', `${PRELUDE}${warnings}${program}`]
  const printed = execFileSync(process.execPath, flags, options)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const { lines } = printed.pop() as { lines: string[] }
  return { printed, warned: lines.join('\n') }
}

const DESCRIBE = "print(await bertkit.describeBackend({ backend: 'cuda' }).then(() => 'done', told))"
const MESSAGES = {
  'no-driver': /there is no NVIDIA driver$/,
  'no-device': /there is no device: /,
  'old-driver': /the NVIDIA driver is for CUDA \d+\.\d+, expected \d+\.\d+ or newer$/,
}

describe.skipIf(missing)(`a CUDA library on a bad day${missing ? ` (${missing})` : ''}`, () => {
  it.each(Object.entries(MESSAGES))('%s: says so, and another backend serves where any may', (what, message) => {
    const env = { BK_CUDA_EMULATED: what }
    const [error] = run(env, DESCRIBE).printed
    expect(error).toMatchObject({
      name: 'BackendError',
      reason: 'unavailable',
      message: expect.stringMatching(message),
    })
    const { printed, warned } = run(env, 'print((await bertkit.describeBackend()).backend)')
    expect(printed).toEqual(['cpu'])
    expect(warned).toMatch(/^bertkit: using the cpu backend\. Cannot use CUDA with /)
    expect(warned).not.toContain('\n')
  })

  it('a library that is not there, or is none, is an error that names it', () => {
    const [gone] = run({ BERTKIT_CUDA_LIBRARY: '/nowhere/lib.so' }, DESCRIBE).printed
    expect(gone).toMatchObject({ name: 'BackendError', message: expect.stringContaining('/nowhere/lib.so') })
    const [none] = run({ BERTKIT_CUDA_LIBRARY: process.execPath }, DESCRIBE).printed
    expect(none).toMatchObject({ name: 'BackendError', message: expect.stringContaining(process.execPath) })
  })

  it('memory that runs out: what was asked for and what is free; the model goes on', () => {
    const program = `const model = open()
const large = { inputIds: Array.from({ length: 64 }, () => Array(500).fill(1)), labels: Array(64).fill(0) }
print(await attempt(model.forward(batch)))
print(await attempt(model.forward(large)))
print(await attempt(model.forward(batch)))`
    const [first, refused, last] = run({ BK_CUDA_EMULATED_BYTES: `${4 << 20}` }, program).printed
    expect(first).toBe('done')
    expect(refused).toMatchObject({
      name: 'BackendError',
      reason: 'memory',
      message: expect.stringMatching(/of \d+ bytes: no memory; \d+ of the device's 4194304 bytes are free/),
    })
    expect(last).toBe('done')
  })

  it('a kernel at an illegal address: every later call says that the device is lost, and the process lives', () => {
    const program = `const [model, other] = [open(), open()]
print(await attempt(model.forward(batch)))
print(await attempt(model.forward(batch)))
print(await attempt(other.forward(batch)))
print(await attempt(model.stateDict()))
print(await attempt(open().forward(batch)))
print(await attempt(new bertkit.BertForSequenceClassification(config, { backend: 'cpu' }).forward(batch)))`
    const { printed } = run({ BK_CUDA_EMULATED_FAIL: '10' }, program)
    const cpu = printed.pop()
    for (const error of printed)
      expect(error).toMatchObject({
        name: 'BackendError',
        reason: 'device',
        message: expect.stringMatching(/^The device is lost, with the models on it: .*illegal/),
      })
    expect(cpu).toBe('done')
  })

  it('the process may end while a run goes on', () => {
    const program = 'open().forward(batch)\nsetImmediate(() => process.exit(0))'
    expect(run({}, program).printed).toEqual([])
  })

  it('another backend says why this one was not taken only where it is installed', () => {
    const { printed, warned } = run({ BERTKIT_CUDA_LIBRARY: '' }, 'print((await bertkit.describeBackend()).backend)')
    expect(printed).toEqual(['cpu'])
    expect(warned).toBe('')
  })
})
