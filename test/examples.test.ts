// The programs of examples/ and README.md run as they are printed, on a real checkpoint.
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import * as bertkit from '../src/index.ts'

const root = path.join(import.meta.dirname, '..')
const reference = process.env.BERTKIT_REFERENCE_DIR
const checkpoint = path.join(reference ?? '', 'data', 'weights', 'all-MiniLM-L6-v2')
const reason = reference === undefined ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''
const example = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: root })

describe('README.md', () => {
  const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8')

  test('prints examples/first.mjs, ten lines of it', () => {
    const [, program] = /```js\n([\s\S]*?)```/.exec(readme) ?? []
    expect(program).toBe(fs.readFileSync(path.join(root, 'examples', 'first.mjs'), 'utf8'))
    expect(program.split('\n').filter((line) => line !== '')).toHaveLength(10)
  })

  test('links to files that exist', () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, target]) => target)
    expect(links.length).toBeGreaterThan(3)
    expect(links.filter((target) => !fs.existsSync(path.join(root, target)))).toEqual([])
  })

  test('names commands that package.json has', () => {
    const { scripts } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
    const named = [...readme.matchAll(/\bnpm (?:run )?([\w:]+)/g)].map(([, name]) => name)
    expect(named).toContain('test')
    expect(named.filter((name) => name !== 'install' && scripts[name] === undefined)).toEqual([])
  })
})

describe.skipIf(reference === undefined)(`examples/${reason}`, () => {
  test('first.mjs lowers the loss with every step but a few', async () => {
    const { stdout } = await example('examples/first.mjs', checkpoint)
    const losses = [...stdout.matchAll(/loss: ([\d.]+)/g)].map(([, loss]) => Number(loss))
    expect(losses).toHaveLength(10)
    expect(losses[9]).toBeLessThan(losses[0] / 2)
    expect(stdout).toContain('shape: [ 1, 2 ]')
  })

  test('training-loop.mjs makes its ten steps', async () => {
    const { stdout } = await example('examples/training-loop.mjs', checkpoint)
    expect(stdout.match(/\bstep: \d/g)).toHaveLength(10)
  })

  const decoder = 'BertLMHeadModel' in bertkit
  const missing = decoder ? '' : ' (skipped: bertkit has no BertLMHeadModel)'
  test.skipIf(!decoder)(
    `generate.mjs prints the greedy continuation, drawn tokens and two beams${missing}`,
    async () => {
      const { stdout } = await example('examples/generate.mjs', checkpoint, 'the film')
      expect(stdout).toMatch(/^greedy: \S/)
      expect(stdout.match(/^drawn: /gm)?.length).toBeGreaterThan(0)
      expect(stdout.match(/^beam, score -?\d+\.\d{3}: \S/gm)).toHaveLength(2)
    },
  )

  test('fine-tune.mjs writes a folder that evaluates', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-example-'))
    try {
      const { stdout } = await example('examples/fine-tune.mjs', checkpoint, folder)
      expect(stdout).toMatch(/^(positive|negative) \[/m)
      for (const file of ['config.json', 'model.safetensors', 'vocab.txt'])
        expect(fs.existsSync(path.join(folder, file)), file).toBe(true)
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })
})
