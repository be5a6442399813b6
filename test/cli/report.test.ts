import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { decimals, duration, type ReportInput, renderReport, writeReport } from '../../src/cli/report.ts'
import { type Chart, chartsOf, evaluatedNames, spelled } from '../../src/cli/report-charts.ts'
import { FileError } from '../../src/errors.ts'
import { confusionFrom } from './fixtures.ts'

const assetFolder = path.join(import.meta.dirname, '..', '..', 'assets', 'report')
const asset = (name: string) => fs.readFileSync(path.join(assetFolder, name), 'utf8')
const assets = {
  plotScript: asset('uplot.js'),
  plotStyle: asset('uplot.css'),
  script: asset('page.mjs'),
  style: asset('page.css'),
}

const evaluation = (step: number, accuracy: number) => ({
  eval_loss: 1 / step,
  eval_accuracy: accuracy,
  eval_f1_macro: accuracy / 2,
  eval_samples: 40,
  eval_runtime: 1,
  epoch: step / 10,
  step,
})
const input: ReportInput = {
  title: 'intents',
  task: 'sequence-classification',
  args: {
    learningRate: 5e-5,
    numTrainEpochs: 3,
    warmupSteps: 0.1,
    lrSchedulerKwargs: { numCycles: 2 },
    saveTotalLimit: null,
  },
  logHistory: [
    { loss: 2, grad_norm: 1.5, learning_rate: 5e-5, epoch: 0.5, step: 5 },
    evaluation(10, 0.5),
    { loss: 1, grad_norm: 1.25, learning_rate: 1e-5, epoch: 1.5, step: 15 },
    evaluation(20, 0.75),
  ],
  machine: { cpu: 'AMD EPYC', threads: '2' },
  metrics: { train_loss: 1.5, train_runtime: 75.25, eval_loss: 0.05, eval_accuracy: 0.75, best_step: 20 },
  labels: ['card', 'cash'],
  confusion: confusionFrom([
    [18, 2],
    [5, 15],
  ]),
  worst: [{ text: 'my card is gone', label: 'card', predicted: 'cash', score: 0.9312, loss: 2.5 }],
  seconds: 75.25,
}
const page = renderReport(input, assets)

/** What stands between the tags of `element`s. */
const insides = (text: string, element: string): string[] =>
  [...text.matchAll(new RegExp(`<${element}(?: [^>]*)?>([\\s\\S]*?)</${element}>`, 'g'))].map(([, inside]) => inside)

/** The text of the page: without scripts, styles, tags. */
const textOf = (markup: string): string =>
  markup
    .replaceAll(/<(script|style)[^>]*>[\s\S]*?<\/\1>/g, '')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')

const chartsIn = (text: string): Chart[] => JSON.parse(insides(text, 'script')[0])

