// Tries packed packages on the machine that it runs on: installs bertkit and this platform's package into an empty project, without
// scripts and without a network, and trains and runs a small model there, on the native kernels and on WebAssembly.
//   node scripts/smoke.mjs FOLDER        FOLDER: what scripts/pack.mjs wrote
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { main, root, run, Stop } from './command.mjs'
import { hostPlatform, MAIN, packageOf, tarballOf } from './platforms.mjs'

/**
 * Losses of five steps, as AVX2 computes them. Dropout draws the same masks everywhere, and sums differ by rounding: by 4e-7 at most on
 * scalar, SIMD128 and relaxed SIMD.
 */
const LOSSES = [0.5926813, 0.6533163, 0.3135818, 0.5486345, 0.526965]
const TOLERANCE = 1e-5

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

/** The files of bertkit and of this machine's addon, of the one version that is there. */
function packagesIn(folder, platform) {
  if (folder === undefined || !fs.existsSync(folder))
    throw new Stop('expected a folder with the packages that scripts/pack.mjs made: node scripts/smoke.mjs FOLDER')
  const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  return [MAIN, packageOf(platform)].map((name) => {
    const file = path.resolve(folder, tarballOf(name, version))
    if (!fs.existsSync(file)) throw new Stop(`expected ${file} but found ${fs.readdirSync(folder).join(', ')}`)
    return file
  })
}

main('smoke', () => {
  const platform = hostPlatform()
  const [bertkit, addon] = packagesIn(process.argv[2], platform)
  const project = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-smoke-'))
  const env = { ...process.env, BERTKIT_LOSSES: JSON.stringify(LOSSES), BERTKIT_TOLERANCE: String(TOLERANCE) }
  // npm is a script that only a shell can run on Windows
  const shell = process.platform === 'win32'
  const show = (command, options) => run(command, { cwd: project, env, stdio: 'inherit', ...options })
  try {
    fs.writeFileSync(
      path.join(project, 'package.json'),
      JSON.stringify({ name: 'smoke', private: true, type: 'module' }),
    )
    fs.writeFileSync(path.join(project, 'program.mjs'), PROGRAM)
    const flags = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund']
    // under the name that programs import, whatever a fork calls it
    show(['npm', 'install', ...flags, `bertkit@file:${bertkit}`, addon], { shell })
    for (const backend of ['cpu', 'wasm']) show([process.execPath, 'program.mjs', backend])
    show(['npx', '--no-install', 'bertkit', 'info'], { shell })
  } finally {
    fs.rmSync(project, { recursive: true, force: true })
  }
  console.log(`${platform}: the packages work`)
})
