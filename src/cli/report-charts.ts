import type { LogRecord } from '../train/events.ts'
import { resultsOf } from './display.ts'
import type { CurvePoint } from './report-data.ts'

export interface ChartSeries {
  readonly name: string
  /** Which of the page's colours, from 1. */
  readonly colour: number
  /** Drawn faintly, as a line, or as a line with its points. */
  readonly kind: 'raw' | 'line' | 'points'
  /** Null where the series has no value at a step. */
  readonly values: readonly (number | null)[]
}

/** Curves over common steps, as assets/report/page.mjs draws them. */
export interface Chart {
  readonly title: string
  readonly steps: readonly number[]
  readonly series: readonly ChartSeries[]
}

interface Curve {
  readonly name: string
  readonly kind: ChartSeries['kind']
  readonly colour: number
  readonly points: readonly (readonly [step: number, value: number])[]
}

const COLOURS = 6
/** With fewer points a smooth curve says nothing more than the points. */
const SMOOTHED = 60
/** The part of a curve that a mean reaches over. */
const WINDOW = 1 / 40

interface Drawing {
  readonly title: string
  readonly curves: readonly Curve[]
}

const stepsOf = (curves: readonly Curve[]): number[] => curves.flatMap(({ points }) => points.map(([step]) => step))

/** Curves on the steps of all of them and the ends of the run, so that all charts reach over the same steps. */
function chartOf({ curves, title }: Drawing, ends: readonly number[]): Chart {
  const steps = [...new Set([...ends, ...stepsOf(curves)])].sort((a, b) => a - b)
  const series = curves.map(({ points, ...curve }) => {
    const values = new Map(points)
    return { ...curve, values: steps.map((step) => finiteOrNull(values.get(step))) }
  })
  return { title, steps, series }
}

const finiteOrNull = (value: number | undefined): number | null =>
  value !== undefined && Number.isFinite(value) ? value : null

/** Exponential mean from the first point on, corrected as Adam's moments are; it passes over what is not finite. */
function smoothed(points: Curve['points']): Curve['points'] {
  const decay = 1 - 1 / Math.max(1, points.length * WINDOW)
  let sum = 0
  let weight = 0
  return points.flatMap(([step, value]) => {
    if (!Number.isFinite(value)) return []
    sum = decay * sum + (1 - decay) * value
    weight = decay * weight + (1 - decay)
    return [[step, sum / weight] as const]
  })
}

/** A noisy curve: as it is, and its mean. */
function noisy(name: string, colour: number, points: Curve['points']): Curve[] {
  if (points.length < SMOOTHED) return [{ name, colour, kind: 'line', points }]
  return [
    { name, colour, kind: 'raw', points },
    { name: `${name}, smoothed`, colour, kind: 'line', points: smoothed(points) },
  ]
}

/** Names without eval_ of what the evaluations measured. */
export function evaluatedNames(records: readonly LogRecord[]): string[] {
  const names = records.flatMap((record) => resultsOf(record).map(([name]) => name.slice('eval_'.length)))
  return [...new Set(names)]
}

/** For a person: f1_macro is F1 macro. */
export const spelled = (name: string): string => name.replace(/^f1\b|^f1(?=_)/, 'F1').replaceAll('_', ' ')

/** What each line that has `field` says of it. */
const logged = (logHistory: readonly LogRecord[], field: string): Curve['points'] =>
  logHistory.flatMap((line) => (field in line ? [[line.step, line[field]] as const] : []))

/** Metrics between -1 and 1 share a chart; of others each has its own, because their scales say nothing of each other. */
function evaluationDrawings(logHistory: readonly LogRecord[]): Drawing[] {
  const curveOf = (name: string, index: number): Curve => {
    const points = logged(logHistory, `eval_${name}`)
    return { name: spelled(name), kind: 'points', colour: (index % COLOURS) + 1, points }
  }
  const names = evaluatedNames(logHistory).filter((name) => name !== 'loss')
  const isShare = (name: string): boolean => logHistory.every((line) => !(Math.abs(line[`eval_${name}`]) > 1))
  const others = names
    .filter((name) => !isShare(name))
    .map((name) => ({ title: spelled(name), curves: [curveOf(name, 0)] }))
  return [{ title: 'Evaluation', curves: names.filter(isShare).map(curveOf) }, ...others]
}

/** The curves of a run: of its steps where those are known, else of its log lines. */
export function chartsOf(logHistory: readonly LogRecord[], steps: readonly CurvePoint[] = []): Chart[] {
  const points = (field: string, value: (point: CurvePoint) => number): Curve['points'] =>
    steps.length === 0 ? logged(logHistory, field) : steps.map((point) => [point.step, value(point)])
  const losses = points('loss', ({ loss }) => loss)
  const rates = points('learning_rate', ({ learningRate }) => learningRate)
  const norms = points('grad_norm', ({ gradNorm }) => gradNorm)
  const evaluated = logged(logHistory, 'eval_loss')
  const drawings: Drawing[] = [
    {
      title: 'Loss',
      curves: [...noisy('training', 1, losses), { name: 'evaluation', colour: 2, kind: 'points', points: evaluated }],
    },
    ...evaluationDrawings(logHistory),
    { title: 'Learning rate', curves: [{ name: 'learning rate', colour: 3, kind: 'line', points: rates }] },
    { title: 'Gradient norm', curves: noisy('gradient norm', 4, norms) },
  ]
  const drawn = drawings
    .map(({ curves, title }) => ({ title, curves: curves.filter((curve) => curve.points.length > 0) }))
    .filter(({ curves }) => curves.length > 0)
  const all = stepsOf(drawn.flatMap(({ curves }) => curves))
  const ends = all.reduce(([first, last], step) => [Math.min(first, step), Math.max(last, step)], [Infinity, -Infinity])
  return drawn.map((drawing) => chartOf(drawing, ends))
}
