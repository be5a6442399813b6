// Builds the kernels for 64-bit ARM with a cross compiler and runs their programs under an emulator: isa_agree holds NEON to the scalar
// kernels of the same build, plan_fuzz runs mutated plans on both. Needs g++-aarch64-linux-gnu and qemu-user (Debian's names).
import { spawnSync } from 'node:child_process'
import { main, run, Stop } from './command.mjs'

const TREE = 'build/neon'
const COMPILER = 'aarch64-linux-gnu-g++'
const EMULATOR = 'qemu-aarch64'
const SYSROOT = '/usr/aarch64-linux-gnu'

main('check-neon', () => {
  for (const program of [COMPILER, EMULATOR, 'cmake'])
    if (spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0)
      throw new Stop(
        `expected ${program} on the path; on Debian: apt-get install cmake g++-aarch64-linux-gnu qemu-user`,
      )
  const shown = { stdio: 'inherit' }
  const cross = ['-DCMAKE_SYSTEM_NAME=Linux', '-DCMAKE_SYSTEM_PROCESSOR=aarch64', `-DCMAKE_CXX_COMPILER=${COMPILER}`]
  const emulator = `-DCMAKE_CROSSCOMPILING_EMULATOR=${EMULATOR};-L;${SYSROOT}`
  run(['cmake', '-S', '.', '-B', TREE, '-DBERTKIT_TESTS=ON', ...cross, emulator], shown)
  run(['cmake', '--build', TREE, '--parallel', '2'], shown)
  run(['ctest', '--test-dir', TREE, '--output-on-failure', '--verbose'], shown)
})
