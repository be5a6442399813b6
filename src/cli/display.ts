import type { LogRecord, TrainEvent } from '../train/events.ts'
import { clock, grouped, short } from './io.ts'

// What the display of a run says, as lines of pieces that fit a width; how they get onto a terminal is live-area.ts.

export type Style = 'bold' | 'dim' | 'green' | 'yellow'

export interface Piece {
  readonly text: string
  readonly style?: Style
}
export type Line = readonly Piece[]

/** The state of a training run. */
export interface TrainingView {
  readonly step: number
  readonly maxSteps: number
  /** A fraction; NaN where nobody has counted the data. */
  readonly epoch: number
  readonly loss: number
  readonly learningRate: number
  readonly gradNorm: number
  readonly tokensPerSecond: number
  readonly secondsLeft: number
  /** The last evaluation, where there was one. */
  readonly evaluation?: LogRecord
}

/** Work before or between the steps: counting rows, tokenising, evaluating. */
export interface PhaseView {
  readonly label: string
  readonly done: number
  readonly total?: number
  readonly seconds: number
}

const WIDEST_BAR = 30
const NARROWEST_BAR = 8
const GAP = 2
/** Room for '1:06:40 left': the bar does not jump when the hour is over. */
const CLOCK_WIDTH = 7

const lengthOf = (line: Line): number => line.reduce((sum, { text }) => sum + text.length, 0)

export const plain = (line: Line): string => line.map(({ text }) => text).join('')

const CODES: Readonly<Record<Style, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  green: [32, 39],
  yellow: [33, 39],
}

/** With escape sequences for the styles. */
export const painted = (line: Line): string =>
  line
    .map(({ text, style }) => (style === undefined ? text : `\x1b[${CODES[style][0]}m${text}\x1b[${CODES[style][1]}m`))
    .join('')

/** As many of `groups` as fit into `width`, from the left; the first is cut where it alone is too long. */
function fitting(groups: readonly Line[], width: number): Line {
  const line: Piece[] = []
  let used = 0
  for (const group of groups) {
    const gap = line.length === 0 ? 0 : GAP
    if (line.length > 0 && used + gap + lengthOf(group) > width) break
    if (gap > 0) line.push({ text: ' '.repeat(gap) })
    line.push(...group)
    used += gap + lengthOf(group)
  }
  return used <= width ? line : [{ text: plain(line).slice(0, width) }]
}

const named = (name: string, value: string): Line => [{ text: `${name} `, style: 'dim' }, { text: value }]

/** A bar as wide as `width`; none where that is too little to read. */
function bar(fraction: number, width: number): Line[] {
  if (width < NARROWEST_BAR) return []
  const columns = Math.min(width, WIDEST_BAR)
  const full = Math.floor(Math.min(1, Math.max(0, fraction)) * columns)
  return [
    [
      { text: '█'.repeat(full), style: 'green' },
      { text: '░'.repeat(columns - full), style: 'dim' },
    ],
  ]
}

const percent = (fraction: number): string => `${Math.floor(100 * Math.min(1, Math.max(0, fraction)))}%`.padStart(4)

/** What goes left of a bar, the bar, and what goes right of it. */
function barLine(left: Line, fraction: number, right: readonly Line[], width: number): Line {
  const around = [left, ...right].reduce((sum, group) => sum + lengthOf(group) + GAP, 0)
  return fitting([left, ...bar(fraction, width - around), ...right], width)
}

const counted = (done: number, total: number): string => {
  const most = grouped(total)
  return `${grouped(done).padStart(most.length)}/${most}`
}

const left = (seconds: number): Line => [
  { text: clock(seconds).padStart(CLOCK_WIDTH) },
  { text: ' left', style: 'dim' },
]

/** Counting and the division that made the fraction may be off by rounding. */
const ROUNDING = 1e-6

/** Which epoch of how many a run is in, and how much of it is done: the last one may be a part of an epoch. */
export function epochOf({ step, maxSteps, epoch }: Pick<TrainingView, 'step' | 'maxSteps' | 'epoch'>) {
  const epochs = step === 0 ? 0 : (epoch * maxSteps) / step
  const current = Math.max(1, Math.ceil(epoch - ROUNDING))
  const before = current - 1
  const whole = Math.max(current, Math.ceil(epochs - ROUNDING))
  return { current, whole, fraction: (epoch - before) / Math.max(ROUNDING, Math.min(1, epochs - before)) }
}

