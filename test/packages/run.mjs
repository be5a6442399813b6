// npm run test:packages [-- NAME...]: the packages as they are published. Stages and packs them (scripts/pack.mjs), publishes the
// tarballs to a registry on this machine, and runs every *.test.mjs of this folder, which install them from there.
// BERTKIT_REFERENCE_DIR: the reference data; without it, programs on MiniLM are skipped. With BERTKIT_REQUIRE_PACKAGES, names of platforms
// or all, whatever else is missing is an error, not skipped, but for the addons of other platforms than those.
// Addons come from prebuilds/; where that has none for this machine, from build/Release.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { stage } from './stage.mjs'

const folder = import.meta.dirname
const modified = (...parts) => fs.statSync(path.join(folder, ...parts), { throwIfNoEntry: false })?.mtimeMs ?? 0

// Without install scripts: they move binaries from the packages that bring them. npm writes its own copy of the lock file last
if (modified('node_modules', '.package-lock.json') < modified('package-lock.json')) {
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 2, 2],
  })
  if (status !== 0) {
    console.error('npm ci in test/packages failed')
    console.log('0 passed, 1 failed')
    process.exit(1)
  }
}

const names = process.argv.slice(2)
const files = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith('.test.mjs') && (names.length === 0 || names.includes(name.split('.')[0])))
  .map((name) => path.join(folder, name))
if (files.length === 0) {
  console.error(`There are no tests ${names.join(', ')} in test/packages`)
  process.exit(1)
}

process.env.BERTKIT_STAGED = stage()
// which looks for a Node among the packages that were installed just now
const { startRegistry } = await import('./registry.mjs')
const registry = await startRegistry(process.env.BERTKIT_STAGED)
process.env.BERTKIT_REGISTRY = registry.address

const counts = { pass: 0, fail: 0, skipped: 0 }
const tests = run({ files, concurrency: 1 })
tests.on('test:diagnostic', ({ message, nesting }) => {
  const [, name, count] = /^(pass|fail|cancelled|skipped) (\d+)$/.exec(message) ?? []
  if (nesting === 0 && name) counts[name === 'cancelled' ? 'fail' : name] += Number(count)
})
tests.compose(spec).pipe(process.stdout)
tests.on('end', () => {
  registry.stop()
  // a run in which everything was skipped has shown nothing
  if (counts.pass === 0) counts.fail += 1
  process.exitCode = counts.fail > 0 ? 1 : 0
  setImmediate(() => {
    if (counts.skipped > 0) console.log(`${counts.skipped} skipped (the names say why)`)
    console.log(`${counts.pass} passed, ${counts.fail} failed`)
  })
})
