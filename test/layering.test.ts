// DESIGN's layers, held on the import statements of src/: a layer imports from the layers below it and from nowhere else. And the files of
// native/cuda, which mirror those of native/cpu.
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'

const root = path.join(import.meta.dirname, '..', 'src')

/** Of each layer, those that it may import from; itself is meant too. */
const below: Readonly<Record<string, readonly string[]>> = {
  formats: [],
  graph: [],
  optim: [],
  // drives a decoder that it knows by an interface; session implements that
  generation: [],
  data: ['formats'],
  ops: ['graph'],
  backend: ['graph'],
  model: ['graph', 'ops'],
  heads: ['graph', 'ops', 'model'],
}
const under = (layer: string, ...more: string[]) => [...(below[layer] ?? []), layer, ...more]
const session = under('heads', 'optim', 'generation', 'data', 'formats', 'backend')
const layers: Readonly<Record<string, readonly string[]>> = {
  ...below,
  session,
  train: [...session, 'session'],
  // other runtimes' formats: a graph from the config, weights from a folder or a model; it trains nothing
  export: [...session, 'session'],
  pipelines: [...session, 'session'],
  cli: [...session, 'session', 'train', 'export', 'pipelines'],
}
/** src/*.ts that every layer may import and that import only each other, and platform.ts the types of what it stands for. */
const leaves = [
  'bfloat16.ts',
  'errors.ts',
  'heap.ts',
  'int8.ts',
  'json.ts',
  'labels.ts',
  'options.ts',
  'platform.ts',
  'random.ts',
  'run.ts',
  'scores.ts',
  'tensor.ts',
  'torch-generator.ts',
  'turns.ts',
]
/** src/*.ts that only name what others export. */
const entries = ['index.ts', 'edge.ts', 'cli.ts', 'core.ts']
/** What an entry registers: how files are reached and which backends there are. Imported by entries and programs only. */
const platforms: Readonly<Record<string, readonly string[]>> = {
  'platform-node.ts': ['index.ts', 'cli.ts', 'cli/main.ts'],
  'platform-web.ts': ['edge.ts'],
}
const belowPlatforms = ['backend', 'formats']

/** Layers that run where there is no Node. */
const edgeSafe = ['graph', 'ops', 'model', 'heads', 'optim', 'generation', 'data/tokenizer']
/** The one way from recording to files: a config says itself where it is read from. */
const readsFiles = { file: 'model/config.ts', layer: 'formats' }
/** Below session, the file system is reached here only: files of models and data, and the Hub's cache, which is links and renames. */
const fileSystem = ['formats/files.ts', 'formats/hub-cache.ts']
const aboveFileSystem = ['session', 'backend', 'train', 'cli']
/** npm packages and the only place that may use each; the rest of bertkit needs none. */
const packages: Readonly<Record<string, string>> = {
  '@bufbuild/protobuf': 'export/onnx/',
  '@bufbuild/protobuf/codegenv2': 'export/onnx/onnx_pb.ts',
  '@bufbuild/protobuf/wire': 'export/onnx/serialize.ts',
  commander: 'cli/',
  hyparquet: 'data/readers/parquet-worker.ts',
  '@huggingface/hub': 'formats/hub-client.ts',
}
const generated = ['graph/op-table.ts', 'export/onnx/onnx_pb.ts', 'data/tokenizer/unicode-tables.ts']
const MAX_LINES = 400

interface Import {
  readonly specifier: string
  readonly dynamic: boolean
  /** Types leave no trace in the program. */
  readonly typeOnly: boolean
}

