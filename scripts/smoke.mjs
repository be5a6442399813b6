// Tries packed packages on the machine that it runs on: installs bertkit and this platform's package into an empty project, without
// scripts and without a network, and trains and runs a small model there, on the native kernels and on WebAssembly.
//   node scripts/smoke.mjs FOLDER        FOLDER: what scripts/pack.mjs wrote
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/**
 * Losses of five steps, as AVX2 computes them. Dropout draws the same masks everywhere, and sums differ by rounding: by 4e-7 at most on
 * scalar, SIMD128 and relaxed SIMD.
 */
const LOSSES = [0.5926813, 0.6533163, 0.3135818, 0.5486345, 0.526965]
const TOLERANCE = 1e-5

const [folder] = process.argv.slice(2)
if (folder === undefined || !fs.existsSync(folder)) {
  console.error('Usage: node scripts/smoke.mjs FOLDER, with the packages that scripts/pack.mjs made')
  process.exit(1)
}

// Node is linked against musl where the report has no version of glibc
const isMusl = process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime
const platform = `${process.platform}-${process.arch}${isMusl ? '-musl' : ''}`
const tarballs = fs.readdirSync(folder).filter((name) => name.endsWith('.tgz'))
const find = (pattern) => {
  const found = tarballs.filter((name) => pattern.test(name))
  if (found.length === 1) return path.resolve(folder, found[0])
  console.error(`Expected one package for ${pattern} in ${folder} but found ${found.length} of ${tarballs.join(', ')}`)
  process.exit(1)
}
const packages = [find(/^bertkit-\d/), find(new RegExp(`^bertkit-${platform}-\\d`))]

const project = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-smoke-'))
const run = (command, ...args) => {
  // npm is a script that only a shell can run on Windows
  const shell = process.platform === 'win32' && command !== process.execPath
  const { error, status, stdout } = spawnSync(command, args, {
    cwd: project,
    encoding: 'utf8',
    shell,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, BERTKIT_LOSSES: JSON.stringify(LOSSES), BERTKIT_TOLERANCE: String(TOLERANCE) },
  })
  process.stdout.write(stdout ?? '')
  if (status === 0) return
  console.error(`${command} ${args.join(' ')} ended with ${status ?? error?.message}`)
  process.exit(1)
}

const PROGRAM = `
import assert from 'node:assert/strict'
import { AdamW, BertConfig, BertForSequenceClassification } from 'bertkit'

const size = { vocabSize: 64, hiddenSize: 32, numHiddenLayers: 2, numAttentionHeads: 2, intermediateSize: 64 }
const config = new BertConfig({ ...size, maxPositionEmbeddings: 32, initializerRange: 0.2 })
const batch = { inputIds: [[2, 7, 9, 3], [2, 11, 3], [2, 30, 31, 32, 33, 34, 3]], labels: [0, 1, 1] }
const [backend] = process.argv.slice(2)
const model = new BertForSequenceClassification(config, { backend, seed: 7 })
const optimizer = new AdamW(model.train(), { lr: 1e-3 })
const losses = []
for (let step = 0; step < 5; step++) losses.push((await optimizer.step(batch, { maxGradNorm: 1 })).loss)
const described = await model.describe()
console.log(process.platform, process.arch, process.version, described.backend, described.isa, losses.join(' '))
assert.equal(described.backend, backend)
const wanted = JSON.parse(process.env.BERTKIT_LOSSES)
for (const [i, loss] of losses.entries())
  assert.ok(Math.abs(loss - wanted[i]) < Number(process.env.BERTKIT_TOLERANCE), \`step \${i + 1}: \${loss}, expected \${wanted[i]}\`)
model.dispose()
`

try {
  fs.writeFileSync(path.join(project, 'package.json'), JSON.stringify({ name: 'smoke', private: true, type: 'module' }))
  fs.writeFileSync(path.join(project, 'program.mjs'), PROGRAM)
  run('npm', 'install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', ...packages)
  for (const backend of ['cpu', 'wasm']) run(process.execPath, 'program.mjs', backend)
  run('npx', '--no-install', 'bertkit', 'info')
} finally {
  fs.rmSync(project, { recursive: true, force: true })
}
console.log(`${platform}: the packages work`)
