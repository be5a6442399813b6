// What training does to the process around it: event-loop delay, heap, and the number of plans over an epoch.
//   npm run bench -- event-loop --model-dir DIR --train-file FILE.tsv[.gz] [--steps N]
// The file has a header `sentence<TAB>label`, as SST-2 has it.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { classificationRows } from '../dist/data/classification.js'
import { BertForSequenceClassification, BertTokenizer, describeBackend, Trainer } from '../dist/index.js'
import { mapInSlices } from '../dist/train/slices.js'
import { median, printResult, provenance } from './measure.mjs'

export async function run({ json, 'model-dir': folder, 'train-file': file, steps }) {
  if (!folder || !file) throw new Error('event-loop needs --model-dir and --train-file')
  const tokenizer = await BertTokenizer.fromPretrained(folder)
  const examples = []
  for await (const example of classificationRows(file, { textColumn: 'sentence' })) examples.push(example)
  const trainDataset = await mapInSlices(examples, ({ text, label }) => ({
    ...tokenizer.encode(text.trim(), { truncation: true, maxLength: 128 }),
    labels: Number(label),
  }))
  const model = await BertForSequenceClassification.fromPretrained(folder, { numLabels: 2 })
  const maxSteps = steps === undefined ? -1 : Number(steps) // an epoch
  const args = {
    outputDir: 'out/event-loop',
    numTrainEpochs: 1,
    maxSteps,
    perDeviceTrainBatchSize: 32,
    saveStrategy: 'no',
  }
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const heaps = []
  delay.enable()
  for await (const event of new Trainer({ model, args, trainDataset }).train()) {
    if (event.type !== 'step' || event.step % 20) continue
    globalThis.gc?.()
    heaps.push(process.memoryUsage().heapUsed / 2 ** 20)
  }
  delay.disable()
  const third = Math.max(1, Math.floor(heaps.length / 3))
  const result = {
    bench: 'event-loop',
    sentences: examples.length,
    delay_p50_ms: +(delay.percentile(50) / 1e6).toFixed(2),
    delay_p99_ms: +(delay.percentile(99) / 1e6).toFixed(2),
    delay_max_ms: +(delay.max / 1e6).toFixed(2),
    heap_first_third_mib: +median(heaps.slice(0, third)).toFixed(1),
    heap_last_third_mib: +median(heaps.slice(-third)).toFixed(1),
    plans: model.runtime.plansRecorded,
    ...provenance(await describeBackend()),
  }
  printResult(result, json)
  model.dispose()
}