/** Blanks comments and the insides of strings, keeping every position. */
function codeOf(source: string): string {
  const blank = (text: string) => text.replace(/[^\n]/g, ' ')
  return source.replace(
    /\/\*[\s\S]*?\*\/|\/\/.*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g,
    (match) => (/^['"`]/.test(match) ? match[0] + blank(match.slice(1, -1)) + match[0] : blank(match)),
  )
}

function importsOf(source: string): Import[] {
  const code = codeOf(source)
  const found: Import[] = []
  const add = (end: number, dynamic: boolean, typeOnly: boolean) => {
    const [, specifier] = /^\s*['"]([^'"]+)['"]/.exec(source.slice(end)) ?? []
    if (specifier === undefined) throw new Error(`An import of something computed: ${source.slice(end - 40, end + 40)}`)
    found.push({ specifier, dynamic, typeOnly })
  }
  // what stands between the keyword and `from` is names, braces, commas and stars
  for (const match of code.matchAll(/^\s*(?:import|export)\s(type\s)?[\w\s{},*$]*?\bfrom(?=\s*['"])/gm))
    add(match.index + match[0].length, false, match[1] !== undefined)
  for (const match of code.matchAll(/^\s*import(?=\s*['"])/gm)) add(match.index + match[0].length, false, false)
  for (const match of code.matchAll(/\bimport\(/g)) add(match.index + match[0].length, true, false)
  return found
}

const layerOf = (file: string) => (file.includes('/') ? file.split('/')[0] : undefined)

/** What is wrong with one import of `file`, a path below src; undefined when nothing is. */
function complaint(file: string, { specifier, dynamic, typeOnly }: Import): string | undefined {
  const layer = layerOf(file)
  const safe = edgeSafe.some((folder) => file.startsWith(`${folder}/`))
  if (specifier.startsWith('node:')) {
    if (typeOnly) return undefined
    if (safe || leaves.includes(file)) return `${file} imports ${specifier}, but runs where there is no Node`
    const files = /^node:fs(\/|$)/.test(specifier)
    if (files && !fileSystem.includes(file) && !aboveFileSystem.includes(layer ?? ''))
      return `${file} imports ${specifier}; below session only ${fileSystem.join(', ')} touches files`
    return undefined
  }
  if (!specifier.startsWith('.')) {
    const place = packages[specifier]
    return place !== undefined && file.startsWith(place) ? undefined : `${file} imports the package ${specifier}`
  }
  if (!specifier.endsWith('.ts')) return `${file} imports ${specifier} without its extension`
  const target = path.posix.join(path.posix.dirname(file), specifier)
  if (target.startsWith('../')) return `${file} imports ${specifier}, which lies outside src`
  if (dynamic && safe) return `${file} imports ${target} dynamically`
  if (platforms[target]) return platforms[target].includes(file) ? undefined : `${file} imports ${target}`
  if (leaves.includes(target)) return undefined
  if (entries.includes(file)) return undefined
  const targetLayer = layerOf(target)
  if (platforms[file] || (file === 'platform.ts' && typeOnly))
    return belowPlatforms.includes(targetLayer ?? '') ? undefined : `${file} imports ${target}`
  if (file === readsFiles.file && targetLayer === readsFiles.layer) return undefined
  if (layer !== undefined && targetLayer !== undefined) {
    if (layers[layer] === undefined) return `${file} lies in a folder that is no layer`
    if (targetLayer === layer || layers[layer].includes(targetLayer)) return undefined
  }
  return `${file} imports ${target}, which is not below it`
}

/** Uses of the type any. */
const anyUses = (source: string) =>
  codeOf(source)
    .split('\n')
    .flatMap((line, i) => (/(?<![.\w$])any(?![\w$]|\s*[(:=])/.test(line) ? [i + 1] : []))

const files = fs
  .readdirSync(root, { recursive: true, encoding: 'utf8' })
  .map((file) => file.split(path.sep).join('/'))
  .filter((file) => file.endsWith('.ts'))
const read = (file: string) => fs.readFileSync(path.join(root, file), 'utf8')

/** What a file leads to by the imports that leave a trace and that `follows` accepts: files below src, packages, modules of Node. */
function reachedFrom(start: string, follows: (found: Import) => boolean): string[] {
  const reached = new Set<string>()
  const visit = (file: string): void => {
    if (reached.has(file)) return
    reached.add(file)
    for (const found of file.endsWith('.ts') ? importsOf(read(file)) : []) {
      const { specifier, typeOnly } = found
      if (typeOnly || !follows(found)) continue
      visit(specifier.startsWith('.') ? path.posix.join(path.posix.dirname(file), specifier) : specifier)
    }
  }
  visit(start)
  return [...reached]
}

/** CUDA's kernels, and what surrounds them, by the names of their files. */
const cuda = path.join(root, '../native/cuda')
const cudaFiles = fs.readdirSync(cuda)
const stemsOf = (folder: string, extension: string) =>
  fs.readdirSync(path.join(root, '../native', folder)).flatMap((file) => {
    const { name, ext } = path.parse(file)
    return ext === extension ? [name] : []
  })
/** What no op is in: the engine, and Hopper's instructions with what they need on the host. */
const cudaEngine = ['device', 'engine', 'hopper', 'memory', 'recorder']
/** The only ones that hold instructions of the device, and know that there is a build that has none. */
const cudaInstructions = [
  'bulk.cuh',
  'device.cuh',
  'gemm_hopper.cuh',
  'hopper.cu',
  'hopper.cuh',
  'tensor_core.cuh',
  'warp_group.cuh',
]

describe('native/cuda', () => {
  test('has the families of native/cpu, whole or in parts', () => {
    const families = stemsOf('cpu', '.inl')
    const strange = stemsOf('cuda', '.cu').filter(
      (stem) =>
        !cudaEngine.includes(stem) && !families.some((family) => stem === family || stem.startsWith(`${family}_`)),
    )
    expect(strange).toEqual([])
  })

  test('is compiled whole', () => {
    const lists = fs.readFileSync(path.join(root, '../CMakeLists.txt'), 'utf8')
    const [, list = ''] = /^set\(cuda_sources\s([^)]*)\)/m.exec(lists) ?? []
    expect(list.split(/\s+/).toSorted()).toEqual(stemsOf('cuda', '.cu').toSorted())
  })

  test('knows of instructions in few files', () => {
    const knowing = cudaFiles.filter((file) =>
      /\basm\b|BK_CUDA_EMULATED/.test(fs.readFileSync(path.join(cuda, file), 'utf8')),
    )
    expect(knowing.filter((file) => !cudaInstructions.includes(file))).toEqual([])
  })
})

describe('src/', () => {
  test('imports only from below', () => {
    const complaints = files.flatMap((file) => importsOf(read(file)).flatMap((found) => complaint(file, found) ?? []))
    expect(complaints).toEqual([])
  })

  test('index.ts loads no package until it is called for', () => {
    const reached = reachedFrom('index.ts', ({ dynamic }) => !dynamic)
    expect(reached).toContain('session/models.ts')
    expect(reached.filter((file) => packages[file] !== undefined)).toEqual([])
  })

  test('edge.ts reaches no Node, no package, no Trainer, no export and no program, whenever it is called', () => {
    const reached = reachedFrom('edge.ts', () => true)
    for (const file of ['session/models.ts', 'session/adamw.ts', 'pipelines/pipeline.ts', 'platform-web.ts'])
      expect(reached).toContain(file)
    const forbidden = /^node:|^(cli|train|export|data\/readers)\/|^formats\/(files|hub|hub-cache|hub-client)\.ts$/
    expect(reached.filter((file) => forbidden.test(file) || !file.endsWith('.ts'))).toEqual([])
  })

  test('has nothing beside the layers, the leaves and the entries', () => {
    expect(
      files.filter(
        (file) =>
          !(file.includes('/')
            ? layers[file.split('/')[0]]
            : [...leaves, ...entries, ...Object.keys(platforms)].includes(file)),
      ),
    ).toEqual([])
  })

  test(`has no hand-written file over ${MAX_LINES} lines`, () => {
    const long = files.filter(
      (file) => !generated.includes(file) && read(file).trimEnd().split('\n').length > MAX_LINES,
    )
    expect(long).toEqual([])
    expect(generated.filter((file) => !/^\/\/ Generated by scripts\//.test(read(file)))).toEqual([])
  })

  test('never says any', () => {
    expect(files.flatMap((file) => anyUses(read(file)).map((line) => `${file}:${line}`))).toEqual([])
  })
})

describe('the rule itself', () => {
  const judge = (file: string, source: string) => importsOf(source).map((found) => complaint(file, found))

  test.each([
    ['model/bert.ts', `import { x } from '../heads/base.ts'`, 'heads/base.ts'],
    ['graph/graph.ts', `import type { Plan } from '../backend/backend.ts'`, 'backend/backend.ts'],
    ['optim/schedules.ts', `export * from '../session/adamw.ts'`, 'session/adamw.ts'],
    ['ops/linear.ts', `import {\n  a,\n  b,\n} from '../model/config.ts'`, 'model/config.ts'],
    ['ops/linear.ts', `import * as fs from 'node:fs'`, 'no Node'],
    ['heads/base.ts', `const os = await import('node:os')`, 'no Node'],
    ['model/bert.ts', `const f = await import('../formats/files.ts')`, 'dynamically'],
    ['formats/weights.ts', `import fs from 'node:fs/promises'`, 'only formats/files.ts'],
    ['session/models.ts', `import { Command } from 'commander'`, 'package commander'],
    ['errors.ts', `import './train/trainer.ts'`, 'train/trainer.ts'],
    ['train/trainer.ts', `import '../index.ts'`, 'index.ts'],
    ['graph/plan.ts', `import { x } from './graph'`, 'extension'],
    ['model/bert.ts', `import { x } from '../formats/model-files.ts'`, 'formats/model-files.ts'],
    ['platform.ts', `import { x } from './formats/model-files.ts'`, 'formats/model-files.ts'],
    ['formats/weights.ts', `import '../platform-node.ts'`, 'platform-node.ts'],
    ['ghost/plan.ts', `import { x } from '../graph/graph.ts'`, 'no layer'],
  ])('%s may not say %s', (file, source, part) => {
    expect(judge(file, source)).toEqual([expect.stringContaining(part)])
  })

  test.each([
    ['formats/safetensors.ts', `import type { FileHandle } from 'node:fs/promises'`],
    ['model/config.ts', `import { x } from '../formats/model-files.ts'`],
    ['platform.ts', `import type { ModelFiles } from './formats/model-files.ts'`],
    ['formats/weights.ts', `import { platform } from '../platform.ts'`],
    ['train/trainer.ts', `import { type A, b } from '../session/adamw.ts'`],
    ['data/readers/parquet-worker.ts', `import type * as Hyparquet from 'hyparquet'`],
    ['data/tokenizer/word-piece.ts', `import { DataError } from '../../errors.ts'`],
  ])('%s may say %s', (file, source) => {
    expect(judge(file, source)).toEqual([undefined])
  })

  test('reads neither comments nor strings', () => {
    expect(importsOf(`// import { x } from './a.ts'\n/* import('b') */\nconst s = "import './c.ts'"`)).toEqual([])
  })

  test('tells the type any from the word', () => {
    const uses = ['let a: any', 'x as any', 'Map<string, any>', 'f<any>()', 'type A = any[]']
    for (const line of uses) expect(anyUses(line), line).toEqual([1])
    const others = ['// any file', `throw new Error('any')`, 'AbortSignal.any([a])', 'const anyone = 1', '{ any: 1 }']
    for (const line of others) expect(anyUses(line), line).toEqual([])
  })
})
