// verdaccio on a port of this machine: a registry with the packed packages and nothing else, connected to no other.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort } from '../free-port.mjs'
import { nodes } from './programs.mjs'

const CONFIG = `
storage: ./storage
packages: { '**': { access: $all, publish: $all } }
auth: { htpasswd: { file: ./htpasswd } }
uplinks: {}
max_body_size: 50mb
log: { type: stdout, format: json, level: error }
`

/** Starts it and publishes every tarball of a folder. `npmrc`: the settings of an npm that may publish there. */
export async function startRegistry(packages) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-registry-'))
  fs.writeFileSync(path.join(folder, 'config.yaml'), CONFIG)
  const host = `127.0.0.1:${await freePort()}`
  const address = `http://${host}/`
  const program = path.join(import.meta.dirname, 'node_modules', 'verdaccio', 'bin', 'verdaccio')
  // verdaccio needs a newer Node than bertkit
  const child = spawn(nodes['24'] ?? process.execPath, [program, '--config', 'config.yaml', '--listen', host], {
    cwd: folder,
    stdio: ['ignore', 2, 2],
  })
  let ended = false
  child.once('exit', () => {
    ended = true
  })
  const stop = () => {
    child.kill()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', stop)

  const answers = () =>
    fetch(`${address}-/ping`).then(
      ({ ok }) => ok,
      () => false,
    )
  while (!(await answers())) {
    if (ended) throw new Error('The registry on this machine could not be started')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  // npm publishes only with a token, and any will do
  const npmrc = path.join(folder, 'npmrc')
  fs.writeFileSync(npmrc, `registry=${address}\n//${host}/:_authToken=any\n`)
  for (const tarball of fs.readdirSync(packages).filter((name) => name.endsWith('.tgz'))) {
    const options = ['--provenance=false', '--userconfig', npmrc, '--registry', address]
    const { status, stderr } = spawnSync('npm', ['publish', path.join(packages, tarball), ...options], {
      cwd: folder,
      encoding: 'utf8',
    })
    if (status !== 0) throw new Error(`npm publish ${tarball} failed\n${stderr}`)
  }
  return { address, npmrc, stop }
}
