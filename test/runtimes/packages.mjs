// Deno and Bun: the same tests, of the package by its name as a program there imports it, and of the edge entry.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { binary, dist, packageFolder, run, runMain, serve, settings, verify } from './support.mjs'

/** `program` or why it is `missing`: from `installed`. `flags`: before the script. */
export function testPackage(name, { program, missing }, flags) {
  describe(name, { skip: missing }, () => {
    const command = [program, ...flags]
    let server
    let folder
    before(async () => {
      server = await serve()
      folder = packageFolder()
    })
    after(() => {
      server.close()
      fs.rmSync(folder, { recursive: true })
    })

    for (const entry of ['index.js', 'edge.js'])
      for (const [title, options] of [
        ['in a worker', { threads: 1 }],
        ['in a worker with two threads', { threads: 2 }],
        ['inline', { wasm: { worker: false } }],
      ])
        test(`${entry}, ${title}`, async () => {
          const asked = settings(server, { options: { backend: 'wasm', ...options } })
          const result = await runMain(command, dist(entry), asked)
          assert.equal(result.description.backend, 'wasm')
          assert.equal(result.description.isa, 'relaxed', 'relaxed SIMD is chosen where it is')
          assert.equal(result.description.threads, options.threads ?? 1)
          await verify(result)
        })

    test('the baseline binary too', async () => {
      const asked = settings(server, { binary: binary('bertkit'), options: { backend: 'wasm', threads: 1 } })
      const result = await runMain(command, dist('index.js'), asked)
      assert.equal(result.description.isa, 'simd128')
      await verify(result)
    })

    /** Runs a program in a folder that has bertkit as a package. */
    async function inPackage(source, env = {}) {
      fs.writeFileSync(path.join(folder, 'program.mjs'), source)
      const output = await run(program, [...flags, 'program.mjs'], { cwd: folder, env: { ...process.env, ...env } })
      return JSON.parse(output)
    }

    test("'bertkit' is the entry with folders, which takes the native kernels", async () => {
      const found = await inPackage(
        "import * as bertkit from 'bertkit'\n" +
          'console.log(JSON.stringify([typeof bertkit.Trainer, (await bertkit.describeBackend()).backend]))',
      )
      assert.deepEqual(found, ['function', 'cpu'])
    })

    test('a program ends although its model was not disposed', async () => {
      const found = await inPackage(`import { BertConfig, BertModel } from 'bertkit'
const config = new BertConfig({ vocabSize: 30, hiddenSize: 16, numHiddenLayers: 1, numAttentionHeads: 2, intermediateSize: 16 })
const model = new BertModel(config, { backend: 'wasm', threads: 2 })
console.log(JSON.stringify((await model.forward({ inputIds: [[1, 2, 3]] })).lastHiddenState.shape))`)
      assert.deepEqual(found, [3, 16])
    })
  })
}
