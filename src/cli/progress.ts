import type { LogRecord, TrainEvent } from '../train/events.ts'
import { type PhaseView, phaseLine, summaryOf, type TrainingView, trainingLines } from './display.ts'
import type { Io, Output } from './io.ts'
import { grouped } from './io.ts'
import { LiveArea, type Terminal } from './live-area.ts'

/** Shows what a command is doing on standard error. */
export interface Progress {
  /** An event of a training run. */
  show(event: TrainEvent): void
  /** Work that is no step, such as 'tokenising': how much is done, of how much where that is known. May be called often. */
  phase(label: string, done: number, total?: number): void
  /** Ends the display; call it also after an error. */
  stop(): void
}

/** The display shows about the mean of this many steps; log lines show exact means. */
const SMOOTHED_STEPS = 20
/** Milliseconds between two drawings. */
const FRAME = 100
/** Where nothing can be drawn over, a long phase says in a line every so often how far it is. */
const PHASE_SECONDS = 30

/** Follows a phase through its calls: a new label, or a count that starts anew, begins another. */
class PhaseClock {
  #started = 0
  #view: PhaseView | undefined

  /** The phase, until all is done. */
  update(label: string, done: number, total?: number): PhaseView | undefined {
    const now = performance.now()
    if (this.#view?.label !== label || done < this.#view.done) this.#started = now
    this.#view = { label, done, total, seconds: (now - this.#started) / 1000 }
    return total !== undefined && done >= total ? undefined : this.#view
  }
}

/** Means over the last steps, and the time that is left by the pace of the whole run, evaluations and checkpoints included. */
class TrainingClock {
  #steps = 0
  #startedAt = 0
  #firstStep = 0
  #loss = 0
  #rate = 0

  update(event: TrainEvent & { type: 'step' }): TrainingView {
    const { epoch, gradNorm, learningRate, loss, maxSteps, seconds, step, tokens } = event
    const now = performance.now()
    if (this.#steps++ === 0) {
      this.#startedAt = now - 1000 * seconds
      this.#firstStep = step - 1
    }
    const secondsPerStep = (now - this.#startedAt) / 1000 / (step - this.#firstStep)
    this.#rate = this.#blend(this.#rate, tokens / Math.max(seconds, 1e-9))
    // One loss that is no number is shown, and then forgotten.
    if (Number.isFinite(loss)) this.#loss = this.#blend(this.#loss, loss)
    return {
      step,
      maxSteps,
      epoch,
      gradNorm,
      learningRate,
      loss: Number.isFinite(loss) ? this.#loss : loss,
      tokensPerSecond: this.#rate,
      secondsLeft: secondsPerStep * (maxSteps - step),
    }
  }

  #blend(old: number, fresh: number): number {
    return old + (fresh - old) / Math.min(this.#steps, SMOOTHED_STEPS)
  }
}

function lineProgress(stderr: Output): Progress {
  const phases = new PhaseClock()
  let said = 0
  return {
    show(event) {
      const line = summaryOf(event)
      if (line !== undefined) stderr.write(`${line}\n`)
    },
    phase(label, done, total) {
      const view = phases.update(label, done, total)
      const due = Math.floor((view?.seconds ?? 0) / PHASE_SECONDS)
      if (due > said) stderr.write(`${label}: ${grouped(done)}${total === undefined ? '' : ` of ${grouped(total)}`}\n`)
      said = due
    },
    stop() {},
  }
}

function liveProgress(terminal: Terminal, signal?: AbortSignal): Progress {
  const area = new LiveArea(terminal)
  const training = new TrainingClock()
  const phases = new PhaseClock()
  let view: TrainingView | undefined
  let evaluation: LogRecord | undefined
  let phase: PhaseView | undefined
  let drawnAt = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | undefined

  const draw = (above = ''): void => {
    clearTimeout(timer)
    timer = undefined
    drawnAt = performance.now()
    const lines = view === undefined ? [] : trainingLines({ ...view, evaluation }, area.width)
    area.draw(phase === undefined ? lines : [...lines, phaseLine(phase, area.width)], above)
  }
  /** Now, or when the last drawing has stood for a while. */
  const drawSoon = (): void => {
    const wait = drawnAt + FRAME - performance.now()
    if (wait <= 0) draw()
    else timer ??= setTimeout(draw, wait).unref()
  }
  // Whoever stops the run is told so, below the area.
  const leave = (): void => area.leave()
  terminal.on?.('resize', drawSoon)
  signal?.addEventListener('abort', leave, { once: true })

  return {
    show(event) {
      if (event.type === 'step') view = training.update(event)
      if (event.type === 'evaluate') evaluation = event.metrics
      if (event.type === 'step' || event.type === 'evaluate') phase = undefined
      const line = event.type === 'log' ? undefined : summaryOf(event, area.width)
      if (line === undefined) drawSoon()
      else draw(`${line}\n`)
    },
    phase(label, done, total) {
      phase = phases.update(label, done, total)
      drawSoon()
    },
    stop() {
      terminal.off?.('resize', drawSoon)
      signal?.removeEventListener('abort', leave)
      // The results follow; what stays is where training ended.
      phase = undefined
      evaluation = undefined
      draw()
    },
  }
}

/**
 * A display on a terminal that can move its cursor; else a line for every log, evaluation and checkpoint, without any escape sequence.
 * Nothing with `quiet`.
 */
export function createProgress({ signal, stderr }: Io, { quiet }: { quiet: boolean }): Progress {
  if (quiet) return { show() {}, phase() {}, stop() {} }
  const isLive = stderr.isTTY === true && process.env.TERM !== 'dumb'
  return isLive ? liveProgress(stderr, signal) : lineProgress(stderr)
}
