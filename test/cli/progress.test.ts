import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Terminal } from '../../src/cli/live-area.ts'
import { createProgress } from '../../src/cli/progress.ts'
import type { TrainEvent } from '../../src/train/events.ts'
import { FakeTerminal } from './terminal.ts'

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubEnv('TERM', 'xterm-256color')
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllEnvs()
})

const io = (stderr: Terminal, signal?: AbortSignal) => ({
  stdout: { write: () => true },
  stderr,
  stdin: (async function* () {})(),
  signal,
})

const step = (at: number, loss = 2): TrainEvent => ({
  type: 'step',
  step: at,
  maxSteps: 300,
  epoch: at / 100,
  loss,
  gradNorm: 1.5,
  learningRate: 5e-5,
  tokens: 500,
  seconds: 0.25,
})
const evaluation: TrainEvent = {
  type: 'evaluate',
  step: 100,
  epoch: 1,
  metrics: {
    eval_loss: 0.5,
    eval_accuracy: 0.875,
    eval_f1: 0.86,
    eval_matthews: 0.85,
    eval_a_metric_of_my_own: 3,
    epoch: 1,
    step: 100,
  },
  isBest: true,
}
const save: TrainEvent = { type: 'save', step: 100, epoch: 1, checkpoint: 'out/checkpoint-100' }

/** A step every quarter of a second. */
function steps(progress: ReturnType<typeof createProgress>, from: number, to: number): void {
  for (let at = from; at <= to; at++) {
    vi.advanceTimersByTime(250)
    progress.show(step(at))
  }
}

const SAID = [
  'epoch 1.00  step 100  eval_loss 0.5  eval_accuracy 0.875  eval_f1 0.86',
  '    eval_matthews 0.85  eval_a_metric_of_my_own 3  (best)',
  'epoch 1.00  step 100  saved out/checkpoint-100',
]

describe('on a terminal of 80 columns', () => {
  test('a run is a bar, its numbers and the last evaluation, under what is said for good', () => {
    const terminal = new FakeTerminal()
    const progress = createProgress(io(terminal), { quiet: false })
    progress.phase('tokenising', 0, 1000)
    vi.advanceTimersByTime(2000)
    progress.phase('tokenising', 250, 1000)
    expect(terminal.screen).toEqual(['tokenising  ███████░░░░░░░░░░░░░░░░░░░░░░░   25%    250/1,000     0:06 left'])
    progress.phase('tokenising', 1000, 1000)
    vi.advanceTimersByTime(100)
    expect(terminal.screen).toEqual([])

    steps(progress, 1, 50)
    expect(terminal.screen).toEqual([
      'epoch 1/3  ███████████████░░░░░░░░░░░░░░░   50%  step  50/300     1:03 left',
      'loss 2.0000  lr 5.00e-5  2,000 tokens/s  grad norm 1.5',
    ])
    steps(progress, 51, 100)
    progress.phase('evaluating', 0, 64)
    vi.advanceTimersByTime(1000)
    progress.phase('evaluating', 32, 64)
    expect(terminal.screen.at(-1)).toBe('evaluating  ███████████████░░░░░░░░░░░░░░░   50%  32/64     0:01 left')
    vi.advanceTimersByTime(1000)
    progress.show(evaluation)
    progress.show(save)
    const bar = 'epoch 1/3  ██████████████████████████████  100%  step 100/300     0:50 left'
    const numbers = 'loss 2.0000  lr 5.00e-5  2,000 tokens/s  grad norm 1.5'
    const last = 'last evaluation:  loss 0.5  accuracy 0.875  f1 0.86  matthews 0.85'
    expect(terminal.screen).toEqual([...SAID, bar, numbers, last])
    steps(progress, 101, 101)
    // 200 steps at the pace of 101 in 27.25 seconds, the evaluation included
    expect(terminal.screen[3]).toMatch(/^epoch 2\/3 {2}.* 1% {2}step 101\/300 {5}0:54 left$/)
    progress.stop()
    expect(terminal.screen.slice(0, 3)).toEqual(SAID)
    expect(terminal.screen).toHaveLength(5)
    expect(vi.getTimerCount()).toBe(0)
    expect(terminal.listeners.size).toBe(0)
  })

  test('a phase alone leaves nothing behind', () => {
    const terminal = new FakeTerminal()
    const progress = createProgress(io(terminal), { quiet: false })
    progress.phase('counting rows', 12_345)
    expect(terminal.screen).toEqual(['counting rows  12,345'])
    progress.stop()
    expect(terminal.screen).toEqual([])
  })

  test('draws at most ten times a second, and the last state without another event', () => {
    const terminal = new FakeTerminal()
    const write = vi.spyOn(terminal, 'write')
    const progress = createProgress(io(terminal), { quiet: false })
    for (let at = 1; at <= 300; at++) {
      vi.advanceTimersByTime(10)
      progress.show(step(at))
    }
    expect(write.mock.calls.length).toBeLessThanOrEqual(31)
    vi.advanceTimersByTime(100)
    expect(terminal.screen[0]).toContain('step 300/300')
  })

  test('follows the window, and says everything in a small one', () => {
    const terminal = new FakeTerminal(100, 24)
    const progress = createProgress(io(terminal), { quiet: false })
    steps(progress, 1, 100)
    progress.show(evaluation)
    terminal.columns = 50
    for (const listener of terminal.listeners) listener()
    vi.advanceTimersByTime(100)
    expect(terminal.screen.slice(2)).toEqual([
      'epoch 1/3  100%  step 100/300     0:50 left',
      'loss 2.0000  lr 5.00e-5  2,000 tokens/s',
      'last evaluation:  loss 0.5  accuracy 0.875',
    ])
    terminal.rows = 3
    steps(progress, 101, 110)
    expect(terminal.screen.slice(-2)).toEqual([expect.stringMatching(/^epoch 2/), expect.stringMatching(/^loss/)])
    expect(terminal.screen.slice(0, 2)).toEqual([
      expect.stringMatching(/^epoch 1.00/),
      expect.stringMatching(/^ {4}eval_/),
    ])
    progress.stop()
  })

  test('keeps what is written below it when the run is interrupted', () => {
    const terminal = new FakeTerminal()
    const controller = new AbortController()
    const progress = createProgress(io(terminal, controller.signal), { quiet: false })
    steps(progress, 1, 10)
    terminal.write('\nbertkit: stopping\n')
    controller.abort()
    steps(progress, 11, 12)
    expect(terminal.screen.map((line) => line.slice(0, 17))).toEqual([
      'epoch 1/3  ███░░░',
      'loss 2.0000  lr 5',
      '',
      'bertkit: stopping',
      'epoch 1/3  ███░░░',
      'loss 2.0000  lr 5',
    ])
    progress.stop()
  })

  test('shows a loss that is no number, and forgets it', () => {
    const terminal = new FakeTerminal()
    const progress = createProgress(io(terminal), { quiet: false })
    steps(progress, 1, 10)
    vi.advanceTimersByTime(250)
    progress.show(step(11, Number.NaN))
    expect(terminal.screen[1]).toMatch(/^loss NaN {2}/)
    steps(progress, 12, 12)
    expect(terminal.screen[1]).toMatch(/^loss 2\.0000 {2}/)
    progress.stop()
  })
})

