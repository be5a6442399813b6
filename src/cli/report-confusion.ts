import { grouped } from './io.ts'
import { html, type Markup } from './markup.ts'
import { type ClassScore, type Confusion, classScores, confusedPairs } from './report-data.ts'

/** A larger matrix cannot be read; what it would say are the pairs that stand out. */
const FULL_CLASSES = 30
const PAIRS = 25
const HARDEST = 15

/** From here on cells are narrow, so that the whole matrix is seen without scrolling. */
const DENSE_CLASSES = 15

/** A strong shade still lets the number be read. */
const STRONGEST_SHADE = 0.85

const percent = (share: number, digits = 1): string => (Number.isNaN(share) ? '–' : `${(100 * share).toFixed(digits)}%`)

function cell(count: number, total: number, label: string, predicted: string, isRight: boolean): Markup {
  if (count === 0) return html`<td></td>`
  const share = count / total
  const title = `true ${label}, predicted ${predicted}: ${grouped(count)} of ${grouped(total)}, ${percent(share)}`
  const kind = isRight ? 'right' : 'wrong'
  // A rare mistake is to be seen too.
  const shade = STRONGEST_SHADE * (isRight ? share : Math.sqrt(share))
  return html`<td class="${kind}" style="--shade:${shade.toFixed(3)}" title="${title}">${grouped(count)}</td>`
}

function fullMatrix(confusion: Confusion, names: readonly string[]): Markup {
  const scores = classScores(confusion)
  const counts = names.map(() => names.map(() => 0))
  for (const { count, label, predicted } of confusion.pairs) counts[label][predicted] = count
  const head = names.map((name) => html`<th scope="col" title="${name}"><span>${name}</span></th>`)
  const rows = scores.map(({ count, index: label, recall }) => {
    const cells = counts[label].map((value, predicted) =>
      cell(value, count, names[label], names[predicted], label === predicted),
    )
    return html`<tr><th scope="row" title="${names[label]}">${names[label]}</th>${cells}<td class="total">${percent(recall, 0)}</td></tr>`
  })
  const precisions = scores.map(({ precision }) => html`<td class="total">${percent(precision, 0)}</td>`)
  return html`<p class="note">Rows are the true labels, columns the predicted ones; the shade grows with the share of the row.</p>
<div class="scroll"><table class="matrix${names.length < DENSE_CLASSES ? '' : ' dense'}"><thead><tr><th>true \\ predicted</th>${head}<th class="total">recall</th></tr></thead>
<tbody>${rows}</tbody>
<tfoot><tr><th scope="row">precision</th>${precisions}<td></td></tr></tfoot></table></div>`
}

function pairTable(confusion: Confusion, names: readonly string[]): Markup {
  const rows = confusedPairs(confusion, PAIRS).map(
    ({ count, label, predicted, share }) =>
      html`<tr><td>${names[label]}</td><td>${names[predicted]}</td><td class="number">${grouped(count)}</td><td class="number">${percent(share)}</td></tr>`,
  )
  if (rows.length === 0) return html`<p class="note">No example was taken for one of another class.</p>`
  return html`<div class="scroll"><table class="pairs"><thead><tr><th>true</th><th>predicted instead</th><th class="number">examples</th><th class="number">of the true label</th></tr></thead><tbody>${rows}</tbody></table></div>`
}

function hardestTable(scores: readonly ClassScore[], names: readonly string[]): Markup {
  const hardest = scores.filter(({ count }) => count > 0).sort((a, b) => a.f1 - b.f1)
  const rows = hardest
    .slice(0, HARDEST)
    .map(
      ({ count, f1, index, precision, recall }) =>
        html`<tr><td>${names[index]}</td><td class="number">${grouped(count)}</td><td class="number">${percent(precision)}</td><td class="number">${percent(recall)}</td><td class="number">${percent(f1)}</td></tr>`,
    )
  return html`<div class="scroll"><table class="pairs"><thead><tr><th>class</th><th class="number">examples</th><th class="number">precision</th><th class="number">recall</th><th class="number">F1</th></tr></thead><tbody>${rows}</tbody></table></div>`
}

/** Up to 30 classes the whole matrix; beyond, the pairs that were mixed up most and the classes with the lowest F1. */
export function confusionSection(confusion: Confusion | undefined, labels: readonly string[] | undefined): Markup {
  if (confusion === undefined || confusion.classes === 0) return html``
  const { classes } = confusion
  const names = Array.from({ length: classes }, (_, i) => labels?.[i] ?? String(i))
  if (classes <= FULL_CLASSES) return html`<section><h2>Confusion matrix</h2>${fullMatrix(confusion, names)}</section>`
  return html`<section><h2>Most confused</h2>
<p class="note">Of ${classes} classes, the pairs that were mixed up most often.</p>
${pairTable(confusion, names)}</section>
<section><h2>Hardest classes</h2>
<p class="note">Those with the lowest F1.</p>
${hardestTable(classScores(confusion), names)}</section>`
}
