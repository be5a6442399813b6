// What a prebuilt addon, or the CUDA library, may be: its format and architecture, the libraries it needs, the symbols it exports and leaves undefined, the
// oldest system it runs on, and no instruction in the code for every CPU that only some of them have. LLVM's tools read all formats.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { GLIBC } from './platforms.mjs'

const root = path.join(import.meta.dirname, '..')
const { symbols } = createRequire(import.meta.url)('node-api-headers')
const NODE_API = new Set(Object.values(symbols.v9).flat())
/** What Node looks for in an addon. */
export const EXPORTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']

const FORMATS = { linux: 'elf64', darwin: 'Mach-O', win32: 'COFF' }
const ARCHITECTURES = { x64: 'x86_64', arm64: 'aarch64' }
/** Libraries that every installation of the system has. There is no C++ library among them: it is in the addon. */
const LIBRARIES = {
  glibc: /^(lib(c|m|dl|pthread|rt)\.so\.\d|ld-linux-(x86-64|aarch64)\.so\.\d)$/,
  musl: /^libc\.so$/,
  darwin: /^\/usr\/lib\/libSystem\.B\.dylib$/,
  win32: /^(kernel32|ntdll|api-ms-win-crt-[\w-]+)\.dll$/i,
}

const read = (tool, ...args) =>
  execFileSync(tool, args, { encoding: 'utf8', maxBuffer: 1 << 30, stdio: ['ignore', 'pipe', 'pipe'] })
const lines = (text) => text.split('\n').map((line) => line.trim())

/** Names behind `key:` in the report of llvm-readobj. */
const values = (report, key) =>
  lines(report).flatMap((line) => (line.startsWith(`${key}: `) ? [line.slice(key.length + 2)] : []))

function libraries(file) {
  const [, list = ''] = /NeededLibraries \[\n([^\]]*)\]/.exec(read('llvm-readobj', '--needed-libs', file)) ?? []
  // a Mach-O library is named first by itself
  return lines(list).filter((name) => name && !name.startsWith('@rpath/'))
}

/** Names of nm's table: `U name`, `address T name`, with @version behind it in an ELF file. */
const names = (file, ...flags) =>
  lines(read('llvm-nm', ...flags, file)).flatMap((line) => line.split(/\s+/).at(-1) || [])

function exportsOf(file, os) {
  if (os === 'win32') return values(read('llvm-readobj', '--coff-exports', file), 'Name')
  return os === 'linux' ? names(file, '-D', '--defined-only') : names(file, '--extern-only', '--defined-only')
}

function problemsOfExports(file, os, exports) {
  const found = exportsOf(file, os).map((name) =>
    os === 'darwin' && exports.includes(name.slice(1)) ? name.slice(1) : name,
  )
  const surplus = found.filter((name) => !exports.includes(name))
  const missing = exports.filter((name) => !found.includes(name))
  return [
    ...(missing.length > 0 ? [`does not export ${missing.join(', ')}`] : []),
    ...(surplus.length > 0 ? [`exports ${surplus.slice(0, 5).join(', ')}`] : []),
  ]
}

const newer = (a, b) => a.localeCompare(b, 'en', { numeric: true }) > 0

/** In an ELF file: the newest version of glibc that a symbol asks for; undefined where none does. */
export function glibcOf(file) {
  const found = read('llvm-readobj', '--version-info', file).matchAll(/Name: GLIBC_([\d.]+)/g)
  const versions = [...found].map(([, version]) => version)
  return versions.length === 0 ? undefined : versions.reduce((most, version) => (newer(version, most) ? version : most))
}

function problemsOfGlibc(file, { oldest }) {
  const newest = glibcOf(file)
  if (newest === undefined) return ['names no version of glibc']
  return newer(newest, oldest) ? [`needs glibc ${newest}, and ${oldest} is the oldest that must do`] : []
}

