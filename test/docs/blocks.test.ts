// Every block of code that the pages print is what they say: programs and commands run. blocks.mjs says which block is what.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HubServer } from '../formats/hub-server.ts'
import { blocksOf, type Program, pages, programsOf, read, root } from './blocks.mjs'
import { makeFolder, makeModels } from './fixtures.ts'
import { execute, Runner } from './runner.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const checkpoint = path.join(reference ?? '', 'data', 'weights', 'all-MiniLM-L6-v2')
const isWindows = process.platform === 'win32'
const missing =
  reference === undefined
    ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)'
    : isWindows
      ? ' (skipped: the commands are for a POSIX shell)'
      : ''

/** Within the package, so that 'bertkit' is this one. */
const scratch = path.join(root, 'out', 'test-docs')
const models = path.join(scratch, 'models')
const cli = path.join(root, 'dist', 'cli', 'main.js')
const files = pages()
const programs = files.flatMap(programsOf)
const folderOf = (file: string) => path.join(scratch, file.replace(/\W/g, '-'))
/** What the pages have from the Hub; here both are the small one. */
const IDS = ['google-bert/bert-base-uncased', 'sentence-transformers/all-MiniLM-L6-v2']
const NAMES = ['bert', 'reviews-model', 'nli-model', 'names-model', 'qa-model', 'words-model', 'decoder']

beforeAll(async () => {
  fs.rmSync(scratch, { recursive: true, force: true })
  fs.mkdirSync(scratch, { recursive: true })
})
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }))

const filesOf = (model: string) =>
  Object.fromEntries(
    fs.readdirSync(path.join(models, model)).map((name) => [name, fs.readFileSync(path.join(models, model, name))]),
  )

describe('blocks', () => {
  test.each(programs.map(({ name, where }) => [name, where]))('%s is run by: %s', (_, where) => {
    if (where.startsWith('test/')) expect(read(where)).toContain(`programsFor('${where}')`)
    else expect(['here', 'server', 'ci']).toContain(where)
  })

  test('most of them here', () => {
    const here = programs.filter(isHere)
    const count = (language: string, pattern: RegExp) =>
      here.filter((each) => each.language === language && pattern.test(each.code)).length
    expect(count('js', /^import .* from 'bertkit/m)).toBeGreaterThan(25)
    expect(count('sh', /^(?:\w+=\S+ )?npx bertkit /m)).toBeGreaterThan(20)
  })

  test('a block that is a file of examples/ is that file', () => {
    const copies = files.flatMap(blocksOf).filter(({ what }) => what === 'file')
    expect(copies.length).toBeGreaterThan(1)
    for (const { code, copyOf = '' } of copies) expect(code, copyOf).toBe(read(copyOf))
  })

  test('no program or command hides in a block without a fence', () => {
    const hidden = files.flatMap((file) =>
      read(file)
        .split('\n')
        .flatMap((line, i) =>
          /^(?: {4,}|\t)(?:npx |npm |node |import |await )/.test(line) ? [`${file}:${i + 1}`] : [],
        )
        // within a fence they are seen
        .filter((place) => !isFenced(file, Number(place.split(':')[1]))),
    )
    expect(hidden).toEqual([])
  })

  test('json is json', () => {
    for (const { code, file, language, line } of files.flatMap(blocksOf))
      if (language === 'json') expect(() => JSON.parse(code), `${file}:${line}`).not.toThrow()
  })
})

const isFenced = (file: string, line: number): boolean =>
  blocksOf(file).some((block) => line > block.line && line <= block.line + block.code.split('\n').length)

test('the compiler accepts every program', async () => {
  const folder = path.join(scratch, 'types')
  fs.mkdirSync(folder)
  const nameOf = ({ file, line }: Program) => `${file.replace(/\W/g, '-')}-${line}.mjs`
  for (const program of programs.filter(({ language }) => language === 'js'))
    fs.writeFileSync(path.join(folder, nameOf(program)), program.code)
  fs.writeFileSync(
    path.join(folder, 'modules.d.ts'),
    "declare module '*.wasm' { const file: string; export default file }\n",
  )
  const compilerOptions = {
    allowJs: true,
    checkJs: true,
    noEmit: true,
    strict: true,
    // parameters of programs without types
    noImplicitAny: false,
    strictNullChecks: false,
    useUnknownInCatchVariables: false,
    skipLibCheck: true,
    target: 'es2022',
    module: 'nodenext',
    moduleDetection: 'force',
    lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'],
    types: ['node'],
  }
  fs.writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['.'] }))
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const output = await execute(process.execPath, [tsc, '-p', '.'], { cwd: folder }).catch(({ stdout }) => ({ stdout }))
  expect(output.stdout).toBe('')
})

