// Every block of code that the pages print is what they say: programs run, commands exist. blocks.ts says which block is what.
import { execFile, execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blocksOf, type Program, pages, programsOf, read, root } from './blocks.ts'
import { makeFolder, makeModels } from './fixtures.ts'

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
const NAMES = ['bert', 'reviews-model', 'nli-model', 'names-model', 'qa-model', 'words-model', 'decoder']

beforeAll(async () => {
  fs.rmSync(scratch, { recursive: true, force: true })
  fs.mkdirSync(scratch, { recursive: true })
})
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }))

const execute = promisify(execFile)
const run = async (command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = {}) => {
  const { stderr, stdout } = await execute(command, args, { cwd, env: { ...process.env, ...env }, maxBuffer: 2 ** 26 })
  return { stderr, stdout }
}

describe('blocks', () => {
  test('nearly all programs and commands are run, and those that are not say why', () => {
    const count = (all: readonly Program[], pattern: RegExp) =>
      all.reduce((sum, { code }) => sum + (code.match(pattern)?.length ?? 0), 0)
    const share = (language: string, pattern: RegExp) => {
      const all = programs.filter((each) => each.language === language)
      const run = all.filter(({ runs }) => runs)
      return [count(run, pattern), count(run, pattern) / count(all, pattern)]
    }
    const [imports, shareOfPrograms] = share('js', /^import .* from 'bertkit/gm)
    expect(imports).toBeGreaterThan(25)
    expect(shareOfPrograms).toBeGreaterThan(0.8)
    const [commands, shareOfCommands] = share('sh', /^(?:\w+=\S+ )?npx bertkit /gm)
    expect(commands).toBeGreaterThan(35)
    expect(shareOfCommands).toBeGreaterThan(0.8)
  })

  test('a block that is a file of examples/ is that file', () => {
    const copies = files.flatMap(blocksOf).filter(({ what }) => what === 'file')
    expect(copies.length).toBeGreaterThan(1)
    for (const { because, code } of copies) expect(code, because).toBe(read(because))
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
  const output = await run(process.execPath, [tsc, '-p', '.'], folder).catch(({ stdout }) => ({ stdout }))
  expect(output.stdout).toBe('')
})

/** Flags of a command, from its help. */
function flagsOf(command: string): Set<string> {
  const help = execFileSync(process.execPath, [cli, ...command.split(' '), '--help'], { encoding: 'utf8' })
  return new Set([...help.matchAll(/^ +(?:-\w, )?(--[\w-]+)/gm)].map(([, flag]) => flag))
}

const named = (chosen: readonly Program[]) => chosen.map((each) => [each.name, each.because, each] as const)
test.each(named(programs.filter(({ language, runs }) => language === 'sh' && !runs)))(
  '%s: bertkit has these flags (not run: %s)',
  (_, __, { code }) => {
    const commands = [...code.matchAll(/bertkit ((?:tokenizer )?[a-z][a-z-]*)((?: [^\n#|]*|\\\n)*)/g)]
    for (const [, command, rest] of commands) {
      if (
        !/^(train|pretrain|evaluate|predict|fill-mask|generate|tokenizer train|export|info|demo|build-native)$/.test(
          command,
        )
      )
        continue
      const used = [...rest.matchAll(/(?<= )--[\w-]+/g)].map(([flag]) => flag)
      const known = used.length > 0 ? flagsOf(command) : new Set<string>()
      expect(used.filter((flag) => !known.has(flag))).toEqual([])
    }
  },
)

/** Programs before all others on the PATH of commands: npx runs this bertkit, npm only looks whether there is what it is asked for. */
function writeShims(folder: string): void {
  fs.mkdirSync(folder, { recursive: true })
  const { peerDependencies, scripts } = JSON.parse(read('package.json'))
  const shim = (name: string, body: string) =>
    fs.writeFileSync(path.join(folder, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  shim('npx', `[ "$1" = bertkit ] || exit 64\nshift\nexec '${process.execPath}' '${cli}' "$@"`)
  const installs = ['bertkit', ...Object.keys(peerDependencies)].join('|')
  const runs = Object.keys(scripts).join('|')
  shim(
    'npm',
    `case "$1" in
install) shift; for name; do case "$name" in ${installs}|-*) ;; *) echo "npm install $name: unknown" >&2; exit 64 ;; esac; done ;;
run) case "$2" in ${runs}) ;; *) echo "npm run $2: there is no such script" >&2; exit 64 ;; esac ;;
start|test|ci) ;;
*) echo "npm $1: unknown" >&2; exit 64 ;;
esac`,
  )
}

describe.skipIf(missing !== '')(`programs${missing}`, () => {
  beforeAll(async () => {
    await makeModels(models, checkpoint)
    writeShims(path.join(scratch, 'bin'))
    const all = Object.fromEntries(NAMES.map((name) => [name, path.join(models, name)]))
    for (const file of files) makeFolder(folderOf(file), { ...all, 'all-MiniLM-L6-v2': checkpoint })
    for (const file of files)
      fs.symlinkSync(path.join(root, 'examples'), path.join(folderOf(file), 'examples'), 'junction')
  })

  const wanted = programs.filter(({ runs }) => runs)
  const results = new Map<Program, Promise<void>>()

  /** The blocks of a page one after another, because later ones use what those before them made. */
  async function runPage(file: string): Promise<void> {
    for (const program of wanted.filter((each) => each.file === file)) {
      const result = runProgram(program)
      results.set(program, result)
      await result.catch(() => {}) // its test says so
    }
  }

  // two pages at a time: most of the time goes into starting programs
  beforeAll(async () => {
    const waiting = [...files]
    const work = async () => {
      for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await runPage(file)
    }
    await Promise.all([work(), work()])
  }, 120_000)

  test.each(named(wanted))('%s', async (_, __, program) => results.get(program))
})

async function runProgram(program: Program): Promise<void> {
  const folder = folderOf(program.file)
  if (program.language === 'sh') {
    const env = { PATH: `${path.join(scratch, 'bin')}${path.delimiter}${process.env.PATH}` }
    await run('sh', ['-eu', '-c', program.code], folder, env)
    return
  }
  const file = path.join(folder, `block-${program.line}.mjs`)
  fs.writeFileSync(file, program.code)
  const { stdout } = await run(process.execPath, [file], folder)
  if (program.prints.length > 0) expect(stdout.trimEnd().split('\n')).toEqual(program.prints)
}
