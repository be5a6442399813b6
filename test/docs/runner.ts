// Runs the programs and commands of a page as a reader would, with this bertkit in the place of an installed one.
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { type Program, read, root } from './blocks.mjs'
import { serveAndAsk } from './serve.mjs'

export const execute = promisify(execFile)
const cli = path.join(root, 'dist', 'cli', 'main.js')

/**
 * Programs before all others on the PATH of commands. npx runs this bertkit; npm install only looks whether it is bertkit's to ask for the
 * package; npm run does what package.json says, in the checkout.
 */
function writeShims(folder: string): void {
  fs.mkdirSync(folder, { recursive: true })
  const { peerDependencies, scripts } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
  const shim = (name: string, body: string) =>
    fs.writeFileSync(path.join(folder, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  shim('npx', `[ "$1" = bertkit ] || exit 64\nshift\nexec '${process.execPath}' '${cli}' "$@"`)
  const packages = ['bertkit', ...Object.keys(peerDependencies)].join('|')
  const runs = Object.entries(scripts).flatMap(([name, command]) =>
    command.startsWith('node ') ? [`${name}) exec ${command} "$@" ;;`] : [],
  )
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
    return { ...process.env, ...hub, PATH: `${bin}${path.delimiter}${process.env.PATH}` }
  }

  /** In the folder of its page. */
  async run(program: Program, cwd: string): Promise<void> {
    const options = { cwd, env: this.#environment(program), maxBuffer: 2 ** 26 }
    if (program.where === 'server') await serveAndAsk(program.code, options)
    else if (program.language === 'sh') await execute('sh', ['-eu', '-c', program.code], options)
    else {
      const file = path.join(cwd, `block-${program.line}.mjs`)
      fs.writeFileSync(file, program.code)
      const { stdout } = await execute(process.execPath, [file], options)
      if (program.prints.length > 0) expect(stdout.trimEnd().split('\n')).toEqual(program.prints)
    }
  }
}
