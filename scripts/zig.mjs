// Finds zig, whose clang compiles for every platform from any.
import { spawnSync } from 'node:child_process'

/** ZIG, `zig`, or `python3 -m ziglang`, as the words of a command; undefined where there is none. */
export function findZig() {
  const candidates = [...(process.env.ZIG ? [[process.env.ZIG]] : []), ['zig'], ['python3', '-m', 'ziglang']]
  return candidates.find(([command, ...args]) => spawnSync(command, [...args, 'version']).status === 0)
}
