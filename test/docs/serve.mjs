import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { freePort } from '../free-port.mjs'

/** The port of the pages, in whose place there is a free one. */
const PORT = '8080'

/** curl, for which an answer that is an error is one of its own. */
const CURL = 'curl() { command curl --fail --silent --show-error "$@"; }'

/**
 * Commands of a page, of which the first serves until it is stopped. When it answers, the others are run and the addresses that the block
 * names are looked at; what the others printed. `cwd` and `env` as for a child process.
 */
export async function serveAndAsk(code, { cwd, env }) {
  const port = String(await freePort())
  const [first, ...others] = code.replaceAll(PORT, port).split('\n')
  const shell = (commands) => ['-eu', '-c', commands]
  // a group of processes of its own: npx starts the server as a child
  const server = spawn('sh', shell(`exec ${first}`), { cwd, env, stdio: ['ignore', 'ignore', 'pipe'], detached: true })
  let complaints = ''
  server.stderr.setEncoding('utf8').on('data', (text) => {
    complaints += text
  })
  const ended = once(server, 'close')
  try {
    const answers = () => fetch(`http://localhost:${port}`).then(Boolean, () => false)
    while (!(await answers())) {
      if (server.exitCode !== null) throw new Error(`"${first}" ended with ${server.exitCode}\n${complaints}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const addresses = code.replaceAll(PORT, port).match(/http:\/\/localhost:\S+/g) ?? []
    for (const address of addresses) assert.equal((await fetch(address)).status, 200, address)
    const { stdout } = await promisify(execFile)('sh', shell(`${CURL}\n${others.join('\n')}`), { cwd, env })
    assert.ok(stdout !== '' || addresses.length > 0, 'nothing was asked')
    return stdout
  } finally {
    if (server.exitCode === null) process.kill(-server.pid, 'SIGTERM')
    await ended
  }
}
