// The installed package on other platforms than this one: arm64 and old x64 processors in qemu, musl, and Windows in Wine. The addon that
// npm chooses for each computes what this machine computes.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { PLATFORMS } from '../../scripts/platforms.mjs'
import { arm64, musl, windows, x64 } from './foreign.mjs'
import { firstProgram, minilm, noMinilm, Project, skipBecause, unlessPrebuilt, verifyFirst } from './support.mjs'

const ISAS = ['scalar', 'avx2', 'avx512', 'avx512bf16', 'amx', 'neon', 'neonbf16']

/** A few steps of a small model, with what two threads, exceptions of the addon and a worker thread make of it. */
const PROGRAM = `import { AdamW, BertConfig, BertForSequenceClassification, describeBackend } from 'bertkit'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

const config = new BertConfig({ vocabSize: 90, hiddenSize: 32, numHiddenLayers: 2, numAttentionHeads: 4, intermediateSize: 48 })
const batch = { inputIds: [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11, 12, 13, 14, 15, 16, 17]], labels: [0, 1, 1] }
async function train() {
  const model = new BertForSequenceClassification(config, { threads: 2, seed: 7 })
  const optimizer = new AdamW(model.train(), { lr: 1e-3 })
  const losses = []
  for (let step = 0; step < 5; step++) losses.push((await optimizer.step(batch)).loss)
  model.dispose()
  return losses
}
if (isMainThread) {
  const losses = await train()
  const worker = new Worker(new URL(import.meta.url))
  const [inWorker] = await new Promise((resolve, reject) => worker.once('message', (value) => resolve([value])).once('error', reject))
  const description = await describeBackend()
  // with a name that is not known, and those that this processor does not have
  const refused = {}
  for (const isa of ${JSON.stringify(['none', ...ISAS])}) {
    if (description.isas.includes(isa)) continue
    process.env.BERTKIT_ISA = isa
    refused[isa] = await describeBackend({ backend: 'cpu' }).then(({ isa }) => isa, (error) => error.code + ': ' + error.message)
  }
  console.log(JSON.stringify({ ...description, losses, inWorker, refused }))
} else parentPort.postMessage(await train())
`
/** A project with the packages of a platform. */
async function projectFor(platform) {
  const { os, cpu, libc } = PLATFORMS[platform]
  const project = new Project()
  await project.install(`--os=${os}`, `--cpu=${cpu}`, ...(libc ? [`--libc=${libc}`] : []))
  return project
}

/** The losses of PROGRAM on scalar kernels; others differ by the rounding of sums. */
const LOSSES = [0.68808699, 0.68638361, 0.67788857, 0.67066187, 0.66357791]

function assertClose(found, wanted, tolerance = 1e-5) {
  assert.equal(found.length, wanted.length)
  for (const [i, value] of found.entries())
    assert.ok(Math.abs(value - wanted[i]) < tolerance, `${found}, not ${wanted}`)
}

/** Tests of a platform in a runtime of foreign.mjs. `isas`: all that it must have; first: whether it runs the README's first program. */
function testPlatform(platform, runtime, { isas, first = false } = {}) {
  describe(`${platform}, ${runtime.name}`, { skip: unlessPrebuilt(platform) || skipBecause(runtime.missing) }, () => {
    let project
    let found
    before(async () => {
      project = await projectFor(platform)
      found = await project.json(runtime, PROGRAM, { env: runtime.env })
    })

    test('the addon serves and trains as here, also in a worker thread', () => {
      assert.equal(found.backend, 'cpu')
      assertClose(found.losses, LOSSES)
      assert.deepEqual(found.inWorker, found.losses)
    })

    test('what its processor does not have is refused in words', () => {
      assert.deepEqual(
        Object.keys(found.refused).sort(),
        ['none', ...ISAS.filter((isa) => !found.isas.includes(isa))].sort(),
      )
      for (const [isa, error] of Object.entries(found.refused))
        assert.equal(
          error,
          `ERR_BACKEND: This machine cannot run instruction set '${isa}'; it has ${found.isas.join(' ')}`,
        )
    })

    test(`every instruction set${isas ? `: ${isas.join(', ')}` : ''}`, async () => {
      if (isas) assert.deepEqual(found.isas, isas)
      for (const isa of found.isas.slice(1)) {
        const { isa: used, losses } = await project.json(runtime, PROGRAM, {
          env: { ...runtime.env, BERTKIT_ISA: isa },
        })
        assert.equal(used, isa)
        assertClose(losses, LOSSES)
      }
    })

    if (first)
      test("the README's first program", { skip: noMinilm }, async () => {
        verifyFirst(await project.program(runtime, firstProgram(), { args: [minilm], env: runtime.env }))
      })
  })
}

testPlatform('linux-x64', { name: 'this machine', command: [process.execPath] })
testPlatform('linux-x64', x64('Nehalem'), { isas: ['scalar'] })
testPlatform('linux-x64', x64('Haswell'), { isas: ['avx2', 'scalar'] })
testPlatform('linux-arm64', arm64('cortex-a72'), { isas: ['neon', 'scalar'] })
testPlatform('linux-arm64', arm64('max'), { isas: ['neonbf16', 'neon', 'scalar'], first: true })
testPlatform('linux-x64-musl', musl(), { first: true })
testPlatform('win32-x64', windows(), { first: true })
