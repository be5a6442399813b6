// The blocks of code of README.md, the other pages beside it and docs/. The first word of a fence is its language; what follows says
// what becomes of it:
//
//   js                   a program: it is run, and checked by the compiler
//   js continue          goes on with the program of the block before
//   js examples/x.mjs    that file, word for word; test/examples.test.ts runs it
//   js check: REASON     only checked by the compiler, because of REASON
//   sh                   commands: they are run (npm only looks whether there is what it is asked for)
//   sh check: REASON     only looked at: whether bertkit has these commands and flags
//   text output          what the program before it prints, line for line
//   json                 is parsed; and csv, jsonl, conll, html, text and ini are not looked at
import fs from 'node:fs'
import path from 'node:path'
import { partsOf } from '../../docs/site/markdown.mjs'

export const root = path.join(import.meta.dirname, '..', '..')

export interface Block {
  readonly file: string
  /** Of its fence. */
  readonly line: number
  readonly language: string
  readonly what: 'run' | 'continue' | 'check' | 'file' | 'output' | 'data'
  /** Why it is not run; the file that it is. */
  readonly because: string
  readonly code: string
}

/** One program: a block and those that go on with it. */
export interface Program {
  readonly name: string
  readonly file: string
  readonly line: number
  readonly language: 'js' | 'sh'
  readonly runs: boolean
  readonly because: string
  readonly code: string
  /** Lines that it prints. */
  readonly prints: readonly string[]
}

const DATA = ['conll', 'csv', 'html', 'ini', 'jsonl', 'text']

function blockOf(file: string, line: number, info: string, code: string): Block {
  const [language, ...rest] = info.split(' ')
  const words = rest.join(' ')
  const of = (what: Block['what'], because = ''): Block => ({ file, line, language, what, because, code })
  if (language === 'text' && words === 'output') return of('output')
  if (DATA.includes(language) && words === '') return of('data')
  if (language === 'json' && words === '') return of('data')
  if (language === 'js' || language === 'sh') {
    const [, reason] = /^check: (.{8,})$/.exec(words) ?? []
    if (reason !== undefined) return of('check', reason)
    if (words === '') return of('run')
    if (words === 'continue' && language === 'js') return of('continue')
    if (/^examples\/[\w-]+\.mjs$/.test(words) && language === 'js') return of('file', words)
  }
  throw new Error(`${file}:${line}: a fence of "${info}" is none that test/docs/blocks.ts knows`)
}

/** Markdown files that people read. */
export function pages(): string[] {
  const outside = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'CODE_OF_CONDUCT.md']
  const below = (folder: string): string[] =>
    fs
      .readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !/(^|[/\\])(site|node_modules)[/\\]/.test(name))
      .map((name) => `${folder}/${name.replaceAll(path.sep, '/')}`)
      .sort()
  return [...outside, ...below('docs'), ...below('examples')]
}

export const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8')

export function blocksOf(file: string): Block[] {
  return partsOf(read(file)).flatMap(({ info, line, lines }) =>
    lines === undefined ? [] : [blockOf(file, line, info ?? '', `${lines.join('\n')}\n`)],
  )
}

/** Programs of a page, in their order. */
export function programsOf(file: string): Program[] {
  const programs: { -readonly [Name in keyof Program]: Program[Name] }[] = []
  const fail = (line: number): never => {
    throw new Error(`${file}:${line}: there is no program before this block`)
  }
  for (const { because, code, language, line, what } of blocksOf(file)) {
    const last = programs.at(-1)
    if (what === 'continue') (last ?? fail(line)).code += code
    else if (what === 'output') (last ?? fail(line)).prints = code.trimEnd().split('\n')
    else if (what === 'run' || what === 'check')
      programs.push({
        name: `${file}:${line}`,
        file,
        line,
        language: language as 'js' | 'sh',
        runs: what === 'run',
        because,
        code,
        prints: [],
      })
  }
  return programs
}
