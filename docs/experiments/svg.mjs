// Heat maps and line charts as plain SVG with a background of their own, in the colours of the reader's light or dark scheme.

/** Of up to six series; told apart by their dashes too. */
const LIGHT = ['#0072b2', '#c44e00', '#00805c', '#a8418f', '#8a6d00', '#555555']
const DARK = ['#5cb8f0', '#ff9a55', '#3fd0a4', '#e597d2', '#e3c84a', '#bbbbbb']
const DASHES = ['', '7 3', '2 3', '9 3 2 3', '4 4', '']

const seriesRules = (colours) =>
  colours.map((colour, i) => `.s${i} { stroke: ${colour} } .f${i} { fill: ${colour} }`).join('\n  ')

const STYLE = `<style>
  text { font: 12px system-ui, sans-serif; fill: #222 }
  .title { font-size: 15px; font-weight: 600 }
  .panel { font-weight: 600 }
  .tick { font-size: 11px; fill: #555 }
  .range { font-size: 10px }
  .page { fill: #fff }
  .grid { stroke: #e2e2e2 }
  .axis { stroke: #888 }
  .heat { fill: #0b5fa5 }
  .deep { fill: #fff }
  .best { fill: none; stroke: #c44e00; stroke-width: 3 }
  .line { fill: none; stroke-width: 2 }
  .band { opacity: 0.15 }
  ${seriesRules(LIGHT)}
  @media (prefers-color-scheme: dark) {
  text { fill: #e6e6e6 }
  .tick { fill: #aaa }
  .page { fill: #16181c }
  .grid { stroke: #33373d }
  .axis { stroke: #888 }
  .heat { fill: #6bb5ff }
  .deep { fill: #e6e6e6 }
  .half { fill: #10151c }
  .best { stroke: #ff9a55 }
  .band { opacity: 0.2 }
  ${seriesRules(DARK)}
  }
</style>`

const escaped = (text) => String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;')
const at = (value) => Number(value.toFixed(1))
const label = (x, y, content, { anchor = 'middle', kind = '', turn = 0 } = {}) =>
  `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}"${kind && ` class="${kind}"`}${turn ? ` transform="rotate(${turn} ${at(x)} ${at(y)})"` : ''}>${escaped(content)}</text>`
const line = (x1, y1, x2, y2, kind) =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" class="${kind}"/>`

