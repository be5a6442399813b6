// Runs the programs and commands of a page as a reader would, with this bertkit in the place of an installed one.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { freePort } from '../free-port.mjs'
import { type Program, read, root } from './blocks.mjs'

export const execute = promisify(execFile)
const cli = path.join(root, 'dist', 'cli', 'main.js')

/** A port of the pages, in whose place there is a free one. */
const PORT = '8080'

/**
 * Programs before all others on the PATH of commands. npx runs this bertkit; npm install only looks whether it is bertkit's to ask for the
 * package; npm run does what package.json says, in the checkout; curl fails when the answer is an error.
 */
function writeShims(folder: string): void {
  fs.mkdirSync(folder, { recursive: true })
  const { peerDependencies, scripts } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
  const shim = (name: string, body: string) =>
    fs.writeFileSync(path.join(folder, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  shim('npx', `[ "$1" = bertkit ] || exit 64\nshift\nexec '${process.execPath}' '${cli}' "$@"`)
  const packages = ['bertkit', ...Object.keys(peerDependencies)].join('|')
  const runs = Object.entries(scripts).map(([name, command]) => `${name}) exec ${command} "$@" ;;`)
  shim(
    'npm',
    `refuse() { echo "npm $*: test/docs does not run this" >&2; exit 64; }
case "$1" in
install) shift; for name; do case "$name" in ${packages}|-*) ;; *) refuse "install $name" ;; esac; done ;;
run) name=$2; shift 2; [ "\${1:-}" != -- ] || shift; cd '${root}'; case "$name" in
${runs.join('\n')}
*) refuse "run $name" ;;
esac ;;
*) refuse "$1" ;;
esac`,
  )
  fs.writeFileSync(path.join(folder, '.curlrc'), 'fail\nsilent\nshow-error\n')
}

export class Runner {
  readonly #folder: string
  readonly #hub: string

  /** `folder` is for what it needs itself; `hub` is the address of the Hub. */
  constructor(folder: string, hub: string) {
    this.#folder = folder
    this.#hub = hub
    writeShims(path.join(folder, 'bin'))
  }

  #environment(program: Program): NodeJS.ProcessEnv {
    const bin = path.join(this.#folder, 'bin')
    // each with an empty cache
    const home = path.join(this.#folder, 'hub', program.name.replace(/\W/g, '-'))
    const hub = { HF_ENDPOINT: this.#hub, HF_HOME: home, HF_HUB_CACHE: '', HF_TOKEN: '', HF_HUB_OFFLINE: '' }
    return { ...process.env, ...hub, CURL_HOME: bin, PATH: `${bin}${path.delimiter}${process.env.PATH}` }
  }

  /** In the folder of its page. */
  async run(program: Program, cwd: string): Promise<void> {
    const options = { cwd, env: this.#environment(program), maxBuffer: 2 ** 26 }
    if (program.where === 'server') await serve(program.code, options)
    else if (program.language === 'sh') await execute('sh', ['-eu', '-c', program.code], options)
    else {
      const file = path.join(cwd, `block-${program.line}.mjs`)
      fs.writeFileSync(file, program.code)
      const { stdout } = await execute(process.execPath, [file], options)
      if (program.prints.length > 0) expect(stdout.trimEnd().split('\n')).toEqual(program.prints)
    }
  }
}

/** Starts the first command, and when it answers runs the others and looks at the addresses that the block names. */
async function serve(code: string, options: { cwd: string; env: NodeJS.ProcessEnv }): Promise<void> {
  const port = String(await freePort())
  const [first, ...others] = code.replaceAll(PORT, port).split('\n')
  const server = spawn('sh', ['-eu', '-c', `exec ${first}`], { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
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
    for (const address of addresses) expect((await fetch(address)).status, address).toBe(200)
    const { stdout } = await execute('sh', ['-eu', '-c', others.join('\n')], options)
    expect(stdout.length + addresses.length, 'nothing was asked').toBeGreaterThan(0)
  } finally {
    server.kill()
    await ended
  }
}
