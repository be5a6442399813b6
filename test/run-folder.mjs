// Runs a folder of tests that need packages of their own: installs those, and then every *.test.mjs, or those that are named.
import fs from 'node:fs'
import path from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { installModules, Stop } from '../scripts/command.mjs'

/**
 * `prepare` is done between the two; what it returns, after the last test. Prints `N passed, N failed` last, and that is the exit code: a
 * run in which everything was skipped has shown nothing, and fails.
 */
export async function runFolder(folder, names, prepare = () => undefined) {
  installModules(folder)
  const files = fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.test.mjs') && (names.length === 0 || names.includes(name.split('.')[0])))
    .map((name) => path.join(folder, name))
  if (files.length === 0) throw new Stop(`there are no tests ${names.join(', ')} in ${folder}`)
  const finish = await prepare()

  const counts = { pass: 0, fail: 0, skipped: 0 }
  const tests = run({ files, concurrency: 1 })
  tests.on('test:diagnostic', ({ message, nesting }) => {
    const [, name, count] = /^(pass|fail|cancelled|skipped) (\d+)$/.exec(message) ?? []
    if (nesting === 0 && name) counts[name === 'cancelled' ? 'fail' : name] += Number(count)
  })
  tests.compose(spec).pipe(process.stdout)
  tests.on('end', () => {
    finish?.()
    if (counts.pass === 0) counts.fail += 1
    process.exitCode = counts.fail > 0 ? 1 : 0
    setImmediate(() => {
      if (counts.skipped > 0) console.log(`${counts.skipped} skipped (the names say why)`)
      console.log(`${counts.pass} passed, ${counts.fail} failed`)
    })
  })
}
