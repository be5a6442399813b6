// The link of a macOS addon with LLVM's ld64.lld, from what zig would have linked: zig's own linker takes no list of exports, and puts
// the C++ library's operators new and delete among them, which all images of a process would then share.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { run, Stop } from './command.mjs'

/** Older ones do not move the tables of exceptions with the code. */
const OLDEST = 15
const ARCHITECTURES = { x64: 'x86_64', arm64: 'arm64' }

/** ld64.lld, or that of a version of LLVM's, as Debian names them. */
export function findLld() {
  const names = ['ld64.lld', ...Array.from({ length: 10 }, (_, i) => `ld64.lld-${24 - i}`)]
  const found = names.find((name) => {
    const [, version] = /LLD (\d+)/.exec(spawnSync(name, ['--version'], { encoding: 'utf8' }).stdout ?? '') ?? []
    return Number(version) >= OLDEST
  })
  if (found) return found
  throw new Stop(`needs ld64.lld ${OLDEST} or newer on the PATH for macOS (Ubuntu: apt install lld; Debian 12: lld-16)`)
}

/** What zig links into `target`, which is built: the arguments of its linker. */
function argumentsOf(tree, target) {
  const commands = run(['ninja', '-C', tree, '-t', 'commands', target]).trim().split('\n')
  const env = { ...process.env, ZIG_VERBOSE_LINK: '1' }
  const { stderr } = spawnSync('sh', ['-c', commands.at(-1)], { cwd: tree, env, encoding: 'utf8' })
  const [, line] = /^zig ld (.*)$/m.exec(stderr) ?? []
  if (!line) throw new Stop(`zig does not say what it links:\n${stderr}`)
  return line.trim().split(/\s+/)
}

/** The names of macOS's library as zig has them, for an architecture that lld knows: what zig calls arm64e has the names of arm64. */
function writeLibrary(zig, folder) {
  const [, lib] = /\.lib_dir = "([^"]*)"/.exec(run([...zig, 'env'])) ?? []
  const text = fs.readFileSync(path.join(lib, 'libc', 'darwin', 'libSystem.tbd'), 'utf8')
  const known = text.replace(/,\s*arm64e\.\w+-\w+/g, '').replaceAll('arm64e-', 'arm64-')
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(path.join(folder, 'libSystem.tbd'), known)
}

/** Links CMake's `target` in `tree` anew, so that it exports these functions and nothing else. */
export function linkDarwin(zig, tree, target, { cpu }, exports) {
  const lld = findLld()
  const library = path.join(tree, 'libSystem')
  writeLibrary(zig, library)
  const shown = exports.flatMap((name) => ['-exported_symbol', `_${name}`])
  const own = ['-arch', ARCHITECTURES[cpu], '-dead_strip', '-S', '-x', '-L', library, ...shown]
  run([lld, ...argumentsOf(tree, target), ...own], { what: `linking ${target} with ${lld}`, cwd: tree })
}