/** Flags of a command, from its help. */
function flagsOf(command: string): Set<string> {
  const help = execFileSync(process.execPath, [cli, ...command.split(' '), '--help'], { encoding: 'utf8' })
  return new Set([...help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, flag]) => flag))
}

const named = (chosen: readonly Program[]) => chosen.map((each) => [each.name, each] as const)
const isHere = ({ where }: Program) => where === 'here' || where === 'server'

test.each(named(programs.filter(({ language }) => language === 'sh')))(
  '%s: bertkit has these commands and flags',
  (_, { code }) => {
    const commands = code.matchAll(/npx bertkit ((?:tokenizer )?[a-z][a-z-]*)((?: [^\n#|]*|\\\n)*)/g)
    for (const [, command, rest] of commands) {
      const used = [...rest.matchAll(/(?<= )--[\w-]+/g)].map(([flag]) => flag)
      const known = flagsOf(command)
      expect(used.filter((flag) => !known.has(flag))).toEqual([])
    }
  },
)

describe.skipIf(missing !== '')(`programs${missing}`, () => {
  let hub: HubServer

  beforeAll(async () => {
    hub = await HubServer.start()
    await makeModels(models, checkpoint)
    for (const [i, id] of IDS.entries()) hub.models.set(id, { commit: String(i).repeat(40), files: filesOf('bert') })
    const all = Object.fromEntries(NAMES.map((name) => [name, path.join(models, name)]))
    for (const file of files) makeFolder(folderOf(file), { ...all, 'all-MiniLM-L6-v2': checkpoint })
    for (const file of files)
      fs.symlinkSync(path.join(root, 'examples'), path.join(folderOf(file), 'examples'), 'junction')
    copyExperiments()
  })
  afterAll(() => hub.stop())

  const wanted = programs.filter(isHere)
  const results = new Map<Program, Promise<void>>()

  /** The blocks of a page one after another, because later ones use what those before them made. */
  async function runPage(file: string, runner: Runner): Promise<void> {
    for (const program of wanted.filter((each) => each.file === file)) {
      const result = runner.run(program, folderOf(file))
      results.set(program, result)
      await result.catch(() => {}) // its test says so
    }
  }

  // two pages at a time: most of the time goes into starting programs
  beforeAll(async () => {
    const runner = new Runner(path.join(scratch, 'runner'), hub.endpoint)
    const waiting = [...files]
    const work = async () => {
      for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await runPage(file, runner)
    }
    await Promise.all([work(), work()])
  }, 240_000)

  test.each(named(wanted))('%s', async (_, program) => results.get(program))

  test.each(IDS)('%s came from the Hub of this machine', (id) => {
    expect(hub.requests('cdn')).toContain(`GET /${id}/model.safetensors`)
  })

  test('the experiments draw the figures that are there from the results that are there, and train nothing', () => {
    for (const [kind, count] of Object.entries({ results: 3, figures: 4 })) {
      const there = path.join(root, EXPERIMENTS, kind)
      const here = path.join(folderOf(`${EXPERIMENTS}/README.md`), EXPERIMENTS, kind)
      const names = fs.readdirSync(there)
      expect(names.length).toBe(count)
      expect(fs.readdirSync(here)).toEqual(names)
      for (const name of names)
        expect(fs.readFileSync(path.join(here, name)).equals(fs.readFileSync(path.join(there, name))), name).toBe(true)
    }
  })
})

const EXPERIMENTS = 'docs/experiments'

/** The programs of the experiments with their results, and without the figures, in the folder of their page. */
function copyExperiments(): void {
  const folder = folderOf(`${EXPERIMENTS}/README.md`)
  fs.cpSync(path.join(root, EXPERIMENTS), path.join(folder, EXPERIMENTS), {
    recursive: true,
    filter: (source) => path.basename(source) !== 'figures',
  })
  for (const name of ['assets', 'dist']) fs.symlinkSync(path.join(root, name), path.join(folder, name), 'junction')
}
