// node scripts/prebuild.mjs [NAME...]: the addon for each platform of scripts/platforms.mjs, from one Linux machine, into
// prebuilds/NAME/bertkit.node. CMakeLists.txt builds it, with zig as its compiler, and scripts/binaries.mjs holds the result to what a
// prebuilt addon may be. Needs CMake, Ninja, zig (ZIG, `zig`, or `pip install ziglang`) and LLVM's tools (Debian: llvm).
//
//   --host    this machine's only, with prebuildify over node-gyp and the system's own compiler: prebuilds/OS-CPU/bertkit.LIBC.node
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { problemsOf, problemsOfObjects } from './binaries.mjs'
import { PLATFORMS } from './platforms.mjs'
import { findZig } from './zig.mjs'

const root = path.join(import.meta.dirname, '..')
const at = (...parts) => path.join(root, ...parts)
const { include_dir: headers } = createRequire(import.meta.url)('node-api-headers')

/** A reason to stop that has been explained: no stack. */
class Stop extends Error {}

function run(what, command, args, options = {}) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options })
  if (status === 0) return
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`)
  throw new Stop(`prebuild: ${what} failed${error ? `: ${error.message}` : ''}`)
}

const works = (command) => spawnSync(command, ['--version']).status === 0

/** A program that calls zig, because CMake wants the compiler and the archiver as files. */
function wrapper(file, words, body = '') {
  const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  fs.writeFileSync(file, `#!/bin/sh\n${body}exec ${quoted} "$@"\n`, { mode: 0o755 })
  return file
}

// zig has its own names for parts of a processor
const TRANSLATE = `for flag do
  shift
  case $flag in
    -march=armv8.2-a+fp16+bf16) flag=-mcpu=generic+v8_2a+fullfp16+bf16 ;;
  esac
  set -- "$@" "$flag"
done
`

const SYSTEMS = { linux: 'Linux', darwin: 'Darwin', win32: 'Windows' }

function build(zig, name) {
  const { os: system, target } = PLATFORMS[name]
  const tree = at('build', 'prebuild', name)
  fs.mkdirSync(tree, { recursive: true })
  // the same bytes from any folder
  const flags = ['-target', target, `-ffile-prefix-map=${root}=.`, '-Wno-unknown-warning-option']
  const compiler = wrapper(path.join(tree, 'zig-c++'), [...zig, 'c++', ...flags], TRANSLATE)
  const archiver = wrapper(path.join(tree, 'zig-ar'), [...zig, 'ar'])
  const indexer = wrapper(path.join(tree, 'zig-ranlib'), [...zig, 'ranlib'])
  run(`configuring ${name}`, 'cmake', [
    ...['-S', '.', '-B', tree, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release'],
    ...[
      `-DCMAKE_SYSTEM_NAME=${SYSTEMS[system]}`,
      `-DCMAKE_SYSTEM_PROCESSOR=${target.split('-')[0]}`,
      `-DCMAKE_CXX_COMPILER=${compiler}`,
    ],
    ...[
      `-DCMAKE_AR=${archiver}`,
      `-DCMAKE_RANLIB=${indexer}`,
      '-DCMAKE_SHARED_LINKER_FLAGS=-s',
      `-DCMAKE_JS_INC=${headers}`,
    ],
  ])
  run(`building ${name}`, 'cmake', [
    '--build',
    tree,
    '--target',
    'bertkit',
    '--parallel',
    `${os.availableParallelism()}`,
  ])
  return tree
}

function prebuild(zig, name) {
  const started = performance.now()
  const platform = PLATFORMS[name]
  const tree = build(zig, name)
  const built = path.join(tree, 'bertkit.node')
  const problems = [...problemsOf(built, platform), ...problemsOfObjects(path.join(tree, 'CMakeFiles'), platform)]
  if (problems.length > 0) throw new Stop(`prebuild: the addon for ${name}:\n  ${problems.join('\n  ')}`)
  const file = at('prebuilds', name, 'bertkit.node')
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.copyFileSync(built, `${file}.new`)
  fs.renameSync(`${file}.new`, file)
  const megabytes = (fs.statSync(file).size / 1e6).toFixed(2)
  console.log(`${path.relative(root, file)}: ${megabytes} MB, ${((performance.now() - started) / 1000).toFixed(0)} s`)
}

function prebuildAll(names) {
  const all = Object.keys(PLATFORMS)
  const unknown = names.find((name) => !all.includes(name))
  if (unknown) throw new Stop(`prebuild: expected ${all.join(', ')} but received ${unknown}`)
  const zig = findZig()
  if (!zig) throw new Stop('prebuild needs zig: pip install ziglang, or name a zig in ZIG')
  for (const [tool, debian] of [
    ['cmake', 'cmake'],
    ['ninja', 'ninja-build'],
    ['llvm-objdump', 'llvm'],
    ['llvm-readobj', 'llvm'],
  ])
    if (!works(tool)) throw new Stop(`prebuild needs ${tool} on the PATH (Debian, Ubuntu: apt install ${debian})`)
  for (const name of names.length > 0 ? names : all) prebuild(zig, name)
}

function prebuildHost() {
  const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js')
  // the headers that came with this Node, so that nothing is downloaded
  const nodedir = path.join(path.dirname(fs.realpathSync(process.execPath)), '..')
  const found = fs.existsSync(path.join(nodedir, 'include', 'node', 'node_api.h'))
  run(
    'prebuildify (by npm run build:prebuilt, since npm brings node-gyp)',
    process.execPath,
    [prebuildify, '--napi', '--strip', '--tag-libc', '--name', 'bertkit', '--target', process.versions.node],
    { env: { ...process.env, ...(found ? { npm_config_nodedir: nodedir } : {}) }, stdio: 'inherit' },
  )
}

try {
  const args = process.argv.slice(2)
  if (args.includes('--host')) prebuildHost()
  else prebuildAll(args)
} catch (error) {
  if (!(error instanceof Stop)) throw error
  console.error(error.message)
  process.exitCode = 1
}