describe('colour', () => {
  const drawn = (env: Record<string, string>): string => {
    const terminal = new FakeTerminal(80, 24, env)
    const progress = createProgress(io(terminal), { quiet: false })
    steps(progress, 1, 3)
    progress.stop()
    expect(terminal.screen).toHaveLength(2)
    return terminal.raw
  }
  test.each([
    [{ TERM: 'xterm-256color' }, true],
    [{ TERM: 'xterm-256color', NO_COLOR: '1' }, false],
    [{ TERM: 'xterm-256color', FORCE_COLOR: '0' }, false],
    [{ TERM: 'xterm-256color', FORCE_COLOR: '1' }, true],
    [{ TERM: 'vt100-unknown' }, true],
    [{ TERM: '' }, false],
  ])('with %j: %s', (env: Record<string, string>, coloured) => {
    expect(drawn(env).includes('\x1b[32m')).toBe(coloured)
  })
})

describe('without a terminal that can move its cursor', () => {
  function written(isTTY: boolean): string {
    let text = ''
    const stderr = { isTTY, write: (more: string) => (text += more), hasColors: () => true }
    const progress = createProgress(io(stderr), { quiet: false })
    progress.phase('tokenising', 0, 1000)
    progress.phase('tokenising', 1000, 1000)
    steps(progress, 1, 100)
    progress.show({
      type: 'log',
      step: 100,
      epoch: 1,
      logs: { loss: 2, grad_norm: 1.5, learning_rate: 5e-5, tokens_per_second: 2000 },
    })
    progress.show(evaluation)
    progress.show(save)
    progress.show({ type: 'warning', step: 100, message: 'the disk is full' })
    progress.stop()
    return text
  }
  const lines = [
    'epoch 1.00  step 100  loss 2  grad norm 1.5  lr 5.00e-5  2,000 tokens/s',
    'epoch 1.00  step 100  eval_loss 0.5  eval_accuracy 0.875  eval_f1 0.86  eval_matthews 0.85  eval_a_metric_of_my_own 3  (best)',
    'epoch 1.00  step 100  saved out/checkpoint-100',
    'warning: the disk is full',
    '',
  ].join('\n')

  test('in a pipe or a file it is whole lines, also with FORCE_COLOR', () => {
    vi.stubEnv('FORCE_COLOR', '1')
    expect(written(false)).toBe(lines)
  })

  test('so it is with TERM=dumb', () => {
    vi.stubEnv('TERM', 'dumb')
    expect(written(true)).toBe(lines)
  })

  test('a long phase says every half minute how far it is, and a second one starts anew', () => {
    let text = ''
    const progress = createProgress(io({ write: (more: string) => (text += more) }), { quiet: false })
    for (const _ of [1, 2])
      for (let done = 0; done <= 70; done++) {
        progress.phase('evaluating', done, 70)
        vi.advanceTimersByTime(1000)
      }
    progress.phase('counting rows', 0)
    vi.advanceTimersByTime(30_000)
    progress.phase('counting rows', 1_234_567)
    expect(text).toBe(`${'evaluating: 30 of 70\nevaluating: 60 of 70\n'.repeat(2)}counting rows: 1,234,567\n`)
  })
})

test('quiet says nothing', () => {
  const terminal = new FakeTerminal()
  const progress = createProgress(io(terminal), { quiet: true })
  progress.phase('tokenising', 1, 2)
  steps(progress, 1, 10)
  progress.show(save)
  progress.stop()
  expect(terminal.raw).toBe('')
})
