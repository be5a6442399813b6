// npm run build:wasm [-- NAME...]: the WebAssembly binaries, from the sources and flags that CMakeLists.txt lists, into dist/wasm.
//
//   bertkit.wasm, bertkit-threads.wasm                   SIMD128, by Emscripten's compiler (emcc)
//   bertkit-relaxed.wasm, bertkit-relaxed-threads.wasm   relaxed SIMD with the final opcodes, by zig (ZIG, `zig`, or `python3 -m ziglang`)
//                                                        or clang 19 or newer with its wasm-ld (CLANG, `clang++`)
//
// Every compiler only compiles and links: no JavaScript is generated, no C library is linked.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { main, root, run, Stop } from './command.mjs'
import { findZig } from './zig.mjs'

const lists = fs.readFileSync(path.join(root, 'CMakeLists.txt'), 'utf8').replace(/#.*/g, '')

/** The words of set(name …) in CMakeLists.txt. */
function list(name) {
  const [, words] = new RegExp(`^set\\(${name}\\s([^)]*)\\)`, 'm').exec(lists) ?? []
  if (words === undefined) throw new Error(`CMakeLists.txt sets no ${name}`)
  return words.trim().split(/\s+/)
}

/** What the binaries export: the functions of api.h and nothing else. */
const exported = () =>
  [...fs.readFileSync(path.join(root, 'native', 'api.h'), 'utf8').matchAll(/^BK_EXPORT [^(]*?\b(bk_\w+)\(/gm)].map(
    ([, name]) => `--export=${name}`,
  )

const BINARIES = {
  bertkit: { isa: 'simd128', threads: false },
  'bertkit-threads': { isa: 'simd128', threads: true },
  'bertkit-relaxed': { isa: 'relaxed', threads: false },
  'bertkit-relaxed-threads': { isa: 'relaxed', threads: true },
}

/** What a command prints, or undefined where it does not run. */
function output(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  return status === 0 ? stdout || stderr : undefined
}

const works = ([command, ...args]) => output(command, [...args, '--version']) !== undefined

/** Emscripten's compiler and the linker that belongs to it. */
function emscripten() {
  // Debian's emcc finds its parser only where NODE_PATH says
  if (fs.existsSync('/usr/share/nodejs')) process.env.NODE_PATH ??= '/usr/share/nodejs'
  const compile = [process.env.EMCC ?? 'emcc']
  if (!works(compile))
    throw new Stop(
      'needs Emscripten: put emcc on the PATH (Debian, Ubuntu: apt install emscripten), or name it in EMCC',
    )
  const setting = (name) => output('em-config', [name])?.trim() ?? ''
  const folder = setting('LLVM_ROOT')
  const linkers = [`wasm-ld${setting('LLVM_ADD_VERSION') && `-${setting('LLVM_ADD_VERSION')}`}`, 'wasm-ld']
  const link = linkers.map((name) => [path.join(folder, name)]).find(works)
  if (!link) throw new Stop(`found emcc, but not its linker: expected ${linkers.join(' or ')} in ${folder}`)
  return { name: 'Emscripten', compile, link }
}

/** zig, else a clang that knows the final opcodes. */
function final() {
  const zig = findZig()
  if (zig) return { name: 'zig', compile: [...zig, 'c++', '-target', 'wasm32-freestanding'], link: [...zig, 'wasm-ld'] }
  const compile = [process.env.CLANG ?? 'clang++']
  const [, version] = /clang version (\d+)/.exec(output(compile[0], ['--version']) ?? '') ?? []
  const link = [`wasm-ld-${version}`, 'wasm-ld'].map((name) => [name]).find(works)
  if (Number(version) >= 19 && link) return { name: 'clang', compile: [...compile, '--target=wasm32'], link }
  throw new Stop(
    'needs zig for relaxed SIMD (pip install ziglang, or name a zig in ZIG), or clang++ 19 or newer with its wasm-ld (CLANG)',
  )
}

/** Warnings are shown. */
const stdio = ['ignore', 'ignore', 'inherit']

function build(name, { isa, threads }, { name: toolchain, compile, link }, folder) {
  const flags = [...list('wasm_flags'), ...list(`wasm_${isa}_flags`), ...(threads ? list('wasm_threads_flags') : [])]
  const sources = [...list('runtime'), ...list('wasm_runtime'), ...list('wasm_isa')]
  const objects = sources.map((source) => {
    const object = path.join(folder, `${name}-${path.basename(source)}.o`)
    const own = source.endsWith('/libc.cc') ? ['-fno-builtin'] : []
    run([...compile, '-c', ...flags, ...own, source, '-o', object], { what: `${toolchain} on ${source}`, stdio })
    return object
  })
  const target = path.join(root, 'dist', 'wasm', `${name}.wasm`)
  const linkFlags = [...list('wasm_link_flags'), ...(threads ? list('wasm_threads_link_flags') : []), ...exported()]
  run([...link, ...linkFlags, ...objects, '-o', `${target}.new`], { what: `linking ${name}.wasm`, stdio })
  fs.renameSync(`${target}.new`, target)
  const bytes = fs.readFileSync(target)
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } })
  const kilobytes = (size) => `${(size / 1000).toFixed(1)} KB`
  console.log(
    `dist/wasm/${name}.wasm: ${kilobytes(bytes.length)}, gzip ${kilobytes(gzipSync(bytes, { level: 9 }).length)}, brotli ${kilobytes(brotli.length)} (${toolchain})`,
  )
}

main('build:wasm', () => {
  const names = process.argv.slice(2)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-wasm-'))
  try {
    const unknown = names.find((name) => !BINARIES[name])
    if (unknown) throw new Stop(`expected ${Object.keys(BINARIES).join(', ')} but received ${unknown}`)
    fs.mkdirSync(path.join(root, 'dist', 'wasm'), { recursive: true })
    fs.copyFileSync(path.join(root, 'native', 'wasm', 'binary.d.ts'), path.join(root, 'dist', 'wasm', 'binary.d.ts'))
    const wanted = Object.entries(BINARIES).filter(([name]) => names.length === 0 || names.includes(name))
    const toolchains = { simd128: emscripten, relaxed: final }
    const found = Object.fromEntries(
      [...new Set(wanted.map(([, { isa }]) => isa))].map((isa) => [isa, toolchains[isa]()]),
    )
    for (const [name, binary] of wanted) build(name, binary, found[binary.isa], folder)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
})
