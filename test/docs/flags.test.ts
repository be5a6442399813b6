// The flags that docs/from-transformers.md gives for those of Transformers' scripts.
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { bertkit } from '../cli/io.ts'

const page = fs.readFileSync(path.join(import.meta.dirname, '..', '..', 'docs', 'from-transformers.md'), 'utf8')
const section = /^## Flags of the scripts\n(.*?)^## /ms.exec(page)?.[1] ?? ''
const flagsIn = (text: string): string[] => [...text.matchAll(/--[a-z][\w-]*/g)].map(([flag]) => flag)

test('are flags of bertkit, and the others are not', async () => {
  const help = await Promise.all(['train', 'predict'].map((command) => bertkit([command, '--help'])))
  const known = new Set(help.flatMap(({ stdout }) => [...stdout.matchAll(/^ {2}(--[\w-]+)/gm)].map(([, flag]) => flag)))
  const rows = [...section.matchAll(/^\| (.*?) \| (.*) \|$/gm)]
  expect(rows.length).toBeGreaterThan(10)
  for (const [, script, own] of rows) {
    expect(flagsIn(own).filter((flag) => !known.has(flag))).toEqual([])
    // with hyphens for underscores alone they would be in the sentence above
    expect(flagsIn(script).filter((flag) => flag !== '--streaming' && known.has(flag))).toEqual([])
  }
  const prose = section.slice(0, section.indexOf('\n|'))
  const named = flagsIn(prose).map((flag) => flag.replaceAll('_', '-'))
  const refused = ['--fp16', '--optim', '--overwrite-output-dir']
  expect(named.filter((flag) => !known.has(flag)).sort()).toEqual(refused)
})
