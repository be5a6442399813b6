// Where the time of a step goes: the seconds of every record, summed by op, with what each op reached of flops or bytes per second.
import { elementBytes } from '../dist/graph/graph.js'
import { Row } from '../dist/graph/op-table.js'

const ROWS = Object.keys(Row)

/** Flops of a record's matrix products from its attributes; `pairs` is the sum of squared sequence lengths. */
const products = {
  linear: ({ rows, K, N }) => 2 * rows * K * N,
  linear_backward_data: ({ rows, K, N }) => 2 * rows * K * N,
  linear_backward_weight: ({ rows, K, N }, operands) => (operands.dw ? 2 * rows * K * N : 0),
  attention: ({ A, D }, _, pairs) => 4 * pairs * A * D,
  attention_backward: ({ A, D }, _, pairs) => 10 * pairs * A * D,
}
/** Operands that a record reads by index: a row of them for each row of this attribute. */
const indexed = { word: 'rows', type: 'rows', position: 'rows', x: 'to' }

/** Bytes of a record's operands, each counted once. */
function traffic(op, attributes, operands) {
  const size = ({ name, dims }) => {
    const touched = dims.length > 1 ? attributes[indexed[name]] : undefined
    const factors = dims.map((dim) => {
      const [attribute, plus] = dim.split('+')
      return (attributes[attribute] ?? Number(dim)) + (plus ? 1 : 0)
    })
    if (touched !== undefined) factors[0] = touched
    const bytes = operands[name] ? elementBytes(operands[name].type) : 4
    return bytes * factors.reduce((product, factor) => product * factor, 1)
  }
  return op.operands.reduce((sum, spec) => sum + (operands[spec.name] ? size(spec) : 0), 0)
}

/** Give `profiler` to a ModelRuntime; `report` averages over the steps seen. */
export class Profile {
  #ops = new Map()

  /** `pairs()`: the sum of squared sequence lengths of the step that runs. */
  constructor(pairs) {
    this.profiler = (plan, scalars, seconds) => {
      for (const [i, { op, operands, attributes }] of plan.records.entries()) {
        const numbers = Object.fromEntries(
          op.attributes.map(({ name, kind }, a) => [name, kind === 'r' ? scalars[attributes[a]] : attributes[a]]),
        )
        const given = Object.fromEntries(op.operands.map(({ name }, o) => [name, operands[o]]))
        const flops = products[op.name]?.(numbers, given, pairs())
        // the same op on rows of another kind is another line: the head's products are tiny
        const rows = op.attributes.findIndex(({ kind }) => kind === 'r')
        const symbol = rows < 0 ? 'tokens' : ROWS[attributes[rows]]
        const name = symbol === 'tokens' ? op.name : `${op.name} (${symbol})`
        const sum = this.#ops.get(name) ?? { calls: 0, seconds: 0, flops: 0, bytes: 0 }
        sum.calls++
        sum.seconds += seconds[i]
        if (flops === undefined) sum.bytes += traffic(op, numbers, given)
        else sum.flops += flops
        this.#ops.set(name, sum)
      }
    }
  }

  /** Lines that add up to `total` seconds of `steps` steps, the largest first, and what lies outside all records. */
  report(steps, total) {
    const lines = [...this.#ops]
      .sort(([, a], [, b]) => b.seconds - a.seconds)
      .map(([op, { calls, seconds, flops, bytes }]) => ({
        op,
        calls: calls / steps,
        ms: +((1000 * seconds) / steps).toFixed(3),
        share: +(seconds / total).toFixed(4),
        // 0 seconds: done together with records before them
        ...(seconds > 0 && flops > 0 && { gflops: +(flops / seconds / 1e9).toFixed(1) }),
        ...(seconds > 0 && !flops && { gbytes: +(bytes / seconds / 1e9).toFixed(2) }),
      }))
    const inside = [...this.#ops.values()].reduce((sum, { seconds }) => sum + seconds, 0)
    return [
      ...lines,
      {
        op: 'outside the kernels',
        calls: 1,
        ms: +((1000 * (total - inside)) / steps).toFixed(3),
        share: +(1 - inside / total).toFixed(4),
      },
      { op: 'step', calls: 1, ms: +((1000 * total) / steps).toFixed(3), share: 1 },
    ]
  }
}

export function printProfile(lines) {
  for (const { op, calls, ms, share, gflops, gbytes } of lines) {
    const rate = gflops ? `${gflops.toFixed(1)} GF/s` : gbytes ? `${gbytes.toFixed(2)} GB/s` : ''
    const percent = `${(100 * share).toFixed(1)} %`
    console.log(
      `${op.padEnd(34)} ${String(calls).padStart(5)} ${ms.toFixed(2).padStart(10)} ms ${percent.padStart(7)} ${rate.padStart(12)}`,
    )
  }
}
