// The installed package in Node 20, 22 and 24, Deno and Bun: the README's first program, require(), and which entry 'bertkit' is.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { runtimes } from './programs.mjs'
import { builtAddon, host } from './stage.mjs'
import { DESCRIBE, firstProgram, minilm, noMinilm, Project, skipBecause, verifyFirst } from './support.mjs'

const noAddon = skipBecause(builtAddon(host) ? undefined : `no addon was built for this machine, ${host}`)
/** The names that each entry has to have. */
const ENTRIES = {
  bertkit: ['BertForSequenceClassification', 'BertTokenizer', 'Trainer', 'exportOnnx', 'pipeline'],
  'bertkit/edge': ['BertForSequenceClassification', 'BertTokenizer', 'pipeline'],
  'bertkit/cli': ['run', 'EXIT'],
}

for (const { name, command, missing } of runtimes)
  describe(name, { skip: skipBecause(missing) }, () => {
    const runtime = { command }
    let project
    before(async () => {
      project = new Project()
      await project.install()
    })

    test("the README's first program, on the addon", { skip: noMinilm || noAddon }, async () => {
      assert.equal(verifyFirst(await project.program(runtime, firstProgram(), { args: [minilm] })), '')
    })

    test("the README's first program, on WebAssembly", { skip: noMinilm }, async () => {
      const bare = new Project()
      await bare.install('--omit=optional')
      const stderr = verifyFirst(await bare.program(runtime, firstProgram(), { args: [minilm] }))
      assert.match(stderr, /^bertkit: using the wasm backend\./)
    })

    test('an addon that BERTKIT_ADDON names, and that is not there, is an error', async () => {
      const named = project.at('none.node')
      const source = `import { describeBackend } from 'bertkit'
console.log(JSON.stringify(await describeBackend().then(() => 'none', ({ code, message }) => [code, message.split(': ')[0]])))`
      assert.deepEqual(await project.json(runtime, source, { env: { BERTKIT_ADDON: named } }), [
        'ERR_BACKEND',
        `Cannot load the native kernels that BERTKIT_ADDON names, ${named}`,
      ])
    })

    test("'bertkit' has folders and the addon", { skip: noAddon }, async () => {
      const found = await project.json(runtime, DESCRIBE)
      assert.equal(found.backend, 'cpu')
    })

    test('every entry can be imported', async () => {
      for (const [entry, names] of Object.entries(ENTRIES))
        assert.deepEqual(
          await project.json(
            runtime,
            `import * as entry from '${entry}'\nconsole.log(JSON.stringify(${JSON.stringify(names)}.filter((name) => name in entry)))`,
          ),
          names,
        )
    })

    test('and required', async () => {
      const source = `const names = ${JSON.stringify(ENTRIES)}
for (const entry of Object.keys(names)) names[entry] = names[entry].filter((name) => name in require(entry))
console.log(JSON.stringify(names))`
      assert.deepEqual(await project.json(runtime, source, { name: 'program.cjs' }), ENTRIES)
    })

    test('bertkit/cli runs a command in the program', async () => {
      const source = `import { EXIT, run } from 'bertkit/cli'
const text = []
const output = { write: (some) => text.push(some) }
const io = { stdout: output, stderr: output, stdin: process.stdin }
const codes = [await run(['export', '--help'], io) === EXIT.done, await run(['no-such-command'], io) === EXIT.usage]
console.log(JSON.stringify({ codes, text: text.join('') }))
process.stdin.destroy()`
      const { codes, text } = await project.json(runtime, source)
      assert.deepEqual(codes, [true, true])
      assert.match(text, /--format/)
      assert.match(text, /bertkit: unknown command 'no-such-command'/)
    })

    test('a model is exported to ONNX without any other package', async () => {
      const source = `import { BertConfig, BertModel, exportOnnx } from 'bertkit'
import fs from 'node:fs'
const config = new BertConfig({ vocabSize: 30, hiddenSize: 16, numHiddenLayers: 1, numAttentionHeads: 2, intermediateSize: 16 })
const model = new BertModel(config, { backend: 'wasm' })
await exportOnnx(model, 'exported')
model.dispose()
console.log(JSON.stringify(fs.existsSync('exported/onnx/model.onnx') || fs.readdirSync('exported', { recursive: true })))`
      const writes = name === 'Deno' ? { command: [...command, '--allow-write'] } : runtime
      assert.equal(await project.json(writes, source), true)
    })
  })

describe('conditions', () => {
  const source = "console.log(JSON.stringify(import.meta.resolve('bertkit').split('/').at(-1)))"
  let project
  before(async () => {
    project = new Project()
    await project.install()
  })
  for (const [conditions, expected] of [
    [[], 'index.js'],
    [['browser'], 'edge.js'],
    [['workerd', 'worker', 'browser'], 'edge.js'],
    [['deno', 'browser'], 'index.js'],
    [['bun', 'browser'], 'index.js'],
  ])
    test(`${conditions.join(', ') || 'none'}: ${expected}`, async () => {
      const command = [process.execPath, ...conditions.map((name) => `--conditions=${name}`)]
      assert.equal(await project.json({ command }, source), expected)
    })
})
