// The tests of this folder: bertkit in other runtimes than Node. Installs what they need, here, and runs every *.test.mjs.
// BERTKIT_REFERENCE_DIR: the reference data. With BERTKIT_REQUIRE_RUNTIMES=1 a runtime that is missing is an error, not skipped.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

const folder = import.meta.dirname
const missing = ['dist/edge.js', 'dist/wasm/bertkit.wasm'].filter(
  (file) => !fs.existsSync(path.join(folder, '..', '..', file)),
)
if (missing.length > 0) {
  console.error(`${missing.join(' and ')} is not there: run npm run build and npm run build:wasm first`)
  process.exit(1)
}

const modified = (...parts) => fs.statSync(path.join(folder, ...parts), { throwIfNoEntry: false })?.mtimeMs ?? 0

// Without install scripts: they move binaries from the packages that bring them. npm writes its own copy of the lock file last
if (modified('node_modules', '.package-lock.json') < modified('package-lock.json')) {
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    stdio: ['ignore', 2, 2],
  })
  if (status !== 0) {
    console.error('npm ci in test/runtimes failed')
    process.exit(1)
  }
}

const names = process.argv.slice(2)
const files = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith('.test.mjs') && (names.length === 0 || names.includes(name.split('.')[0])))
  .map((name) => path.join(folder, name))
if (files.length === 0) {
  console.error(`There are no tests ${names.join(', ')} in test/runtimes`)
  process.exit(1)
}

const counts = { pass: 0, fail: 0, skipped: 0 }
const tests = run({ files, concurrency: 1 })
tests.on('test:diagnostic', ({ message, nesting }) => {
  const [, name, count] = /^(pass|fail|cancelled|skipped) (\d+)$/.exec(message) ?? []
  if (nesting === 0 && name) counts[name === 'cancelled' ? 'fail' : name] += Number(count)
})
tests.compose(spec).pipe(process.stdout)
tests.on('end', () => {
  process.exitCode = counts.fail > 0 ? 1 : 0
  setImmediate(() => console.log(`${counts.pass} passed, ${counts.fail} failed`))
})