function page(width, height, title, body) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title).replaceAll('"', '&quot;')}">
${STYLE}
<rect class="page" width="${width}" height="${height}" rx="6"/>
${label(16, 26, title, { anchor: 'start', kind: 'title' })}
${body.join('\n')}
</svg>
`
}

/** 0.574 as 57.4 */
export const percent = (share) => (100 * share).toFixed(1)

/** 0.002 as 2e-3: what stays short on an axis. */
export const short = (value) => (value !== 0 && Math.abs(value) < 0.1 ? value.toExponential() : String(value))

const CELL = { width: 66, height: 44 }

/** White on dark blue becomes readable at an opacity of 0.75, black on light blue at 0.6. */
const textKind = (opacity) => [opacity > 0.75 && 'deep', opacity > 0.6 && 'half'].filter(Boolean).join(' ')

/**
 * Grids beside each other in one scale of colours, from `from` (paler: all that is less) to the greatest median. `maps`: [{ title,
 * cells: rows of { median, least, most } }]; `best`: the 'most' or 'least' median of each map has a frame.
 */
export function heatMaps({ title, rows, columns, maps, format, best, legend, from }) {
  const values = maps.flatMap(({ cells }) => cells.flat().map(({ median }) => median))
  const [low, high] = [from ?? Math.min(...values), Math.max(...values)]
  const depth = (value) => Math.max(0, (value - low) / (high - low || 1))
  const opacity = (value) => Number((0.05 + 0.95 * depth(value)).toFixed(3))
  const [wide, tall] = [CELL.width * columns.values.length, CELL.height * rows.values.length]
  const [top, left, between] = [76, 84, 84]
  const body = maps.flatMap(({ title: name, cells }, m) => {
    const x0 = left + m * (wide + between)
    const goal = (best === 'most' ? Math.max : Math.min)(...cells.flat().map(({ median }) => median))
    return [
      label(x0, top - 14, name, { anchor: 'start', kind: 'panel' }),
      ...cells.flatMap((row, r) =>
        row.flatMap(({ median, least, most }, c) => {
          const [x, y] = [x0 + c * CELL.width, top + r * CELL.height]
          const size = `width="${CELL.width - 2}" height="${CELL.height - 2}" rx="3"`
          return [
            `<rect x="${x}" y="${y}" ${size} class="heat" fill-opacity="${opacity(median)}"/>`,
            ...(median === goal ? [`<rect x="${x}" y="${y}" ${size} class="best"/>`] : []),
            label(x + CELL.width / 2 - 1, y + 19, format(median), { kind: textKind(opacity(median)) }),
            label(x + CELL.width / 2 - 1, y + 34, `${format(least)}–${format(most)}`, {
              kind: `range ${textKind(opacity(median))}`,
            }),
          ]
        }),
      ),
      ...columns.values.map((value, c) =>
        label(x0 + (c + 0.5) * CELL.width, top + tall + 16, short(value), { kind: 'tick' }),
      ),
      ...rows.values.map((value, r) =>
        label(x0 - 8, top + (r + 0.5) * CELL.height + 3, short(value), { anchor: 'end', kind: 'tick' }),
      ),
      label(x0 + wide / 2, top + tall + 36, columns.label),
      label(x0 - 60, top + tall / 2, rows.label, { turn: -90 }),
    ]
  })
  const width = left + maps.length * wide + (maps.length - 1) * between + 24
  const [keyX, keyY, steps] = [left, top + tall + 58, 24]
  for (let i = 0; i < steps; i++) {
    const value = low + ((high - low) * (i + 0.5)) / steps
    body.push(
      `<rect x="${keyX + 60 + i * 8}" y="${keyY}" width="8" height="12" class="heat" fill-opacity="${opacity(value)}"/>`,
    )
  }
  const clipped = Math.min(...values) < low
  body.push(label(keyX + 54, keyY + 10, `${clipped ? '≤ ' : ''}${format(low)}`, { anchor: 'end', kind: 'tick' }))
  body.push(
    label(
      keyX + 66 + steps * 8,
      keyY + 10,
      `${format(high)}  ${legend}; framed: ${best === 'most' ? 'the highest' : 'the lowest'} of each grid`,
      { anchor: 'start', kind: 'tick' },
    ),
  )
  return page(width, keyY + 28, title, body)
}

/** About `count` round numbers within [from, to]. */
function roundTicks(from, to, count = 5) {
  const rough = (to - from) / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough)
  const ticks = []
  for (let k = Math.ceil(from / step - 1e-9); k * step <= to + step * 1e-9; k++)
    ticks.push(Number((k * step).toPrecision(6)))
  return ticks
}

const PANEL = { width: 400, height: 250, left: 56, right: 14, top: 34, bottom: 44 }

/** Points are [x, y], or [x, median, least, most], whose range is a band. */
function panelBody({ title, x, y, series, marks = false }, x0, y0) {
  const points = series.flat()
  const xs = points.map(([value]) => value)
  const place = x.log ? Math.log10 : (value) => value
  const [xLow, xHigh] = x.log ? [Math.min(...xs) / 1.15, Math.max(...xs) * 1.15] : [0, Math.max(...xs)]
  const top = y.to ?? 1.05 * Math.max(...points.flatMap(([, ...values]) => values))
  const [left, right] = [x0 + PANEL.left, x0 + PANEL.width - PANEL.right]
  const [above, below] = [y0 + PANEL.top, y0 + PANEL.height - PANEL.bottom]
  const px = (value) => left + ((place(value) - place(xLow)) / (place(xHigh) - place(xLow))) * (right - left)
  const py = (value) => below - ((value - y.from) / (top - y.from)) * (below - above)
  const path = (list) => list.map(([a, b], i) => `${i ? 'L' : 'M'}${at(px(a))} ${at(py(b))}`).join('')
  const body = [label(left, y0 + 20, title, { anchor: 'start', kind: 'panel' })]
  for (const tick of roundTicks(y.from, top)) {
    body.push(line(left, py(tick), right, py(tick), 'grid'))
    body.push(label(left - 6, py(tick) + 4, y.format(tick), { anchor: 'end', kind: 'tick' }))
  }
  for (const tick of x.ticks ?? roundTicks(xLow, xHigh)) {
    body.push(line(px(tick), below, px(tick), below + 4, 'axis'))
    body.push(label(px(tick), below + 17, short(tick), { kind: 'tick' }))
  }
  body.push(line(left, below, right, below, 'axis'), label((left + right) / 2, below + 35, x.label))
  for (const [s, list] of series.entries()) {
    if (list[0].length === 4) {
      const edge = [...list.map(([a, , least]) => [a, least]), ...list.map(([a, , , most]) => [a, most]).reverse()]
      body.push(`<path d="${path(edge)}Z" class="f${s} band"/>`)
    }
    const dash = DASHES[s] && ` stroke-dasharray="${DASHES[s]}"`
    body.push(`<path d="${path(list)}" class="s${s} line"${dash}/>`)
    if (marks)
      for (const [a, b] of list) body.push(`<circle cx="${at(px(a))}" cy="${at(py(b))}" r="3.5" class="f${s}"/>`)
  }
  return body
}

/** A row for each name: the median as a dot on the line from least to most. */
function rangesBody({ title, format, ranges }, names, x0, y0) {
  const left = x0 + 12 + 7 * Math.max(...names.map((name) => name.length))
  const right = x0 + PANEL.width - PANEL.right
  const [above, below] = [y0 + PANEL.top, y0 + PANEL.height - PANEL.bottom]
  const [low, high] = [Math.min(...ranges.map(({ least }) => least)), Math.max(...ranges.map(({ most }) => most))]
  const [from, to] = [low - 0.1 * (high - low), high + 0.1 * (high - low)]
  const px = (value) => left + ((value - from) / (to - from)) * (right - left)
  const body = [label(x0 + PANEL.left, y0 + 20, title, { anchor: 'start', kind: 'panel' })]
  for (const tick of roundTicks(from, to)) {
    body.push(line(px(tick), above, px(tick), below, 'grid'))
    body.push(label(px(tick), below + 17, format(tick), { kind: 'tick' }))
  }
  for (const [s, { median, least, most }] of ranges.entries()) {
    const y = above + ((s + 0.5) * (below - above)) / ranges.length
    body.push(label(left - 6, y + 4, names[s], { anchor: 'end' }))
    body.push(line(px(least), y, px(most), y, `s${s} line`))
    body.push(`<circle cx="${at(px(median))}" cy="${at(y)}" r="4.5" class="f${s}"/>`)
  }
  return body
}

/**
 * Panels in rows of `columns`, with one legend. `panels`: [{ title, x: { label, log?, ticks? }, y: { from, to?, format }, marks?,
 * series: of each name, its points }], or { title, format, ranges: of each name, its { median, least, most } }.
 */
export function lineCharts({ title, columns, panels, names }) {
  const body = []
  let x = 16
  for (const [s, name] of names.entries()) {
    const dash = DASHES[s] && ` stroke-dasharray="${DASHES[s]}"`
    body.push(`<path d="M${at(x)} 46h28" class="s${s} line"${dash}/>`)
    body.push(label(x + 34, 50, name, { anchor: 'start' }))
    x += 54 + 6.6 * name.length
  }
  for (const [i, panel] of panels.entries()) {
    const place = [(i % columns) * PANEL.width, 58 + Math.floor(i / columns) * PANEL.height]
    body.push(...(panel.ranges ? rangesBody(panel, names, ...place) : panelBody(panel, ...place)))
  }
  return page(columns * PANEL.width + 8, 62 + Math.ceil(panels.length / columns) * PANEL.height, title, body)
}
