// npm run bench -- NAME [options]; CONTRIBUTING.md says what each measures.
import { parseArgs } from 'node:util'

const benches = [
  'gemm',
  'linear-int8',
  'attention',
  'layer-norm',
  'adamw',
  'train',
  'infer',
  'generate',
  'event-loop',
  'peers',
  'wasm-peers',
  'wasm-chromium',
  'wasm-start',
  'record-plan',
]
const options = {
  json: { type: 'boolean', default: false },
  filter: { type: 'string' },
  model: { type: 'string', default: 'base' },
  batch: { type: 'string', default: '16' },
  seq: { type: 'string', default: '128' },
  lengths: { type: 'string', default: 'full' },
  backend: { type: 'string', default: 'auto' },
  threads: { type: 'string' },
  dtype: { type: 'string', default: 'float32' },
  steps: { type: 'string' },
  profile: { type: 'boolean', default: false },
  checkpointing: { type: 'boolean', default: false },
  python: { type: 'string' },
  'peer-dir': { type: 'string' },
  'model-dir': { type: 'string' },
  'train-file': { type: 'string' },
  'record-plan': { type: 'string' },
  'plan-only': { type: 'boolean', default: false },
}

function parse() {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options })
    if (benches.includes(positionals[0])) return { name: positionals[0], values }
  } catch {
    // the usage says it
  }
  const flags = Object.entries(options).map(([flag, { type }]) => `[--${flag}${type === 'boolean' ? '' : ' X'}]`)
  console.error(`usage: npm run bench -- ${benches.join('|')} ${flags.join(' ')}`)
  process.exit(2)
}

const { name, values } = parse()
for (const flag of ['batch', 'seq', 'steps', 'threads'])
  if (values[flag] !== undefined && !(Number.isInteger(Number(values[flag])) && Number(values[flag]) > 0)) {
    console.error(`Expected --${flag} to be an integer of at least 1 but received '${values[flag]}'`)
    process.exit(2)
  }
// as the package's entry does: some benches use only what is below it
await import('../dist/platform-node.js')
const { run } = await import(`./${name}.mjs`)
try {
  await run(values)
} catch (error) {
  console.error(`bench ${name}: ${error.message}`)
  process.exit(1)
}
