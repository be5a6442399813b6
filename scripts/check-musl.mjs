// Builds the kernels' programs for musl with zig, linked statically, and runs them: isa_agree, plan_fuzz, and pool_stress on threads with the
// stacks that musl gives them, a sixtieth of glibc's.
import path from 'node:path'
import { main, root, run, Stop } from './command.mjs'
import { PLATFORMS } from './platforms.mjs'
import { findZig, zigSettings } from './zig.mjs'

await main('check-musl', () => {
  const zig = findZig()
  if (!zig) throw new Stop('expected zig: pip install ziglang, or name a zig in ZIG')
  const tree = path.join(root, 'build', 'musl')
  const { target } = PLATFORMS['linux-x64-musl']
  const settings = {
    BERTKIT_TESTS: 'ON',
    CMAKE_SYSTEM_NAME: 'Linux', // another one than this, to CMake
    CMAKE_SYSTEM_PROCESSOR: target.split('-')[0],
    CMAKE_EXE_LINKER_FLAGS: '-static',
    ...zigSettings(zig, target, tree),
  }
  const definitions = Object.entries(settings).map(([setting, value]) => `-D${setting}=${value}`)
  run(['cmake', '-S', '.', '-B', tree, '-G', 'Ninja', ...definitions])
  run(['cmake', '--build', tree])
  run(['ctest', '--test-dir', tree, '--output-on-failure', '--verbose'], { stdio: 'inherit' })
})
