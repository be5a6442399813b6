// Publishes packed packages: those of the platforms first, so that bertkit never names one that is not there. What is published already
// is left out, so that a release that was interrupted can be run again.
//   node scripts/publish.mjs FOLDER [--dry-run]      FOLDER: *.tgz and SHA256SUMS
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'

const { positionals, values } = parseArgs({ options: { 'dry-run': { type: 'boolean' } }, allowPositionals: true })
const [folder] = positionals
const stop = (message) => {
  console.error(`publish: ${message}`)
  process.exit(1)
}
if (folder === undefined || !fs.existsSync(path.join(folder, 'SHA256SUMS')))
  stop('Expected a folder with packages and SHA256SUMS')

const sums = new Map(
  fs
    .readFileSync(path.join(folder, 'SHA256SUMS'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(/ [ *]/).reverse())
    .map(([name, sum]) => [name, sum]),
)
const run = (command, ...args) => spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

const packages = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith('.tgz'))
  .map((file) => {
    const place = path.join(folder, file)
    const sum = createHash('sha256').update(fs.readFileSync(place)).digest('hex')
    if (sums.get(file) !== sum) stop(`${file} is not what SHA256SUMS says`)
    const { status, stdout } = run('tar', '-xzOf', place, 'package/package.json')
    if (status !== 0) stop(`${file} has no package.json`)
    const { name, version } = JSON.parse(stdout)
    return { place, name, version, id: `${name}@${version}` }
  })
  .sort((a, b) => Number(a.name === 'bertkit') - Number(b.name === 'bertkit') || a.name.localeCompare(b.name))
const versions = new Set(packages.map(({ version }) => version))
if (versions.size !== 1) stop(`Expected packages of one version but found ${packages.map(({ id }) => id).join(', ')}`)

for (const { id, place } of packages) {
  const found = spawnSync('npm', ['view', id, 'version'], { encoding: 'utf8' })
  if (found.status === 0 && found.stdout.trim() !== '') {
    console.log(`${id} is published already`)
    continue
  }
  const flags = ['--access', 'public', ...(values['dry-run'] ? ['--dry-run'] : ['--provenance'])]
  const { status } = run('npm', 'publish', place, ...flags)
  if (status !== 0) stop(`npm publish ${id} failed`)
  console.log(`${id} ${values['dry-run'] ? 'would be' : 'is'} published`)
}
