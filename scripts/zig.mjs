// Finds zig, whose clang compiles for every platform from any.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { root, run } from './command.mjs'

/** ZIG, `zig`, or `python3 -m ziglang`, as the words of a command; undefined where there is none. */
export function findZig() {
  const candidates = [...(process.env.ZIG ? [[process.env.ZIG]] : []), ['zig'], ['python3', '-m', 'ziglang']]
  return candidates.find(([command, ...args]) => spawnSync(command, [...args, 'version']).status === 0)
}

/**
 * Empties a folder of a build unless what is in it was built with the same `toolchain`: build systems look at times of sources, and not at
 * which compiler is behind a wrapper.
 */
export function emptyUnlessOf(folder, toolchain) {
  const stamp = path.join(folder, 'toolchain')
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === toolchain) return
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(stamp, toolchain)
}

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

/** CMake's settings to compile for a target of zig's in the folder `tree`, which is emptied where another compiler has built in it. */
export function zigSettings(zig, target, tree) {
  // the same bytes from any folder
  const flags = ['-target', target, `-ffile-prefix-map=${root}=.`, '-Wno-unknown-warning-option']
  emptyUnlessOf(tree, [...zig, run([...zig, 'version']).trim(), ...flags].join('\n'))
  return {
    CMAKE_CXX_COMPILER: wrapper(path.join(tree, 'zig-c++'), [...zig, 'c++', ...flags], TRANSLATE),
    CMAKE_AR: wrapper(path.join(tree, 'zig-ar'), [...zig, 'ar']),
    CMAKE_RANLIB: wrapper(path.join(tree, 'zig-ranlib'), [...zig, 'ranlib']),
  }
}
