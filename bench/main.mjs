// npm run bench -- gemm|attention|layer-norm|adamw|train|infer|generate|event-loop|peers [options]
import { parseArgs } from 'node:util'

const benches = ['gemm', 'attention', 'layer-norm', 'adamw', 'train', 'infer', 'generate', 'event-loop', 'peers']
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    filter: { type: 'string' },
    model: { type: 'string', default: 'base' },
    batch: { type: 'string', default: '16' },
    seq: { type: 'string', default: '128' },
    lengths: { type: 'string', default: 'full' },
    dtype: { type: 'string', default: 'float32' },
    steps: { type: 'string', default: '5' },
    profile: { type: 'boolean', default: false },
    checkpointing: { type: 'boolean', default: false },
    python: { type: 'string' },
    'peer-dir': { type: 'string' },
    'model-dir': { type: 'string' },
    'train-file': { type: 'string' },
  },
})
const [name] = positionals
if (!benches.includes(name)) {
  console.error(`usage: npm run bench -- ${benches.join('|')} [options]`)
  process.exit(2)
}
const { run } = await import(`./${name}.mjs`)
await run(values)
