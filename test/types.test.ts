// The types that are published, as a program without Node's types sees them.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = path.join(import.meta.dirname, '..')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-types-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** What TypeScript's compiler says, with the status that it ends with. */
function tsc(...args: string[]): string {
  try {
    return execFileSync(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), ...args], {
      cwd: folder,
      encoding: 'utf8',
    })
  } catch (error) {
    return error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error)
  }
}

beforeAll(() => {
  expect(tsc('-p', root, '--emitDeclarationOnly', '--declarationMap', 'false', '--outDir', 'dist')).toBe('')
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }')
})

test.each(['index', 'edge', 'cli'])('%s needs the types of the web, and not those of Node', (entry) => {
  const program = `import * as entry from './dist/${entry}.js'\nentry.nothing\n`
  fs.writeFileSync(path.join(folder, 'program.ts'), program)
  const options = ['--module', 'nodenext', '--target', 'es2022', '--lib', 'es2022,dom', '--types', '']
  const found = tsc('program.ts', '--strict', '--noEmit', '--skipLibCheck', 'false', ...options)
  // that one shows that the others would be seen
  expect(found.match(/error TS\d+.*/g)).toEqual([expect.stringMatching(/'nothing' does not exist/)])
})
