import { createHash } from 'node:crypto'
import { writeText } from '../formats/files.ts'
import type { LogRecord } from '../train/events.ts'
import { readTextAsset } from './assets.ts'
import { grouped } from './io.ts'
import { html, jsonScript, Markup } from './markup.ts'
import { chartsOf, evaluatedNames, spelled } from './report-charts.ts'
import { confusionSection } from './report-confusion.ts'
import type { Confusion, CurvePoint, WorstExample } from './report-data.ts'

/** What a report is about. */
export interface ReportInput {
  readonly title: string
  readonly task: string
  readonly args: Readonly<Record<string, unknown>>
  /** Every log line and evaluation. */
  readonly logHistory: readonly LogRecord[]
  /** The updates, or means of some (CurveRecorder); without them the curves are those of the log lines. */
  readonly steps?: readonly CurvePoint[]
  readonly machine: Readonly<Record<string, string>>
  /** The numbers of the whole run and of the last evaluation. */
  readonly metrics: LogRecord
  /** Names of the classes. */
  readonly labels?: readonly string[]
  /** Of true classes and predicted ones. */
  readonly confusion?: Confusion
  readonly worst?: readonly WorstExample[]
  readonly seconds: number
}

/** Scripts and style sheets that a page carries in itself: texts of assets/report. */
export interface ReportAssets {
  readonly plotScript: string
  readonly plotStyle: string
  readonly script: string
  readonly style: string
}

/** Numbers of one column: the same number of decimals, as long as they are of a usual size. */
export function decimals(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  if (Number.isInteger(value)) return grouped(value)
  const size = Math.abs(value)
  return size < 1e-3 ? value.toExponential(2) : size < 1000 ? value.toFixed(4) : grouped(value)
}

/** 75 -> '1m 15s'. */
export function duration(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(1)}s`
  const whole = Math.round(seconds)
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60]
  return hours > 0 ? `${hours}h ${minutes}m` : `${minutes}m ${whole % 60}s`
}

/** The results first, then what they cost. */
function tiles({ metrics, seconds }: ReportInput): Markup {
  const names = evaluatedNames([metrics])
  const evaluated = [...names.filter((name) => name !== 'loss'), ...names.filter((name) => name === 'loss')]
  const shown: [string, string][] = evaluated.map((name) => [
    spelled(name === 'loss' ? 'evaluation_loss' : name),
    decimals(metrics[`eval_${name}`]),
  ])
  if ('train_loss' in metrics) shown.push(['training loss', decimals(metrics.train_loss)])
  shown.push(['time', duration(seconds)])
  return html`<dl class="tiles">${shown.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}

function curves(input: ReportInput, titles: readonly string[]): Markup {
  if (titles.length === 0) return html``
  const figures = titles.map(
    (title, i) => html`<figure data-chart="${i}"><figcaption>${title}</figcaption><div class="plot"></div></figure>`,
  )
  const note = input.steps === undefined ? 'Means between log lines, by step.' : 'By step.'
  return html`<section><h2>Curves</h2>
<p class="note">${note} <span class="screen">Point at a curve for its values; drag to look closer, double-click to go back.</span></p>
<noscript><p class="note">The curves need scripts, which are off here.</p></noscript>
<div class="charts">${figures}</div></section>`
}

function evaluations({ logHistory, metrics }: ReportInput): Markup {
  const lines = logHistory.filter((line) => evaluatedNames([line]).length > 0)
  if (lines.length < 2) return html``
  const names = evaluatedNames(lines)
  const head = ['step', 'epoch', ...names.map(spelled)].map((name) => html`<th class="number">${name}</th>`)
  const rows = lines.map((line) => {
    const values = [
      grouped(line.step),
      line.epoch.toFixed(2),
      ...names.map((name) => decimals(line[`eval_${name}`] ?? Number.NaN)),
    ]
    const isBest = line.step === metrics.best_step
    const cells = values.map((value) => html`<td class="number">${value}</td>`)
    return html`<tr>${cells}<td>${isBest ? html`<span class="best">best</span>` : ''}</td></tr>`
  })
  return html`<section><h2>Evaluations</h2>
<div class="scroll"><table><thead><tr>${head}<th></th></tr></thead><tbody>${rows}</tbody></table></div></section>`
}

/** A text beyond this is cut: a report is to be read. */
const LONGEST_TEXT = 600

