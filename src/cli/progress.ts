import cliProgress from 'cli-progress'
import type { TrainEvent } from '../train/events.ts'
import { clock, grouped, type Io, short } from './io.ts'

/** Shows a training run on standard error. */
export interface Progress {
  show(event: TrainEvent): void
  /** Leaves the terminal as it was; call it also after an error. */
  stop(): void
}

/** A bar shows about the mean of this many steps; log lines show exact means. */
const SMOOTHED_STEPS = 20

function summary(event: TrainEvent): string | undefined {
  const at = event.type === 'warning' ? '' : `epoch ${event.epoch.toFixed(2)}  step ${grouped(event.step)}  `
  switch (event.type) {
    case 'log': {
      const { grad_norm, learning_rate, loss, tokens_per_second } = event.logs
      return `${at}loss ${short(loss)}  grad norm ${short(grad_norm)}  lr ${short(learning_rate)}  ${grouped(tokens_per_second)} tokens/s`
    }
    case 'evaluate': {
      const timing = /_(runtime|samples|samples_per_second|steps_per_second)$/
      const shown = Object.entries(event.metrics).filter(([name]) => name.startsWith('eval_') && !timing.test(name))
      return `${at}${shown.map(([name, value]) => `${name} ${short(value)}`).join('  ')}${event.isBest ? '  (best)' : ''}`
    }
    case 'save':
      return `${at}saved ${event.checkpoint}`
    case 'warning':
      return `warning: ${event.message}`
    default:
      return undefined
  }
}

function lineProgress({ stderr }: Io): Progress {
  return {
    show(event) {
      const line = summary(event)
      if (line !== undefined) stderr.write(`${line}\n`)
    },
    stop() {},
  }
}

function barProgress(stream: NodeJS.WritableStream): Progress {
  const bars = new cliProgress.MultiBar(
    {
      stream,
      format: '{bar} {value}/{total}  loss {loss}  lr {lr}  {rate} tokens/s  {left} left',
      barsize: 24,
      hideCursor: true,
      clearOnComplete: false,
      fps: 5,
      // Ctrl-C is handled by the program, which still has a checkpoint to report.
      gracefulExit: false,
    },
    cliProgress.Presets.shades_grey,
  )
  let bar: cliProgress.SingleBar | undefined
  let loss = 0
  let rate = 0
  let secondsPerStep = 0
  let steps = 0
  const blend = (old: number, fresh: number): number => old + (fresh - old) / Math.min(steps, SMOOTHED_STEPS)
  return {
    show(event) {
      if (event.type === 'step') {
        steps++
        loss = blend(loss, event.loss)
        rate = blend(rate, event.tokens / event.seconds)
        secondsPerStep = blend(secondsPerStep, event.seconds)
        const left = clock((event.maxSteps - event.step) * secondsPerStep)
        const payload = { loss: loss.toFixed(4), lr: event.learningRate.toExponential(2), rate: grouped(rate), left }
        if (bar === undefined) bar = bars.create(event.maxSteps, event.step, payload)
        else bar.update(event.step, payload)
        return
      }
      const line = event.type === 'log' ? undefined : summary(event)
      if (line !== undefined) bars.log(`${line}\n`)
    },
    stop() {
      // Only an update writes the last lines.
      if (bar !== undefined) bars.update()
      bars.stop()
    },
  }
}

const isTerminal = (output: object): output is NodeJS.WritableStream =>
  'isTTY' in output && output.isTTY === true && 'on' in output

/** A bar on a terminal, else a line for every log, evaluation and checkpoint. Nothing with `quiet`. */
export function createProgress(io: Io, { quiet }: { quiet: boolean }): Progress {
  if (quiet) return { show() {}, stop() {} }
  return isTerminal(io.stderr) ? barProgress(io.stderr) : lineProgress(io)
}
