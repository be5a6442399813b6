// The blocks of code of README.md, the other pages beside it, docs/ and examples/. The first word of a fence is its language; what follows
// says what runs it:
//
//   js                     a program; blocks.test.ts runs it, in a folder with the models and files of fixtures.ts
//   js continue            goes on with the program of the block before
//   js examples/x.mjs      that file, word for word; test/examples.test.ts runs it
//   sh                     commands; blocks.test.ts runs them (npm install only looks whether bertkit may ask for the package)
//   sh server              the same, where the first command goes on until it is stopped, and the others ask it
//   sh ci                  commands of a checkout that take minutes: .ci/run or a workflow has each of them, which ci.test.ts looks for
//   sh test/x.test.mjs     that test takes the block from the page and runs it, also `js`: it needs what other tests do not
//   text output            what the program before it prints, line for line
//   json                   is parsed; and csv, jsonl, conll, html, text and ini are not looked at
//
// Plain JavaScript, because the tests of test/packages and test/runtimes are: they run on Node 20 as it is.
import fs from 'node:fs'
import path from 'node:path'
import { partsOf } from '../../docs/site/markdown.mjs'

export const root = path.join(import.meta.dirname, '..', '..')

const DATA = ['conll', 'csv', 'html', 'ini', 'jsonl', 'json', 'text']

/** What a fence says: `what` becomes of its block, and the file that it names. */
function meaningOf(language, words) {
  if (language === 'text' && words === 'output') return { what: 'output' }
  if (DATA.includes(language) && words === '') return { what: 'data' }
  if (language === 'js' || language === 'sh') {
    if (words === '') return { what: 'program', where: 'here' }
    if (/^test\/[\w/-]+\.test\.mjs$/.test(words)) return { what: 'program', where: words }
  }
  if (language === 'sh' && (words === 'server' || words === 'ci')) return { what: 'program', where: words }
  if (language === 'js' && words === 'continue') return { what: 'continue' }
  if (language === 'js' && /^examples\/[\w-]+\.mjs$/.test(words)) return { what: 'file', copyOf: words }
  return undefined
}

/** Markdown files that people read. */
export function pages() {
  const outside = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'CODE_OF_CONDUCT.md']
  const below = (folder) =>
    fs
      .readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !/(^|[/\\])(site|node_modules)[/\\]/.test(name))
      .map((name) => `${folder}/${name.replaceAll(path.sep, '/')}`)
      .sort()
  return [...outside, ...below('docs'), ...below('examples')]
}

export const read = (file) => fs.readFileSync(path.join(root, file), 'utf8')

export function blocksOf(file) {
  const blocks = []
  for (const { info = '', line, lines } of partsOf(read(file))) {
    if (lines === undefined) continue
    const [language, ...words] = info.split(' ')
    const meaning = meaningOf(language, words.join(' '))
    if (meaning === undefined) throw new Error(`${file}:${line}: "${info}" is no fence that test/docs/blocks.mjs knows`)
    blocks.push({ file, line, language, code: `${lines.join('\n')}\n`, ...meaning })
  }
  return blocks
}

/** Programs of a page, in their order. */
export function programsOf(file) {
  const programs = []
  const before = (line) => {
    if (programs.length === 0) throw new Error(`${file}:${line}: there is no program before this block`)
    return programs.at(-1)
  }
  for (const { code, language, line, what, where } of blocksOf(file)) {
    if (what === 'continue') before(line).code += code
    else if (what === 'output') before(line).prints = code.trimEnd().split('\n')
    else if (what === 'program')
      programs.push({ name: `${file}:${line}`, file, line, language, where, code, prints: [] })
  }
  return programs
}

/** The programs whose fences name a test: it takes each by its page and a part of its code, and asserts that none is left. */
export function programsFor(test) {
  const left = new Set(
    pages()
      .flatMap(programsOf)
      .filter(({ where }) => where === test),
  )
  return {
    take(file, part) {
      const found = [...left].filter((program) => program.file === file && program.code.includes(part))
      if (found.length !== 1)
        throw new Error(`Expected one block of ${file} for ${test} with "${part}", not ${found.length}`)
      left.delete(found[0])
      return found[0].code
    },
    left: () => [...left].map(({ name }) => name),
  }
}
