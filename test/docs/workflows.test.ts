// The workflows of .github can only be run by GitHub: what they name has to be there, and they may do no more than they need.
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { read, root } from './blocks.mjs'

const folder = '.github/workflows'
const workflows = fs.readdirSync(path.join(root, folder)).map((name) => ({ name, text: read(`${folder}/${name}`) }))
const each = (pattern: RegExp): string[] =>
  workflows.flatMap(({ text }) => [...text.matchAll(pattern)].map((match) => match[1]))
const exists = (file: string) => fs.existsSync(path.join(root, file))

test('name npm scripts that package.json has', () => {
  const { scripts } = JSON.parse(read('package.json'))
  const named = [...each(/\bnpm run ([\w:]+)/g), ...each(/\bnpm (test|start)\b/g)]
  expect(named).toEqual(expect.arrayContaining(['lint', 'test', 'docs:build', 'release']))
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([])
})

test('name programs, tests and lock files that are there', () => {
  const named = [
    ...each(/\bnode ((?:scripts|test|docs)\/\S+)/g),
    ...each(/\bvitest run ([^\n]+)/g).flatMap((files) => files.split(' ')),
    ...each(/^ *(\S*package-lock\.json)$/gm),
    ...each(/uses: \.\/(\S+)/g),
  ]
  expect(named.length).toBeGreaterThan(8)
  expect(named.filter((file) => !exists(file))).toEqual([])
})

test('use actions of GitHub itself at a major version, and no others', () => {
  const used = each(/uses: (\S+)/g)
  expect(used.length).toBeGreaterThan(10)
  expect(used.filter((action) => !/^actions\/[\w-]+@v\d+$|^\.\/\.github\//.test(action))).toEqual([])
})

test('may read, and write only where a comment says why; every job has a limit of time', () => {
  for (const { name, text } of workflows) {
    expect(text, name).toMatch(/^permissions:\n {2}contents: read\n(?=\S|\n)/m)
    const writes = text.split('\n').filter((line) => /^ +[\w-]+: write\b/.test(line))
    expect(
      writes.filter((line) => !line.includes('#') && !line.includes('pages:')),
      name,
    ).toEqual([])
    const jobs = text
      .split(/^jobs:$/m)[1]
      .split(/^ {2}(?=[\w-]+:$)/m)
      .slice(1)
    for (const job of jobs)
      expect(/timeout-minutes: \d+|^ {4}uses: /m.test(job), `${name}: ${job.split('\n')[0]}`).toBe(true)
  }
})

test('belong to no owner: a fork runs and releases as it is', () => {
  const owned = workflows.filter(({ text }) =>
    /github\.com\/[\w-]+\/|repository_owner *==/.test(text.replace(/^ *#.*$/gm, '')),
  )
  expect(owned.map(({ name }) => name)).toEqual([])
})
