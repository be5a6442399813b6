// node bench/int8-memory.mjs FOLDER [DTYPE]: what loading a folder and a first forward cost in memory and time, in a process of its own.
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { BertModel } from '../dist/index.js'

const [folder, dtype = 'int8'] = process.argv.slice(2)
if (folder === undefined) {
  console.error('usage: node bench/int8-memory.mjs FOLDER [DTYPE]')
  process.exit(2)
}
/** Mebibytes of this process: now, or at most so far (Linux). */
const resident = (field) => {
  const [, kib] = new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return +(Number(kib) / 1024).toFixed(1)
}
const before = resident('VmRSS')
const start = performance.now()
const model = await BertModel.fromPretrained(folder, { dtype })
const loaded = performance.now()
const inputIds = [Array.from({ length: 128 }, (_, i) => 1000 + i)]
await model.forward({ inputIds })
const first = performance.now()
await model.forward({ inputIds })
console.log(
  JSON.stringify({
    bench: 'int8-memory',
    dtype,
    weights_mib: +(model.runtime.layout.weightBytes / 2 ** 20).toFixed(1),
    process_before_mib: before,
    peak_mib: resident('VmHWM'),
    peak_over_before_mib: +(resident('VmHWM') - before).toFixed(1),
    load_ms: +(loaded - start).toFixed(0),
    first_forward_ms: +(first - loaded).toFixed(0),
  }),
)
