// npm run build:cuda [-- --architectures 80,90a,100]: the CUDA library, into out/cuda/libbertkit_cuda.so. Needs no GPU.
//
// nvcc comes from PyPI into out/cuda/venv (cuda-requirements.txt), unless CUDACXX names one. Needs CMake, Ninja, g++ with its binutils, LLVM's
// tools (Debian: llvm), and python3 with venv; with zig (ZIG, `zig`, or `python3 -m ziglang`) the library runs on systems as old as those that the addons run on,
// else on this one and newer. What ptxas says of each kernel is in out/cuda/report.txt.
//
// Fails where a kernel has more variables than registers and may not (cuda-kernels.mjs), where the library exports anything but api.h's
// functions, or where it needs a library that not every system has.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { glibcOf, problemsOf } from './binaries.mjs'
import { main, root, run, Stop } from './command.mjs'
import { kernelsOf, reportOf, spillsOf } from './cuda-kernels.mjs'
import { hostPlatform, PLATFORMS } from './platforms.mjs'
import { findZig, zigSettings } from './zig.mjs'

const REQUIREMENTS = 'scripts/cuda-requirements.txt'
const LIBRARY = 'libbertkit_cuda.so'

const out = path.join(root, 'out', 'cuda')
const tree = path.join(root, 'build', 'cuda')

/** nvcc: that of CUDACXX, else of a virtual environment that has what the requirements name. */
function findNvcc() {
  if (process.env.CUDACXX) return process.env.CUDACXX
  const venv = path.join(out, 'venv')
  const stamp = path.join(venv, 'requirements.txt')
  const wanted = fs.readFileSync(path.join(root, REQUIREMENTS), 'utf8')
  if (!fs.existsSync(stamp) || fs.readFileSync(stamp, 'utf8') !== wanted) {
    fs.rmSync(venv, { recursive: true, force: true })
    run(['python3', '-m', 'venv', venv], {
      what: 'making a virtual environment (Debian, Ubuntu: apt install python3-venv)',
    })
    const pip = [path.join(venv, 'bin', 'pip'), 'install', '--quiet', '--disable-pip-version-check']
    run([...pip, '--require-hashes', '-r', REQUIREMENTS])
    fs.writeFileSync(stamp, wanted)
  }
  const [python] = fs.readdirSync(path.join(venv, 'lib'))
  return path.join(venv, 'lib', python, 'site-packages', 'nvidia', 'cu13', 'bin', 'nvcc')
}

/** Compiles and links; what the compilers warn of is shown. */
function build(nvcc, platform, zig, architectures) {
  const settings = {
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_SHARED_LINKER_FLAGS: '-s',
    BERTKIT_NVCC: nvcc,
    BERTKIT_CUDA_ARCHITECTURES: architectures.join(';'),
    ...(zig ? zigSettings(zig, platform.target, tree) : {}),
  }
  const definitions = Object.entries(settings).map(([setting, value]) => `-D${setting}=${value}`)
  run(['cmake', '-S', '.', '-B', tree, '-G', 'Ninja', ...definitions], { what: 'configuring' })
  const parallel = ['--parallel', `${os.availableParallelism()}`]
  run(['cmake', '--build', tree, '--target', 'bertkit_cuda', ...parallel], { what: 'building', stdio: 'inherit' })
  return path.join(tree, LIBRARY)
}

/** The functions that the addon looks for in a library. */
function functions() {
  const source = fs.readFileSync(path.join(root, 'native', 'library.h'), 'utf8')
  return [...source.matchAll(/^\s+F\((\w+)\)/gm)].map(([, name]) => `bk_${name}`)
}

/** What ptxas has said of the kernels of each source. */
const logs = () =>
  fs
    .readdirSync(path.join(tree, 'cuda'))
    .filter((file) => file.endsWith('.o.log'))
    .sort()
    .map((file) => ({
      source: file.replace('.o.log', '.cu'),
      log: fs.readFileSync(path.join(tree, 'cuda', file), 'utf8'),
    }))

const demangle = (names) =>
  execFileSync('c++filt', { input: names.join('\n'), encoding: 'utf8', maxBuffer: 1 << 28 })
    .trim()
    .split('\n')

main('cuda', () => {
  const started = performance.now()
  const { values } = parseArgs({ options: { architectures: { type: 'string', default: '80,90a,100' } } })
  const name = hostPlatform()
  const platform = PLATFORMS[name]
  if (platform?.libc !== 'glibc') throw new Stop(`expected linux-x64 or linux-arm64 but this is ${name}`)
  const zig = findZig()
  const built = build(findNvcc(), platform, zig, values.architectures.split(','))

  const kernels = logs().flatMap(({ source, log }) => kernelsOf(source, log, demangle))
  fs.mkdirSync(out, { recursive: true })
  fs.writeFileSync(path.join(out, 'report.txt'), reportOf(kernels))
  // without zig it runs on systems as new as this one
  const rules = { exports: functions(), ...(zig ? {} : { oldest: glibcOf(built) }) }
  const problems = [...problemsOf(built, platform, rules), ...spillsOf(kernels)]
  if (problems.length > 0) throw new Stop(`${path.relative(root, built)}:\n  ${problems.join('\n  ')}`)

  const placed = path.join(out, LIBRARY)
  fs.copyFileSync(built, `${placed}.new`)
  fs.renameSync(`${placed}.new`, placed)
  const megabytes = (fs.statSync(placed).size / 1e6).toFixed(2)
  const spilling = kernels.filter(({ stores, loads }) => stores + loads > 0).length
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  console.log(
    `${path.relative(root, placed)}: ${megabytes} MB, glibc ${glibcOf(placed)}, ${kernels.length} kernels, ${spilling} with spills (out/cuda/report.txt), ${seconds} s`,
  )
})