/** macOS: what is bound when the addon is loaded. Flat are the names that the loading program has, which are those of Node-API. */
function problemsOfMachO(file, { cpu }) {
  const bound = lines(['--bind', '--lazy-bind'].map((flag) => read('llvm-objdump', '--macho', flag, file)).join('\n'))
  const flat = bound.flatMap((line) => (line.includes('flat-namespace') ? [line.split(/\s+/).at(-1).slice(1)] : []))
  const strange = flat.filter((name) => !NODE_API.has(name))
  // the last words of the table's lines: names for which the first of all images in the process serves
  const shared = lines(read('llvm-objdump', '--macho', '--weak-bind', file)).flatMap(
    (line) => /\b0x[0-9A-F]+\b.*\s(\S+)$/.exec(line)?.[1] ?? [],
  )
  const foreign = shared.filter((name) => !name.includes('7bertkit'))
  const commands = read('llvm-objdump', '--macho', '--private-headers', file)
  const [, minimum] = /\n\s*minos ([\d.]+)/.exec(commands) ?? []
  return [
    ...(flat.length === 0 ? ['takes no function from the loading program'] : []),
    ...(strange.length > 0 ? [`wants ${strange.slice(0, 5).join(', ')} of the loading program`] : []),
    ...(foreign.length > 0 ? [`may share ${foreign.slice(0, 5).join(', ')} with other addons`] : []),
    ...(minimum !== '11.0' ? [`needs macOS ${minimum}, and 11.0 is the oldest that must do`] : []),
    // arm64 runs nothing that is not signed, be it by the linker
    ...(cpu === 'arm64' && !commands.includes('cmd LC_CODE_SIGNATURE') ? ['is not signed'] : []),
    ...(/name @rpath\/bertkit\.node/.test(commands) ? [] : ['is named by the folder that it was built in']),
  ]
}

function problemsOfUndefined(file) {
  const undefinedNames = names(file, '-D', '--undefined-only').filter((name) => /^(napi|node_api)_/.test(name))
  const strange = undefinedNames.filter((name) => !NODE_API.has(name))
  return strange.length > 0 ? [`wants ${strange.join(', ')}, which is not in Node-API 9`] : []
}

/**
 * What is wrong with an addon for a platform of platforms.mjs; nothing: an empty list. Of another library: `exports` is what it must export,
 * `oldest` the glibc that must do.
 */
export function problemsOf(file, { os, cpu, libc }, { exports = EXPORTS, oldest = GLIBC } = {}) {
  const [, format, arch] = /Format: (\S+).*\nArch: (\S+)/.exec(read('llvm-readobj', '--file-headers', file)) ?? []
  if (!format?.startsWith(FORMATS[os]) || arch !== ARCHITECTURES[cpu])
    return [`is ${format} for ${arch}: expected ${FORMATS[os]} for ${ARCHITECTURES[cpu]}`]
  const allowed = LIBRARIES[libc ?? os]
  const foreign = libraries(file).filter((name) => !allowed.test(name))
  const own = { glibc: problemsOfGlibc, darwin: problemsOfMachO }[libc ?? os]
  return [
    ...(foreign.length > 0 ? [`needs ${foreign.join(', ')}`] : []),
    ...problemsOfExports(file, os, exports),
    ...(os === 'linux' ? problemsOfUndefined(file) : []),
    ...(own ? own(file, { cpu, oldest }) : []),
    ...(fs.readFileSync(file).includes(root) ? ['holds the path of the folder that it was built in'] : []),
  ]
}

/** Instructions of AVX and later: their mnemonics begin with v, their registers are ymm and zmm. */
export const AVX = /^\s*[0-9a-f]+:\s+(?:v(?!err|erw|mcall|mlaunch|mresume|mxo)\w+|.*%[yz]mm)/

/**
 * What is wrong with the objects in a tree of CMake's. Those that every CPU of the architecture runs hold no instruction that only some have,
 * and those of one instruction set define their table and nothing else: what two objects define, the linker takes from either.
 */
export function problemsOfObjects(tree, { cpu }) {
  const objects = (target) =>
    fs
      .readdirSync(path.join(tree, `${target}.dir`), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.o(bj)?$/.test(file))
      .map((file) => path.join(tree, `${target}.dir`, file))
  const isas = fs.readdirSync(tree).flatMap((name) => /^(isa_\w+)\.dir$/.exec(name)?.[1] ?? [])
  const surplus = isas.flatMap((isa) =>
    objects(isa)
      .flatMap((object) => names(object, '--extern-only', '--defined-only'))
      .filter((name) => !name.includes(`kernels_${isa.slice(4)}`) && !name.startsWith('/'))
      .map((name) => `${isa} defines ${name}`),
  )
  if (cpu !== 'x64') return surplus
  const avx = (target) =>
    objects(target).flatMap((object) =>
      read('llvm-objdump', '-d', '--no-show-raw-insn', object)
        .split('\n')
        .filter((line) => AVX.test(line)),
    )
  const baseline = ['isa_scalar', 'bertkit_core', 'bertkit'].flatMap((target) =>
    avx(target)
      .slice(0, 1)
      .map((line) => `${target} holds AVX: ${line.trim()}`),
  )
  const blind = avx('isa_avx2').length > 0 ? [] : ['isa_avx2 holds no AVX: the search finds nothing']
  return [...surplus, ...baseline, ...blind]
}