describe('renderReport', () => {
  test('says what the run was and what came of it', () => {
    const text = textOf(page)
    for (const part of [
      'intents sequence-classification accuracy 0.7500 evaluation loss 0.0500 training loss 1.5000 time 1m 15s',
      'step epoch loss accuracy F1 macro 10 1.00 0.1000 0.5000 0.2500 20 2.00 0.0500 0.7500 0.3750 best',
      'card cash recall card 18 2 90% cash 5 15 75% precision 78% 88%',
      'my card is gone card cash 0.931 2.500',
      'learning Rate 5e-5 num Train Epochs 3 warmup Steps 0.1 lr Scheduler Kwargs {&quot;numCycles&quot;:2}',
      'train_ runtime 75.2500',
      'cpu AMD EPYC threads 2',
    ])
      expect(text).toContain(part)
    expect(text).not.toContain('save Total')
  })

  test('is the same text for the same input', () => {
    expect(renderReport(structuredClone(input), assets)).toBe(page)
  })

  test('needs nothing from elsewhere', () => {
    expect(page.replaceAll(/https:\/\/github.com\/leeoniya\/uPlot/g, '')).not.toMatch(
      /https?:|\/\/[a-z]+\.|@import|url\(/,
    )
    expect([...page.matchAll(/\s(?:src|href)="([^"]*)"/g)].map(([, value]) => value)).toEqual(['data:,'])
  })

  test('allows its own two scripts, by their hashes, and no other', () => {
    const [data, ...scripts] = insides(page, 'script')
    expect(scripts).toEqual([assets.plotScript, assets.script])
    const hashes = scripts.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`)
    expect(page).toContain(`script-src ${hashes.join(' ').replaceAll("'", '&#39;')};`)
    expect(page).toContain('default-src &#39;none&#39;;')
    expect(JSON.parse(data)).toHaveLength(4)
  })

  test('escapes whatever the data says, wherever it stands', () => {
    const evil = `</script></style><script>alert(1)</script><!--<img src=x onerror="alert(2)">' onload='`
    const text = renderReport(
      {
        title: evil,
        task: evil,
        args: { [evil]: evil, list: [evil] },
        logHistory: [
          { [`eval_${evil}`]: 0.5, step: 1, epoch: 1 },
          { [`eval_${evil}`]: 0.6, step: 2, epoch: 2 },
        ],
        machine: { [evil]: evil },
        metrics: { [`eval_${evil}`]: 1, [evil]: 1 },
        labels: [evil, evil],
        confusion: confusionFrom([
          [1, 1],
          [1, 1],
        ]),
        worst: [{ text: evil, label: evil, predicted: evil, score: 1, loss: 1 }],
        seconds: 1,
      },
      assets,
    )
    expect(insides(text, 'script')).toHaveLength(3)
    expect(text.match(/<script/g)).toHaveLength(3)
    expect(text.match(/<\/script/g)).toHaveLength(3)
    expect(text.match(/<\/style/g)).toHaveLength(1)
    expect(text).not.toMatch(/<img|<!--/)
    expect(text.replaceAll(/<script[\s\S]*?<\/script>/g, '')).not.toMatch(/onload='|onerror="/)
    expect(chartsIn(text)[0].series[0].name).toBe(spelled(evil))
    const shown = text.split('&lt;img src=x onerror=&quot;alert(2)&quot;&gt;&#39; onload=&#39;').length - 1
    expect(shown).toBeGreaterThan(15)
  })

  test('cuts a long text between characters', () => {
    const worst = [{ text: `${'x'.repeat(599)}🤗 and more`, label: 'a', predicted: 'b', score: 1, loss: 1 }]
    expect(renderReport({ ...input, worst }, assets)).toContain(`>${'x'.repeat(599)}…<`)
  })

  test('shows up to 30 classes as a matrix, and of more the pairs that stand out', () => {
    const matrix = (classes: number) =>
      Array.from({ length: classes }, (_, i) =>
        Array.from({ length: classes }, (_, j) => (i === j ? 10 : i === 3 && j < 3 ? j : 0)),
      )
    const render = (classes: number) =>
      renderReport({ ...input, labels: undefined, confusion: confusionFrom(matrix(classes)) }, assets)
    expect(render(30).match(/<td class="right"/g)).toHaveLength(30)
    const large = render(31)
    expect(large).not.toContain('<table class="matrix')
    expect(textOf(large)).toContain(
      'predicted instead examples of the true label 3 2 2 15.4% 3 1 1 7.7% Hardest classes',
    )
  })

  test('leaves out what it knows nothing of', () => {
    const { confusion: _, labels: __, worst: ___, ...rest } = input
    const titles = (more: Partial<ReportInput>) => insides(renderReport({ ...rest, ...more }, assets), 'h2')
    expect(titles({})).toEqual(['Curves', 'Evaluations', 'The run'])
    expect(titles({ logHistory: [], worst: [], confusion: confusionFrom([]) })).toEqual(['The run'])
  })
})

describe('the assets', () => {
  test('end no element that they stand in', () => {
    for (const text of [assets.plotScript, assets.script]) expect(text).not.toMatch(/<\/script|<!--/i)
    for (const text of [assets.plotStyle, assets.style]) expect(text).not.toMatch(/<\/style/i)
  })

  const installed = path.join(import.meta.dirname, '..', '..', 'node_modules', 'uplot')
  test.skipIf(!fs.existsSync(installed))(
    'are those of the uPlot in node_modules (skipped where it is not installed)',
    () => {
      const read = (name: string) => fs.readFileSync(path.join(installed, name), 'utf8').trim()
      expect(assets.plotScript.trimEnd().endsWith(`*/\n${read('dist/uPlot.iife.min.js')}`)).toBe(true)
      expect(assets.plotScript).toContain(read('LICENSE').replaceAll('\r', ''))
      expect(assets.plotStyle.trimEnd()).toBe(read('dist/uPlot.min.css'))
    },
  )
})

describe('writeReport', () => {
  test('writes the page with the assets of the package', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-report-'))
    try {
      const file = path.join(folder, 'report.html')
      await writeReport(file, input)
      expect(fs.readFileSync(file, 'utf8')).toBe(page)
      const failure = await writeReport(path.join(folder, 'none', 'report.html'), input).catch(
        (error: unknown) => error,
      )
      expect(failure).toBeInstanceOf(FileError)
    } finally {
      fs.rmSync(folder, { recursive: true })
    }
  })
})

describe('chartsOf', () => {
  test('draws log lines and evaluations over the same steps', () => {
    expect(chartsOf(input.logHistory, undefined)).toEqual([
      {
        title: 'Loss',
        steps: [5, 10, 15, 20],
        series: [
          { name: 'training', colour: 1, kind: 'line', values: [2, null, 1, null] },
          { name: 'evaluation', colour: 2, kind: 'points', values: [null, 0.1, null, 0.05] },
        ],
      },
      {
        title: 'Evaluation',
        steps: [5, 10, 20],
        series: [
          { name: 'accuracy', colour: 1, kind: 'points', values: [null, 0.5, 0.75] },
          { name: 'F1 macro', colour: 2, kind: 'points', values: [null, 0.25, 0.375] },
        ],
      },
      {
        title: 'Learning rate',
        steps: [5, 15, 20],
        series: [{ name: 'learning rate', colour: 3, kind: 'line', values: [5e-5, 1e-5, null] }],
      },
      {
        title: 'Gradient norm',
        steps: [5, 15, 20],
        series: [{ name: 'gradient norm', colour: 4, kind: 'line', values: [1.5, 1.25, null] }],
      },
    ])
  })

  test('prefers the steps, and lays a mean over many of them', () => {
    const steps = Array.from({ length: 400 }, (_, i) => ({ step: i + 1, loss: i % 2, learningRate: 1, gradNorm: 2 }))
    steps[7].loss = Number.NaN
    const [loss, , norm] = chartsOf(input.logHistory.slice(0, 1), steps)
    expect(loss.series.map(({ name }) => name)).toEqual(['training', 'training, smoothed'])
    expect(loss.series[0].values.slice(5, 9)).toEqual([1, 0, null, 0])
    expect(loss.series[1].values[0]).toBe(0)
    expect(loss.series[1].values[7]).toBeNull()
    for (const value of loss.series[1].values.slice(100)) expect(Math.abs((value ?? 0) - 0.5)).toBeLessThan(0.06)
    for (const value of norm.series[1].values) expect(value).toBeCloseTo(2, 12)
  })

  test('gives a metric beyond 1 a chart of its own', () => {
    const history = [{ eval_perplexity: 30, eval_accuracy: 0.5, eval_exact_match: 71, step: 1 }]
    expect(chartsOf(history, undefined).map(({ title }) => title)).toEqual(['Evaluation', 'perplexity', 'exact match'])
  })
})

test('names, numbers and times for a person', () => {
  expect(evaluatedNames(input.logHistory)).toEqual(['loss', 'accuracy', 'f1_macro'])
  expect(['f1', 'f1_micro', 'exact_match', 'mlm_accuracy'].map(spelled)).toEqual([
    'F1',
    'F1 micro',
    'exact match',
    'mlm accuracy',
  ])
  expect([0.12345, 12.5, 3, 12345.6, 1.5e-6, Number.NaN, -0.5].map(decimals)).toEqual([
    '0.1235',
    '12.5000',
    '3',
    '12,346',
    '1.50e-6',
    'NaN',
    '-0.5000',
  ])
  expect([0, 59.94, 59.96, 75.25, 3599.6, 3725].map(duration)).toEqual([
    '0.0s',
    '59.9s',
    '1m 0s',
    '1m 15s',
    '1h 0m',
    '1h 2m',
  ])
})
