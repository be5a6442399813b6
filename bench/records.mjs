// One record of a plan on memory of its own: what the benchmarks of single ops verify and time.
import { fromBfloat16, toBfloat16 } from '../dist/bfloat16.js'
import { elementBytes, Graph } from '../dist/graph/graph.js'
import { Arena, Row, Scalar } from '../dist/graph/op-table.js'
import { compilePlan } from '../dist/graph/plan.js'
import { median, modelOn, provenance, time } from './measure.mjs'

/**
 * `operands`: of each, rows (a symbol), width, type, and data or what it begins as (a number). `counts`: rows of the run by symbol.
 * `group`: the scalars of the first stretch of an update. The record runs once; `read(name)` gives an operand as float32.
 */
export async function makeRecord(backend, { op, operands, attributes, counts, scalars = {}, group = [] }) {
  const graph = new Graph(counts, { differentiate: false, training: false })
  const values = Object.fromEntries(
    Object.entries(operands).map(([name, { rows, width, type = 'float32', extra }]) => [
      name,
      graph.input(name, rows, width, type, extra),
    ]),
  )
  graph.emit(op, values, attributes)
  const plan = compilePlan(graph)
  const memory = backend.createMemory()
  memory.reserve(Arena.io, graph.inputBytes)
  for (const [name, { data }] of Object.entries(operands))
    if (data) memory.write(Arena.io, values[name].offset, values[name].type === 'bfloat16' ? toBfloat16(data) : data)
  const program = backend.compile(plan)
  const run = new Float64Array(plan.scalars)
  for (const [name, count] of Object.entries(counts)) run[Row[name]] = count
  for (const [name, value] of Object.entries(scalars)) run[Scalar[name]] = value
  run.set(group, Scalar.group0)
  await program.run(memory, run)
  return {
    run: () => program.run(memory, run),
    async read(name) {
      const value = values[name]
      const target = new (value.type === 'bfloat16' ? Uint16Array : Float32Array)(graph.elements(value))
      await memory.read(Arena.io, value.offset, target)
      return value.type === 'bfloat16' ? fromBfloat16(target) : target
    },
    /** Bytes of all operands, each once. */
    bytes: Object.values(values).reduce((sum, value) => sum + graph.elements(value) * elementBytes(value.type), 0),
    dispose() {
      memory.dispose()
      program.dispose()
    },
  }
}

/** Options of the backend whose single records are timed: WebAssembly in this thread, where no message lies between two runs. */
export const recordsOn = ({ backend, threads }) => ({
  ...modelOn({ backend, threads }),
  wasm: { worker: Number(threads) > 1 },
})

/**
 * Times `record` against a peak that is measured before and after, so that a busy or throttled machine shows in both. `work`: flops or
 * bytes of one run.
 */
export async function rate(backend, record, peak, work) {
  const before = await backend.measurePeak(peak, 0.15)
  const once = median(await time(record.run, { runs: 3, warm: 1 }))
  const repeats = Math.max(1, Math.min(200, Math.round(0.02 / once)))
  const seconds = await time(async () => {
    for (let i = 0; i < repeats; i++) await record.run()
  })
  const most = Math.max(before, await backend.measurePeak(peak, 0.15))
  const perSecond = (work * repeats) / median(seconds)
  const unit = peak === 'memory' || peak === 'read' ? 'gbytes' : 'gflops'
  return {
    ms: +((1000 * median(seconds)) / repeats).toFixed(4),
    [unit]: +(perSecond / 1e9).toFixed(1),
    [`peak_${unit}`]: +(most / 1e9).toFixed(1),
    fraction: +(perSecond / most).toFixed(3),
  }
}

/** Prints results as they come: with `json` one object a line, each with the machine. */
export function reporter(backend, json) {
  const from = provenance(backend.description)
  return {
    add(title, result) {
      if (json) return console.log(JSON.stringify({ ...result, ...from }))
      const { ms, gflops, gbytes, peak_gflops, peak_gbytes, fraction } = result
      const [reached, most, unit] = gflops === undefined ? [gbytes, peak_gbytes, 'GB/s'] : [gflops, peak_gflops, 'GF/s']
      console.log(
        `${title.padEnd(48)} ${ms.toFixed(3).padStart(10)} ms ${String(reached).padStart(8)} ${unit} of ${String(most).padStart(8)}  ${(100 * fraction).toFixed(0)} %`,
      )
    },
    end() {
      if (!json) console.log(JSON.stringify(from))
    },
  }
}

/** Float32 values as a bfloat16 operand holds them. */
export const rounded = (values, type) => (type === 'bfloat16' ? fromBfloat16(toBfloat16(values)) : values)

export function requireClose(what, got, want, bound) {
  if (!(Math.abs(got - want) <= bound)) throw new Error(`${what} is ${got}, expected ${want} within ${bound}`)
}
