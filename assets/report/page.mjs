// The script of a report: draws the charts that the page carries as JSON, in the colours of its style sheet.
const charts = JSON.parse(document.getElementById('charts').textContent)
const root = document.documentElement
const HEIGHT = 230
const PRINTED_WIDTH = 330

const variable = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim()

/** Four digits; very small and very large numbers with an exponent. */
function short(value) {
  const size = Math.abs(value)
  if (size >= 1e6 || (size < 1e-3 && size > 0)) return value.toExponential(2)
  return Number(value.toPrecision(4)).toLocaleString('en-US', { maximumFractionDigits: 6 })
}

/** The nearest point at which a series has a value: not every series has one at every step. */
function nearest(values, index) {
  for (let distance = 0; distance < values.length; distance++)
    for (const at of [index - distance, index + distance]) if (values[at] != null) return at
  return index
}

/** `value` of a series in the legend: under the cursor, or the last one. */
function legendValue(plot, value, series) {
  const shown = value ?? (plot.cursor.idx == null ? plot.data[series].findLast((each) => each != null) : null)
  return shown == null ? '–' : short(shown)
}

function seriesOf({ name, colour, kind }) {
  const stroke = variable(`series-${colour}`)
  return {
    label: name,
    stroke: kind === 'raw' ? `${stroke}55` : stroke,
    width: kind === 'raw' ? 1 : 2,
    spanGaps: true,
    points: kind === 'points' ? { show: true, size: 6, fill: stroke, stroke } : { show: false },
    value: legendValue,
  }
}

function axis() {
  const line = { stroke: variable('line'), width: 1 }
  return { stroke: variable('muted'), grid: line, ticks: { ...line, size: 5 }, font: '12px system-ui, sans-serif' }
}

function draw(figure, width) {
  const { steps, series } = charts[Number(figure.dataset.chart)]
  const options = {
    width,
    height: HEIGHT,
    cursor: {
      sync: { key: 'step' },
      y: false,
      drag: { x: true, y: false },
      dataIdx: (plot, at, index) => (at === 0 ? index : nearest(plot.data[at], index)),
    },
    legend: { markers: { fill: (plot, at) => plot.series[at].stroke(plot, at) } },
    scales: { x: { time: false } },
    axes: [
      {
        ...axis(),
        values: (_, values) => values.map((value) => (Number.isInteger(value) ? short(value) : '')),
        size: 34,
      },
      { ...axis(), values: (_, values) => values.map(short), size: 66 },
    ],
    series: [{ label: 'step', value: (plot, value) => short(value ?? plot.data[0].at(-1)) }, ...series.map(seriesOf)],
  }
  return new uPlot(options, [steps, ...series.map(({ values }) => values)], figure.querySelector('.plot'))
}

let plots = []

/** Colours are read when a plot is made, so that another scheme needs new ones. */
function drawAll(width) {
  for (const plot of plots) plot.destroy()
  plots = Array.from(document.querySelectorAll('figure[data-chart]'), (figure) =>
    draw(figure, width ?? figure.clientWidth),
  )
}

function fitAll() {
  for (const plot of plots) plot.setSize({ width: plot.root.closest('figure').clientWidth, height: HEIGHT })
}

drawAll()
addEventListener('resize', fitAll)
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => drawAll())
addEventListener('beforeprint', () => {
  root.dataset.printing = ''
  drawAll(PRINTED_WIDTH)
})
addEventListener('afterprint', () => {
  delete root.dataset.printing
  drawAll()
})
