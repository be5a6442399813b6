// The same training with and without warm-up, at several learning rates.
//   node docs/experiments/warm-up.mjs
import { medianCurve, runAll, SEEDS, summary, writeFigure } from './runs.mjs'
import { lineCharts, percent, short } from './svg.mjs'

const RATES = [5e-4, 1e-3, 2e-3, 4e-3, 8e-3]
const WARM_UPS = [
  { name: 'without warm-up', warmupSteps: 0 },
  { name: 'warm-up over 10 % of the updates', warmupSteps: 0.1 },
]

const settings = WARM_UPS.flatMap(({ warmupSteps }) =>
  RATES.flatMap((lr) => SEEDS.map((seed) => ({ lr, lrSchedulerType: 'linear', warmupSteps, weightDecay: 0.01, seed }))),
)
const results = await runAll('warm-up', settings)
const runsOf = (warmupSteps, lr) =>
  results.filter((_, i) => settings[i].warmupSteps === warmupSteps && settings[i].lr === lr)

writeFigure(
  'warm-up',
  lineCharts({
    title: 'With and without warm-up: median of three seeds, and their range',
    columns: 2,
    panels: [
      {
        title: 'Test accuracy, %',
        x: { label: 'learning rate', log: true, ticks: RATES },
        y: { from: 0, format: percent },
        marks: true,
        series: WARM_UPS.map(({ warmupSteps }) =>
          RATES.map((lr) => {
            const { median, least, most } = summary(runsOf(warmupSteps, lr).map(({ accuracy }) => accuracy))
            return [lr, median, least, most]
          }),
        ),
      },
      ...RATES.map((lr) => ({
        title: `Training loss, learning rate ${short(lr)}`,
        x: { label: 'update' },
        y: { from: 0, to: 5, format: String },
        series: WARM_UPS.map(({ warmupSteps }) => medianCurve(runsOf(warmupSteps, lr).map(({ losses }) => losses))),
      })),
    ],
    names: WARM_UPS.map(({ name }) => name),
  }),
)
console.log('\n% right (least to most of three seeds)')
for (const lr of RATES)
  for (const { name, warmupSteps } of WARM_UPS) {
    const { median, least, most } = summary(runsOf(warmupSteps, lr).map(({ accuracy }) => accuracy))
    console.log(`${short(lr).padEnd(8)}${name.padEnd(36)}${percent(median)} (${percent(least)} to ${percent(most)})`)
  }
