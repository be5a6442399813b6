// Five million mutations of each format under a small heap. What is done is noted in out/fuzz-formats.json: the same command goes on
// where it was stopped; --fresh forgets it. Needs `npm run build`.
// Usage: node test/long/fuzz-formats.mjs [cases of each] [--fresh] [target ...]
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

const HEAP_MB = 256
const CHUNK = 100_000
const root = path.join(import.meta.dirname, '..', '..')
const dist = (file) => import(path.join(root, 'dist', file))

if (!process.execArgv.some((arg) => arg.startsWith('--max-old-space-size'))) {
  const args = [`--max-old-space-size=${HEAP_MB}`, import.meta.filename, ...process.argv.slice(2)]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  process.exit(status ?? 130)
}

const modules = ['errors', 'json', 'model/config', 'formats/crc32c', 'formats/pytorch', 'formats/safetensors']
modules.push('formats/sentence-transformers', 'formats/shards', 'formats/source', 'formats/tensorflow')
const api = Object.assign({}, ...(await Promise.all(modules.map((name) => dist(`${name}.js`)))))
const { fuzz, targetsOf } = await import('../formats/fuzz.mjs')
const targets = targetsOf(api)

const args = process.argv.slice(2)
const cases = Number(args.find((arg) => /^\d+$/.test(arg)) ?? 5_000_000)
const wanted = args.filter((arg) => /^[a-z]/.test(arg))
const state = path.join(root, 'out', 'fuzz-formats.json')
fs.mkdirSync(path.dirname(state), { recursive: true })
const done = !args.includes('--fresh') && fs.existsSync(state) ? JSON.parse(fs.readFileSync(state, 'utf8')) : {}

let failed = 0
for (const [name, target] of Object.entries(targets)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  done[name] ??= { cases: 0, accepted: 0 }
  const started = performance.now()
  const first = done[name].cases
  try {
    while (done[name].cases < cases) {
      const from = done[name].cases
      const to = Math.min(cases, from + CHUNK)
      done[name].accepted += await fuzz(target, api.BertkitError, from, to)
      done[name].cases = to
      fs.writeFileSync(state, JSON.stringify(done, null, 2))
    }
  } catch (error) {
    failed++
    console.log(`${name}: ${error.message}`)
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  const megabytes = (process.resourceUsage().maxRSS / 1024).toFixed(0)
  console.log(
    `${name}: ${done[name].cases} cases (${done[name].cases - first} now, ${seconds} s), ${done[name].accepted} accepted, peak ${megabytes} MB`,
  )
}
process.exitCode = failed === 0 ? 0 : 1