function progressLine(view: TrainingView, width: number): Line {
  const steps = named('step', counted(view.step, view.maxSteps))
  const time = left(view.secondsLeft)
  if (!Number.isFinite(view.epoch)) return barLine(steps, view.step / view.maxSteps, [time], width)
  const { current, whole, fraction } = epochOf(view)
  const epoch: Line = [
    { text: 'epoch ', style: 'dim' },
    { text: counted(current, whole), style: 'bold' },
  ]
  return barLine(epoch, fraction, [[{ text: percent(fraction) }], steps, time], width)
}

const TIMING = /_(runtime|samples|samples_per_second|steps_per_second)$/

/** What an evaluation found out: not how long it took. */
export const resultsOf = (metrics: LogRecord): [name: string, value: number][] =>
  Object.entries(metrics).filter(([name]) => name.startsWith('eval_') && !TIMING.test(name))

function evaluationLine(metrics: LogRecord, width: number): Line {
  const results = resultsOf(metrics).map(([name, value]) => named(name.slice('eval_'.length), short(value)))
  return fitting([[{ text: 'last evaluation:', style: 'dim' }], ...results], width)
}

/** Where the run is, and its numbers; the last evaluation below. No line is wider than `width`. */
export function trainingLines(view: TrainingView, width: number): Line[] {
  const numbers = [
    named('loss', Number.isFinite(view.loss) ? view.loss.toFixed(4) : String(view.loss)),
    named('lr', view.learningRate.toExponential(2)),
    [{ text: grouped(view.tokensPerSecond) }, { text: ' tokens/s', style: 'dim' }] satisfies Line,
    named('grad norm', short(view.gradNorm)),
  ]
  const lines = [progressLine(view, width), fitting(numbers, width)]
  return view.evaluation === undefined ? lines : [...lines, evaluationLine(view.evaluation, width)]
}

export function phaseLine({ label, done, total, seconds }: PhaseView, width: number): Line {
  const name: Line = [{ text: label, style: 'dim' }]
  if (total === undefined) return fitting([name, [{ text: grouped(done) }]], width)
  const fraction = total === 0 ? 1 : done / total
  const remaining = (seconds / done) * (total - done)
  return barLine(
    name,
    fraction,
    [[{ text: percent(fraction) }], [{ text: counted(done, total) }], left(remaining)],
    width,
  )
}

const CONTINUED = '    '

/** Lines of whole items, none wider than `width` unless one item is; the second and later ones are indented. */
function flow(items: readonly string[], width: number): string {
  const lines: string[] = []
  for (const item of items) {
    const longer = lines.length === 0 ? item : `${lines[lines.length - 1]}  ${item}`
    if (lines.length === 0 || longer.length <= width) lines[Math.max(0, lines.length - 1)] = longer
    else lines.push(CONTINUED + item)
  }
  return lines.join('\n')
}

/** What stays to be read of an event, without a line feed at its end; undefined for an event that says nothing lasting. */
export function summaryOf(event: TrainEvent, width = Number.POSITIVE_INFINITY): string | undefined {
  const at = event.type === 'warning' ? [] : [`epoch ${event.epoch.toFixed(2)}`, `step ${grouped(event.step)}`]
  switch (event.type) {
    case 'log': {
      const { grad_norm, learning_rate, loss, tokens_per_second } = event.logs
      const numbers = [`loss ${short(loss)}`, `grad norm ${short(grad_norm)}`, `lr ${short(learning_rate)}`]
      return flow([...at, ...numbers, `${grouped(tokens_per_second)} tokens/s`], width)
    }
    case 'evaluate': {
      const results = resultsOf(event.metrics).map(([name, value]) => `${name} ${short(value)}`)
      return flow([...at, ...results, ...(event.isBest ? ['(best)'] : [])], width)
    }
    case 'resume':
      return `resuming from ${event.checkpoint} (step ${grouped(event.step)} of ${grouped(event.maxSteps)})`
    case 'save':
      return [...at, `saved ${event.checkpoint}`].join('  ')
    case 'warning':
      return `warning: ${event.message}`
    default:
      return undefined
  }
}
