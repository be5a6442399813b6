// Writes files.txt, the files of bertkit's tarball that contents.test.mjs compares: node test/packages/files.mjs
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { stage } from './stage.mjs'

const folder = path.join(stage(), 'bertkit')
const { stdout } = spawnSync('npm', ['pack', '--json', '--dry-run'], { cwd: folder, encoding: 'utf8' })
const [{ files }] = Object.values(JSON.parse(stdout))
const names = files.map((file) => file.path).sort()
fs.writeFileSync(path.join(import.meta.dirname, 'files.txt'), `${names.join('\n')}\n`)
console.log(`${names.length} files`)
