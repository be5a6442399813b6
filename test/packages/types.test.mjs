// TypeScript programs against the installed package, as different settings find its types. Nothing is left unchecked: skipLibCheck is
// off, and each program has a line that must be an error.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { before, describe, test } from 'node:test'
import { installed } from './programs.mjs'
import { Project, readJson } from './support.mjs'

const common = { strict: true, noEmit: true, target: 'es2023', skipLibCheck: false, types: [] }
const node = { ...common, lib: ['es2023', 'esnext.disposable'], types: ['node'] }
const page = { ...common, lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'] }

/** What holds for the models of both entries. */
const models = `
const config = new BertConfig({ vocabSize: 30, hiddenSize: 16 })
const model: BertForSequenceClassification = await BertForSequenceClassification.fromPretrained('folder', { numLabels: 2 })
const { logits } = await model.forward({ inputIds: [[1, 2, 3]] })
export const values: Float32Array = logits.data
const classify = await pipeline('text-classification', 'folder')
export const label: string = (await classify('a text'))[0].label
// @ts-expect-error a number is expected
new BertConfig({ hiddenSize: 'large' })
// @ts-expect-error there is no such dtype
await BertForSequenceClassification.fromPretrained('folder', { dtype: 'float63' })
console.log(config)
`
const names = 'BertConfig, BertForSequenceClassification, pipeline'

const PROGRAMS = {
  bertkit: `import { ${names}, Trainer, exportOnnx, type TrainingArgumentsInput } from 'bertkit'
${models}
export const args: Partial<TrainingArgumentsInput> = { numTrainEpochs: 3 }
console.log(Trainer, await exportOnnx(model, 'folder', { architecture: 'BertModel' }))
// @ts-expect-error there is no such class
await exportOnnx(model, 'folder', { architecture: 'BertForPoetry' })
`,
  'bertkit/edge': `import { ${names} } from 'bertkit/edge'
${models}
// @ts-expect-error the edge has no Trainer
import { Trainer } from 'bertkit/edge'
`,
  'bertkit/wasm': `import binary from 'bertkit/wasm/bertkit.wasm'
import { BertModel } from 'bertkit/edge'
export const model = await BertModel.fromPretrained('folder', { wasm: { binary } })
// @ts-expect-error it may be bytes, a module or an address
export const text: string = binary
`,
  'bertkit/worker': `import * as script from 'bertkit/worker'
// @ts-expect-error it is a script and exports nothing
console.log(script.anything)
`,
}
const CLI = {
  'bertkit/cli': `import { EXIT, type Io, run } from 'bertkit/cli'
const io: Io = { stdout: process.stdout, stderr: process.stderr, stdin: process.stdin }
const code: number = await run(['info', 'folder'], io)
console.log(code === EXIT.done)
// @ts-expect-error the outputs are missing
await run(['info', 'folder'], {})
`,
}

/** In a page 'bertkit' is the edge entry, whose programs are for it as well. */
const inPage = { bertkit: PROGRAMS['bertkit/edge'].replaceAll('bertkit/edge', 'bertkit') }

const ENTRIES = ['bertkit', 'bertkit/edge', 'bertkit/cli']
/** CommonJS that loads ES modules when it runs. */
const dynamic = Object.fromEntries(
  ENTRIES.map((entry) => [
    `${entry} by import()`,
    `export async function load() {
  const entry = await import('${entry}')
  // @ts-expect-error there is no such name
  console.log(entry.nothing)
  return entry
}
`,
  ]),
)
/** CommonJS that requires ES modules, as Node 20.19 and 22.12 can. */
const required = Object.fromEntries(
  ENTRIES.map((entry) => [
    `${entry} by require()`,
    `import entry = require('${entry}')
// @ts-expect-error there is no such name
console.log(entry.nothing, entry)
`,
  ]),
)

const CASES = {
  'moduleResolution bundler, a page': {
    options: { ...page, module: 'esnext', moduleResolution: 'bundler', customConditions: ['browser'] },
    programs: { ...PROGRAMS, ...inPage },
  },
  'moduleResolution bundler, Node': {
    options: { ...node, module: 'esnext', moduleResolution: 'bundler' },
    programs: { ...PROGRAMS, ...CLI },
  },
  'node16, ES modules': { options: { ...node, module: 'node16' }, programs: { ...PROGRAMS, ...CLI } },
  'nodenext, ES modules': { options: { ...node, module: 'nodenext' }, programs: { ...PROGRAMS, ...CLI } },
  'node16, CommonJS': { options: { ...node, module: 'node16' }, programs: dynamic, extension: 'cts' },
  'nodenext, CommonJS': {
    options: { ...node, module: 'nodenext' },
    programs: { ...dynamic, ...required },
    extension: 'cts',
  },
}

/** By the name of the package in package.json. */
const COMPILERS = Object.fromEntries(
  ['typescript', 'typescript5'].map((name) => [name, readJson(installed(name), 'package.json')]),
)

describe('TypeScript', () => {
  let project
  before(async () => {
    project = new Project()
    await project.install()
    for (const name of ['@types/node', 'undici-types'])
      fs.cpSync(installed(name), project.at('node_modules', name), { recursive: true })
  })

  for (const [compiler, { version }] of Object.entries(COMPILERS))
    for (const [title, { options, programs, extension = 'ts' }] of Object.entries(CASES))
      test(`${version}, ${title}: ${Object.keys(programs).join(', ')}`, async () => {
        const folder = `${compiler}-${title.replaceAll(/\W+/g, '-')}`
        for (const [i, source] of Object.values(programs).entries())
          project.write(`${folder}/program${i}.${extension}`, source)
        project.write(`${folder}/tsconfig.json`, JSON.stringify({ compilerOptions: options, include: ['.'] }))
        const command = [process.execPath, installed(compiler, 'bin', 'tsc'), '-p', folder]
        await project.run(command)
        const { stdout } = await project.run([...command, '--listFilesOnly'])
        const files = stdout.match(new RegExp(`/${folder}/program\\d+\\.${extension}$`, 'gm'))
        assert.equal(files?.length, Object.keys(programs).length, 'every program was looked at')
      })
})