function cut(text: string): string {
  if (text.length <= LONGEST_TEXT) return text
  // Not between the halves of a character.
  return `${text.slice(0, LONGEST_TEXT).replace(/[\ud800-\udbff]$/, '')}…`
}

/** Names of classes and arguments are long words; they may break after an underscore and before a capital letter. */
const breakable = (name: string): readonly Markup[] => name.split(/(?<=_)|(?=[A-Z])/).map((part) => html`${part}<wbr>`)

function worstSection({ worst = [] }: ReportInput): Markup {
  if (worst.length === 0) return html``
  // numbers are predicted without saying how surely
  const scored = worst.some(({ score }) => !Number.isNaN(score))
  const rows = worst.map(
    ({ label, loss, predicted, score, text }) =>
      html`<tr><td dir="auto">${cut(text)}</td><td class="label" data-name="true">${breakable(label)}</td><td class="label predicted${label === predicted ? ' same' : ''}" data-name="predicted">${breakable(predicted)}</td>${scored ? html`<td class="number" data-name="score">${score.toFixed(3)}</td>` : html``}<td class="number" data-name="loss">${loss.toFixed(3)}</td></tr>`,
  )
  return html`<section><h2>Worst examples</h2>
<p class="note">The examples of the evaluation with the highest loss.${scored ? ' The score is how sure the model was of what it predicted.' : ''}</p>
<table class="examples"><thead><tr><th>text</th><th>true</th><th>predicted</th>${scored ? html`<th class="number">score</th>` : html``}<th class="number">loss</th></tr></thead><tbody>${rows}</tbody></table></section>`
}

/** As one would type it: 5e-5, not 0.00005. */
function shownValue(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number') return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential() : String(value)
  return JSON.stringify(value) ?? ''
}

function valueTable(title: string, values: Readonly<Record<string, unknown>>): Markup {
  const rows = Object.entries(values).filter(([, value]) => value !== undefined && value !== null)
  if (rows.length === 0) return html``
  const lines = rows.map(([name, value]) => html`<tr><th>${breakable(name)}</th><td>${shownValue(value)}</td></tr>`)
  return html`<div><h3>${title}</h3><table class="values"><tbody>${lines}</tbody></table></div>`
}

function runSection({ args, machine, metrics }: ReportInput): Markup {
  const numbers = Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, decimals(value)]))
  return html`<section><h2>The run</h2>
<div class="run">${valueTable('Arguments', args)}<div class="stack">${valueTable('Metrics', numbers)}${valueTable('Machine', machine)}</div></div></section>`
}

/** Only the page's own two scripts may run, and nothing may be loaded: whatever the data says. */
function policyOf(scripts: readonly string[]): string {
  const hashes = scripts.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`)
  return `default-src 'none'; style-src 'unsafe-inline'; script-src ${hashes.join(' ')}; img-src data:; base-uri 'none'; form-action 'none'`
}

/** A page that needs nothing beside itself. The same input gives the same text. */
export function renderReport(input: ReportInput, assets: ReportAssets): string {
  const charts = chartsOf(input.logHistory, input.steps)
  const { plotScript, plotStyle, script, style } = assets
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policyOf([plotScript, script])}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${input.title}</title>
<style>${new Markup(plotStyle)}${new Markup(style)}</style>
</head>
<body>
<main>
<header><h1>${input.title}</h1><p class="note">${input.task}</p></header>
${tiles(input)}
${curves(
  input,
  charts.map(({ title }) => title),
)}
${evaluations(input)}
${confusionSection(input.confusion, input.labels)}
${worstSection(input)}
${runSection(input)}
</main>
<script type="application/json" id="charts">${jsonScript(charts)}</script>
<script>${new Markup(plotScript)}</script>
<script type="module">${new Markup(script)}</script>
</body>
</html>
`
  return page.text
}

const readAssets = async (): Promise<ReportAssets> => ({
  plotScript: await readTextAsset('report/uplot.js'),
  plotStyle: await readTextAsset('report/uplot.css'),
  script: await readTextAsset('report/page.mjs'),
  style: await readTextAsset('report/page.css'),
})

/** Writes the page as `file`. Throws FileError. */
export async function writeReport(file: string, input: ReportInput): Promise<void> {
  await writeText(file, renderReport(input, await readAssets()))
}
