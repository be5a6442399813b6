// Publishes packed packages, the files of SHA256SUMS: those of the platforms first, so that the main one never names one that is not there.
// What is published already is left out, so that a release that was interrupted can be run again, with the same files. A prerelease
// (1.0.0-beta.1) is published under the tag `next`, so that nobody gets it without asking.
//   node scripts/publish.mjs FOLDER [--dry-run]      FOLDER: *.tgz and SHA256SUMS
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { main, npm, root, run, Stop } from './command.mjs'

function readPackage(folder, line) {
  const [sum, file] = line.split(/ [ *]/)
  const place = path.resolve(folder, file)
  if (!fs.existsSync(place)) throw new Stop(`${file} of SHA256SUMS is not in ${folder}`)
  const bytes = fs.readFileSync(place)
  if (createHash('sha256').update(bytes).digest('hex') !== sum) throw new Stop(`${file} is not what SHA256SUMS says`)
  const manifest = JSON.parse(run(['tar', '-xzOf', place, 'package/package.json'], { what: `reading ${file}` }))
  const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`
  return { ...manifest, place, integrity, id: `${manifest.name}@${manifest.version}` }
}

/** The packages of a folder, in the order in which they are published. */
function readPackages(folder) {
  const sums = path.join(folder ?? '', 'SHA256SUMS')
  if (folder === undefined || !fs.existsSync(sums)) throw new Stop('Expected a folder with packages and SHA256SUMS')
  const lines = fs.readFileSync(sums, 'utf8').trim().split('\n')
  const packages = lines.map((line) => readPackage(folder, line))
  const needed = packages.flatMap(({ optionalDependencies = {} }) => Object.entries(optionalDependencies))
  for (const id of needed.map(([name, version]) => `${name}@${version}`))
    if (!packages.some((one) => one.id === id)) throw new Stop(`Expected ${id} among the packages, since one names it`)
  const last = ({ optionalDependencies }) => Number(optionalDependencies !== undefined)
  return packages.sort((a, b) => last(a) - last(b) || a.name.localeCompare(b.name))
}

/** The hash of what is published as `id`; undefined where nothing is. */
function publishedIntegrity(id) {
  const [command, ...args] = npm
  const flags = ['view', id, 'dist.integrity', '--json']
  const { status, stdout, stderr } = spawnSync(command, [...args, ...flags], { cwd: root, encoding: 'utf8' })
  const answer = stdout.trim() === '' ? undefined : JSON.parse(stdout)
  // of a package without that version, npm prints nothing or says that it has not found it
  if (status === 0) return answer
  if (answer?.error?.code === 'E404') return undefined
  throw new Stop(`npm view ${id} failed, so it is not known whether it is published\n${stderr}`)
}

function publish({ id, version, place, integrity }, isTrial) {
  const published = publishedIntegrity(id)
  if (published === integrity) return console.log(`${id} is published already`)
  if (published !== undefined) {
    const message = `${id} is published already with other bytes (${published}, here ${integrity}): release another version`
    if (!isTrial) throw new Stop(message)
    // between two releases, package.json has the version of the last one
    return console.log(message)
  }
  const flags = ['--access', 'public', ...(version.includes('-') ? ['--tag', 'next'] : [])]
  const what = `npm publish ${id}`
  run([...npm, 'publish', place, ...flags, isTrial ? '--dry-run' : '--provenance'], { what, stdio: 'inherit' })
  console.log(`${id} ${isTrial ? 'would be' : 'is'} published${version.includes('-') ? ' under the tag next' : ''}`)
}

main('publish', () => {
  const { positionals, values } = parseArgs({ options: { 'dry-run': { type: 'boolean' } }, allowPositionals: true })
  const packages = readPackages(positionals[0])
  const versions = new Set(packages.map(({ version }) => version))
  if (versions.size !== 1)
    throw new Stop(`Expected packages of one version but found ${packages.map(({ id }) => id).join(', ')}`)
  for (const one of packages) publish(one, values['dry-run'])
})
