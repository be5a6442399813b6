// What a browser gets: src/edge.ts in one file, without Node.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { gzipSync } from 'node:zlib'
import { build, type Metafile } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as bertkit from '../../src/index.ts'

const root = path.join(import.meta.dirname, '..', '..')
/** Compressed; with a binary of at most 120 KB it leaves something of the 250 KB of both. */
const MOST = 110_000

let folder: string
let metafile: Metafile
let bundle: Uint8Array
const file = () => path.join(folder, 'edge.mjs')

beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-bundle-'))
  // an import that a browser cannot follow is an error of the build
  const built = await build({
    entryPoints: [path.join(root, 'src', 'edge.ts')],
    absWorkingDir: root,
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    write: false,
    metafile: true,
  })
  metafile = built.metafile
  bundle = built.outputFiles[0].contents
  await fs.writeFile(file(), bundle)
})
afterAll(() => fs.rm(folder, { recursive: true }))

/** Runs a module in a Node process in which the globals that only Node has are gone. */
const run = (source: string): string =>
  execFileSync(process.execPath, ['--input-type=module', '--eval', source], { encoding: 'utf8' })
const bare = `const { stdout } = process
void Response // Node makes it at first use, with what goes now
for (const name of ['process', 'Buffer', 'global', 'require', 'setImmediate']) delete globalThis[name]
`

describe('the bundle of src/edge.ts', () => {
  it('has no module of Node, of a package, or of Node’s side of bertkit', () => {
    const [{ inputs, imports }] = Object.values(metafile.outputs)
    expect(imports).toEqual([])
    expect(Object.keys(inputs)).toContain('src/session/models.ts')
    const forbidden = /^node:|node_modules|^src\/(cli|train|export)\/|hub-(cache|client)|formats\/files/
    expect(Object.keys(inputs).filter((input) => forbidden.test(input))).toEqual([])
  })

  it('names nothing that only Node has, by the types of the web alone', () => {
    const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    expect(execFileSync(process.execPath, [tsc, '-p', import.meta.dirname], { encoding: 'utf8' })).toBe('')
  })

  it(`is less than ${MOST / 1000} KB compressed`, () => {
    const { length } = gzipSync(bundle, { level: 9 })
    console.log(`edge bundle: ${bundle.length} bytes minified, ${length} with gzip -9`)
    expect(length).toBeLessThan(MOST)
    expect(length).toBeGreaterThan(MOST / 2)
  })

  it('runs where there is neither process nor Buffer', () => {
    const output = run(`${bare}
const bertkit = await import(${JSON.stringify(file())})
const tokenizer = bertkit.BertTokenizer.fromVocab(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'caf', '##e'])
const { inputIds } = tokenizer.encode('Café')
const files = await tokenizer.savePretrained()
const again = await bertkit.BertTokenizer.fromPretrained(files)
const config = await bertkit.BertConfig.fromPretrained({ 'config.json': '{ "hidden_size": 24, "num_attention_heads": 3 }' })
const trained = await bertkit.BertTokenizer.train(['a rose is a rose'], { vocabSize: 20 })
const saving = await tokenizer.savePretrained('folder').catch((error) => error.code)
stdout.write(JSON.stringify({
  inputIds,
  again: again.encode('Café').inputIds,
  names: Object.keys(files),
  hiddenSize: config.hiddenSize,
  trained: trained.tokenize('rose'),
  saving,
  architectures: Object.values(bertkit).map((each) => each.architecture).filter(Boolean),
  exported: Object.keys(bertkit),
}))`)
    const { exported, trained, architectures, ...rest } = JSON.parse(output)
    // the names of classes are the minifier's
    expect(architectures.toSorted()).toEqual(
      exported.filter((name: string) => /^Bert(For|Model|LMHead)/.test(name)).sort(),
    )
    expect(rest).toEqual({
      inputIds: [2, 5, 6, 3],
      again: [2, 5, 6, 3],
      names: ['vocab.txt', 'tokenizer.json', 'tokenizer_config.json'],
      hiddenSize: 24,
      saving: 'ERR_ARGUMENT',
    })
    expect(trained).toEqual(['rose'])
    const training = [
      'Trainer',
      'EarlyStoppingCallback',
      'TensorBoardCallback',
      'initializeUnigramBias',
      'initializeWordEmbeddings',
    ]
    const nodeOnly = [...training, 'readTaskData', 'exportOnnx']
    const metrics = /^(accuracy|matthews|precisionRecallF1|meanSquaredError|pearson|spearman|spansOf|\w+Counter)$/
    const core = Object.keys(bertkit).filter((name) => !nodeOnly.includes(name) && !metrics.test(name))
    expect(exported.sort()).toEqual(core.sort())
  })
})

describe('package.json', () => {
  /** What `bertkit` means under some conditions of package.json's exports, in a package that lies in node_modules. */
  async function resolved(name: string, conditions: string[], platform: 'browser' | 'node'): Promise<string[]> {
    const { metafile } = await build({
      stdin: { contents: `import { BertConfig } from '${name}'\nconsole.log(BertConfig)`, resolveDir: root },
      absWorkingDir: root,
      bundle: true,
      format: 'esm',
      platform,
      conditions,
      write: false,
      metafile: true,
      // resolved, and not read: a checkout may not be built
      plugins: [
        {
          name: 'stop',
          setup: ({ onLoad }) => {
            onLoad({ filter: /dist.(index|edge)\.js$/ }, () => ({ contents: 'export const BertConfig = 0' }))
          },
        },
      ],
    })
    return Object.keys(metafile.inputs).filter((input) => input.startsWith('dist/'))
  }

  it.each([
    ['bertkit', [], 'browser', 'dist/edge.js'],
    ['bertkit', ['workerd', 'worker', 'browser'], 'browser', 'dist/edge.js'],
    ['bertkit', ['workerd'], 'node', 'dist/edge.js'],
    ['bertkit', [], 'node', 'dist/index.js'],
    ['bertkit', ['deno', 'node'], 'node', 'dist/index.js'],
    ['bertkit', ['bun', 'node'], 'node', 'dist/index.js'],
    ['bertkit/edge', [], 'node', 'dist/edge.js'],
  ] as const)('%s under %j on %s is %s', async (name, conditions, platform, expected) => {
    expect(await resolved(name, [...conditions], platform)).toEqual([expected])
  })
})
