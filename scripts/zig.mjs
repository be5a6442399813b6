// Finds zig, whose clang compiles for every platform from any.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

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
