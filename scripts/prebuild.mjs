// node scripts/prebuild.mjs [NAME...]: the addon for each platform of scripts/platforms.mjs, from one Linux machine, into
// prebuilds/NAME/bertkit.node. CMakeLists.txt builds it, with zig as its compiler, and scripts/binaries.mjs holds the result to what a
// prebuilt addon may be. Needs CMake, Ninja, zig (ZIG, `zig`, or `pip install ziglang`), LLVM's tools (Debian: llvm) and, for
// macOS, its linker (lld).
//
//   --host    this machine's only, with prebuildify over node-gyp and the system's own compiler, whose C++ library it then needs; node-gyp
//             begins by emptying build/
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { EXPORTS, problemsOf, problemsOfObjects } from './binaries.mjs'
import { main, root, run, Stop } from './command.mjs'
import { findLld, linkDarwin } from './darwin-link.mjs'
import { hostPlatform, PLATFORMS } from './platforms.mjs'
import { findZig, zigSettings } from './zig.mjs'

const at = (...parts) => path.join(root, ...parts)
const { include_dir: headers } = createRequire(import.meta.url)('node-api-headers')

const works = (command) => spawnSync(command, ['--version']).status === 0

const SYSTEMS = { linux: 'Linux', darwin: 'Darwin', win32: 'Windows' }

function build(zig, name) {
  const { os: system, target } = PLATFORMS[name]
  const tree = at('build', 'prebuild', name)
  const settings = {
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_SYSTEM_NAME: SYSTEMS[system],
    CMAKE_SYSTEM_PROCESSOR: target.split('-')[0],
    ...zigSettings(zig, target, tree),
    CMAKE_SHARED_LINKER_FLAGS: '-s',
    CMAKE_JS_INC: headers,
  }
  const definitions = Object.entries(settings).map(([setting, value]) => `-D${setting}=${value}`)
  run(['cmake', '-S', '.', '-B', tree, '-G', 'Ninja', ...definitions], { what: `configuring ${name}` })
  const parallel = ['--parallel', `${os.availableParallelism()}`]
  run(['cmake', '--build', tree, '--target', 'bertkit', ...parallel], { what: `building ${name}` })
  return tree
}

/** Puts an addon where those of platforms are expected. */
function place(built, name, started) {
  const file = at('prebuilds', name, 'bertkit.node')
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.copyFileSync(built, `${file}.new`)
  fs.renameSync(`${file}.new`, file)
  const megabytes = (fs.statSync(file).size / 1e6).toFixed(2)
  console.log(`${path.relative(root, file)}: ${megabytes} MB, ${((performance.now() - started) / 1000).toFixed(0)} s`)
}

function prebuild(zig, name) {
  const started = performance.now()
  const platform = PLATFORMS[name]
  const tree = build(zig, name)
  const built = path.join(tree, 'bertkit.node')
  if (platform.os === 'darwin') linkDarwin(zig, tree, 'bertkit.node', platform, EXPORTS)
  const problems = [...problemsOf(built, platform), ...problemsOfObjects(path.join(tree, 'CMakeFiles'), platform)]
  if (problems.length > 0) throw new Stop(`the addon for ${name}:\n  ${problems.join('\n  ')}`)
  place(built, name, started)
}

function prebuildAll(names) {
  const all = Object.keys(PLATFORMS)
  const unknown = names.find((name) => !all.includes(name))
  if (unknown) throw new Stop(`expected ${all.join(', ')} but received ${unknown}`)
  const zig = findZig()
  if (!zig) throw new Stop('needs zig: pip install ziglang, or name a zig in ZIG')
  for (const [tool, debian] of [
    ['cmake', 'cmake'],
    ['ninja', 'ninja-build'],
    ['llvm-objdump', 'llvm'],
    ['llvm-readobj', 'llvm'],
  ])
    if (!works(tool)) throw new Stop(`needs ${tool} on the PATH (Debian, Ubuntu: apt install ${debian})`)
  const wanted = names.length > 0 ? names : all
  if (wanted.some((name) => PLATFORMS[name].os === 'darwin')) findLld() // before minutes of compiling
  for (const name of wanted) prebuild(zig, name)
}

function prebuildHost() {
  const started = performance.now()
  const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js')
  // the headers that came with this Node, so that nothing is downloaded
  const nodedir = path.join(path.dirname(fs.realpathSync(process.execPath)), '..')
  const found = fs.existsSync(path.join(nodedir, 'include', 'node', 'node_api.h'))
  const env = { ...process.env, ...(found ? { npm_config_nodedir: nodedir } : {}) }
  const out = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-prebuildify-'))
  const flags = ['--napi', '--strip', '--name', 'bertkit', '--target', process.versions.node, '--out', out]
  try {
    const what = 'prebuildify (by npm run build:prebuilt, since npm brings node-gyp)'
    run([process.execPath, prebuildify, ...flags], { what, env, stdio: 'inherit' })
    // in a folder and with a name that another loader than bertkit's would look for
    const files = fs.readdirSync(out, { recursive: true, encoding: 'utf8' })
    place(
      path.join(
        out,
        files.find((file) => file.endsWith('.node')),
      ),
      hostPlatform(),
      started,
    )
  } finally {
    fs.rmSync(out, { recursive: true, force: true })
  }
}

main('prebuild', () => {
  const args = process.argv.slice(2)
  if (args.includes('--host')) prebuildHost()
  else prebuildAll(args)
})
