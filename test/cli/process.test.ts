// The built program as a process: signals, pipes and exit codes.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeFixtures } from './fixtures.ts'

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const isBuilt = existsSync(program)

let folder: string
const at = (name: string): string => join(folder, name)
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-process-'))
  writeFixtures(folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const start = (...argv: string[]): ChildProcess => spawn(process.execPath, [program, ...argv])

/** What the process wrote, and its code. */
async function finish(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const written = { stdout: '', stderr: '' }
  child.stdout?.on('data', (chunk) => {
    written.stdout += chunk
  })
  child.stderr?.on('data', (chunk) => {
    written.stderr += chunk
  })
  const [code] = await once(child, 'close')
  return { code, ...written }
}

const training = (output: string, ...flags: string[]): string[] => [
  ...['train', '--config', at('config.json'), '--vocab', at('vocab.txt'), '--train-file', at('data.csv')],
  ...['--output-dir', at(output), '--per-device-train-batch-size', '4', '--logging-steps', '1', '--json', ...flags],
]

describe.skipIf(!isBuilt)(isBuilt ? 'the program' : 'the program (skipped: dist/ is not built)', () => {
  test('Ctrl-C saves a checkpoint and exits with 130; it continues from there', async () => {
    const epochs = ['--num-train-epochs', '2000']
    const child = start(...training('stopped', ...epochs))
    child.stdout?.once('data', () => child.kill('SIGINT'))
    const { code, stderr } = await finish(child)
    expect(code).toBe(130)
    expect(stderr).toMatch(/to go on, add --resume-from-checkpoint \S+checkpoint-\d+ to the same command\n$/)
    const resumed = start(...training('stopped', ...epochs, '--resume-from-checkpoint'))
    resumed.stdout?.once('data', () => resumed.kill('SIGINT'))
    const { code: again, stdout } = await finish(resumed)
    expect(again).toBe(130)
    const saved = Number(/checkpoint-(\d+) to/.exec(stderr)?.[1])
    expect(JSON.parse(stdout.split('\n')[0]).step).toBe(saved + 1)
  })

  test.skipIf(process.platform === 'win32').each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s saves a checkpoint and exits with %i', async (signal, expected) => {
    const child = start(...training(signal, '--num-train-epochs', '2000'))
    child.stdout?.once('data', () => {
      child.kill(signal)
      // a terminal that is closed may say so twice
      if (signal === 'SIGHUP') child.kill(signal)
    })
    const { code, stderr } = await finish(child)
    expect(stderr).toMatch(
      /Training was stopped after step \d+; to go on, add --resume-from-checkpoint \S+\d to the same/,
    )
    expect(code).toBe(expected)
    const [, checkpoint = ''] = /--resume-from-checkpoint (\S+)/.exec(stderr) ?? []
    expect(existsSync(join(checkpoint, 'optimizer.safetensors'))).toBe(true)
  })

  test('progress that nobody reads stops nothing', async () => {
    const flags = training('unwatched', '--num-train-epochs', '2').filter((flag) => flag !== '--json')
    const child = start(...flags)
    child.stderr?.destroy()
    expect((await finish(child)).code).toBe(0)
    expect(existsSync(at('unwatched/model.safetensors'))).toBe(true)
  })

  /** The code and standard error of a program whose standard output or error is a full device. */
  const onFullDevice = (redirection: string, ...argv: string[]) =>
    spawnSync('sh', ['-c', `"$0" "$@" ${redirection}/dev/full`, process.execPath, program, ...argv], {
      encoding: 'utf8',
    })

  describe.skipIf(!existsSync('/dev/full'))('a device that is full', () => {
    test('below the progress stops nothing', () => {
      const flags = training('full', '--num-train-epochs', '2').filter((flag) => flag !== '--json')
      expect(onFullDevice('2>', ...flags).status).toBe(0)
      expect(existsSync(at('full/model.safetensors'))).toBe(true)
    })

    test('below the results is an error without a stack, after a checkpoint', () => {
      const { status, stderr } = onFullDevice('>', ...training('full-results', '--num-train-epochs', '2000'))
      expect(stderr).toMatch(
        /^bertkit: Cannot write standard output: no space left on device\nbertkit: Training was stopped after step \d+ because standard output could not be written; to go on, add [^\n]*\n$/,
      )
      expect(status).toBe(1)
      const [, checkpoint = ''] = /--resume-from-checkpoint (\S+)/.exec(stderr) ?? []
      expect(existsSync(join(checkpoint, 'optimizer.safetensors'))).toBe(true)
    })

    test('is one also to what ends at once', () => {
      const { status, stderr } = onFullDevice('>', '--version')
      expect(stderr).toBe('bertkit: Cannot write standard output: no space left on device\n')
      expect(status).toBe(1)
    })
  })

  test('a reader of predictions that goes away is no error to speak of', async () => {
    expect((await finish(start(...training('piper', '--num-train-epochs', '1')))).code).toBe(0)
    const child = start('predict', '--model', at('piper'))
    child.stdout?.once('data', () => child.stdout?.destroy())
    child.stdin?.on('error', () => {})
    child.stdin?.end('red car\n'.repeat(20_000))
    const stderr: string[] = []
    child.stderr?.on('data', (chunk) => stderr.push(String(chunk)))
    const [code] = await once(child, 'close')
    expect([code, stderr.join('')]).toEqual([141, ''])
  })

  test('a reader that goes away stops it as Ctrl-C does', async () => {
    const child = start(...training('piped', '--num-train-epochs', '2000'))
    const stderr: string[] = []
    child.stderr?.on('data', (chunk) => stderr.push(String(chunk)))
    child.stdout?.once('data', () => child.stdout?.destroy())
    const [code] = await once(child, 'close')
    expect(stderr.join('')).toMatch(
      /^bertkit: Training was stopped after step \d+ because standard output was closed; to go on, add --resume-from-checkpoint \S+checkpoint-\d+ to the same command\n$/,
    )
    expect(code).toBe(141)
  })

  test('Ctrl-C stops predict while it waits for standard input', async () => {
    const ended = await finish(start(...training('small', '--num-train-epochs', '1')))
    expect(ended.code).toBe(0)
    const child = start('predict', '--model', at('small'))
    child.stdout?.once('data', () => child.kill('SIGINT'))
    child.stdin?.write('red car\n')
    expect((await finish(child)).code).toBe(130)
  })

  test('exit codes: 0 done, 1 failed, 2 bad usage', async () => {
    expect((await finish(start('--version'))).code).toBe(0)
    expect((await finish(start('train', '--no-such-flag'))).code).toBe(2)
    const failed = await finish(start('evaluate', '--model', at('nowhere'), '--eval-file', at('data.csv')))
    expect(failed.code).toBe(1)
    expect(failed.stderr).toMatch(/^bertkit: Cannot (open|read) [^\n]*\n$/)
  })
})
