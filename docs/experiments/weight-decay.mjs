// AdamW's decoupled decay against Adam with an L2 term, over learning rates and decays: the grid of "Decoupled Weight Decay
// Regularization" (Loshchilov and Hutter, 2019; first called "Fixing Weight Decay Regularization in Adam").
//   node docs/experiments/weight-decay.mjs
import { runAll, SEEDS, summary, writeFigure } from './runs.mjs'
import { heatMaps, percent, short } from './svg.mjs'

const RATES = [5e-4, 1e-3, 2e-3, 4e-3, 8e-3]
/**
 * The paper's lambda. Decoupled: the part of a weight that an update takes off at the full rate; PyTorch's weightDecay, which it
 * multiplies by the learning rate, is lambda / lr. L2: what the weight adds to its gradient, weightDecay itself.
 */
const DECAYS = [0, 1e-4, 1e-3, 3e-3, 1e-2]
const SCHEDULE = { lrSchedulerType: 'cosine', warmupSteps: 0.1 }

function settingOf(decoupled, lr, decay, seed) {
  const common = { lr, ...SCHEDULE, seed }
  if (decay === 0) return common // the same run for both
  if (decoupled) return { ...common, weightDecay: Number((decay / lr).toPrecision(6)) }
  return { ...common, weightDecay: decay, decoupledWeightDecay: false }
}

const cells = [true, false].flatMap((decoupled) =>
  RATES.flatMap((lr) => DECAYS.map((decay) => ({ decoupled, lr, decay }))),
)
const keyed = new Map()
for (const { decoupled, lr, decay } of cells)
  for (const seed of SEEDS) {
    const setting = settingOf(decoupled, lr, decay, seed)
    keyed.set(JSON.stringify(setting), setting)
  }
const settings = [...keyed.values()]
const results = await runAll('weight-decay', settings)
const resultOf = new Map([...keyed.keys()].map((key, i) => [key, results[i]]))

const grid = (decoupled, value) =>
  RATES.map((lr) =>
    DECAYS.map((decay) =>
      summary(SEEDS.map((seed) => value(resultOf.get(JSON.stringify(settingOf(decoupled, lr, decay, seed)))))),
    ),
  )
const accuracy = (decoupled) => grid(decoupled, (result) => result.accuracy)
const lastLoss = (decoupled) => grid(decoupled, (result) => result.losses.at(-1)[1])

const axes = {
  rows: { label: 'learning rate', values: RATES },
  columns: { label: 'decay λ', values: DECAYS },
}
writeFigure(
  'weight-decay',
  heatMaps({
    title: 'Test accuracy by learning rate and decay, median and range of three seeds',
    ...axes,
    maps: [
      { title: 'AdamW, decoupled decay (weightDecay = λ / lr)', cells: accuracy(true) },
      { title: 'Adam with an L2 term (weightDecay = λ)', cells: accuracy(false) },
    ],
    format: percent,
    best: 'most',
    legend: 'test accuracy, %',
    from: 0.3,
  }),
)
writeFigure(
  'weight-decay-loss',
  heatMaps({
    title: 'Training loss of the last 25 updates, median and range of three seeds',
    ...axes,
    maps: [
      { title: 'AdamW, decoupled decay (weightDecay = λ / lr)', cells: lastLoss(true) },
      { title: 'Adam with an L2 term (weightDecay = λ)', cells: lastLoss(false) },
    ],
    format: (value) => value.toFixed(2),
    best: 'least',
    legend: 'training loss',
  }),
)
for (const [name, decoupled] of [
  ['AdamW', true],
  ['Adam + L2', false],
]) {
  console.log(`\n${name}: % right; rows learning rate, columns decay ${DECAYS.map(short).join(', ')}`)
  for (const [i, row] of accuracy(decoupled).entries())
    console.log(`${short(RATES[i]).padEnd(8)}${row.map(({ median }) => percent(median).padStart(7)).join('')}`)
}
