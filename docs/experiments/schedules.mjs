// The six schedules side by side: learning rate, training loss and test accuracy over the updates.
//   node docs/experiments/schedules.mjs
import { medianCurve, runAll, SEEDS, summary, writeFigure } from './runs.mjs'
import { lineCharts, percent } from './svg.mjs'

const LEARNING_RATE = 2e-3
const EVAL_STEPS = 50
const SCHEDULES = [
  { lrSchedulerType: 'linear', warmupSteps: 0.1 },
  { lrSchedulerType: 'cosine', warmupSteps: 0.1 },
  { lrSchedulerType: 'cosine_with_restarts', lrSchedulerKwargs: { numCycles: 3 }, warmupSteps: 0.1 },
  { lrSchedulerType: 'polynomial', lrSchedulerKwargs: { power: 2 }, warmupSteps: 0.1 },
  { lrSchedulerType: 'constant', warmupSteps: 0 },
  { lrSchedulerType: 'constant_with_warmup', warmupSteps: 0.1 },
]

const settings = SCHEDULES.flatMap((schedule) =>
  SEEDS.map((seed) => ({ lr: LEARNING_RATE, ...schedule, weightDecay: 0.01, seed })),
)
const results = await runAll('schedules', settings, { evalSteps: EVAL_STEPS, rates: true })
const runsOf = (name) => results.filter((_, i) => settings[i].lrSchedulerType === name)
const names = SCHEDULES.map(({ lrSchedulerType }) => lrSchedulerType)

writeFigure(
  'schedules',
  lineCharts({
    title: 'The six schedules: median of three seeds',
    columns: 2,
    panels: [
      {
        title: 'Learning rate',
        x: { label: 'update' },
        y: { from: 0, format: String },
        series: names.map((name) => runsOf(name)[0].learningRates),
      },
      {
        title: 'Training loss, means of 25 updates',
        x: { label: 'update' },
        y: { from: 0, format: String },
        series: names.map((name) => medianCurve(runsOf(name).map(({ losses }) => losses)).map(([x, y]) => [x, y])),
      },
      {
        title: 'Test accuracy, %',
        x: { label: 'update' },
        y: { from: 0, format: percent },
        series: names.map((name) =>
          medianCurve(runsOf(name).map(({ accuracies }) => accuracies)).map(([x, y]) => [x, y]),
        ),
      },
      {
        title: 'Test accuracy at the end, %: median and range',
        format: percent,
        ranges: names.map((name) => summary(runsOf(name).map(({ accuracy }) => accuracy))),
      },
    ],
    names,
  }),
)
console.log('\n% right at the end (least to most of three seeds)')
for (const name of names) {
  const { median, least, most } = summary(runsOf(name).map(({ accuracy }) => accuracy))
  console.log(`${name.padEnd(24)}${percent(median)} (${percent(least)} to ${percent(most)})`)
}
