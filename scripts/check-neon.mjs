// Builds the kernels for 64-bit ARM with a cross compiler and runs their programs under an emulator: isa_agree holds NEON to the scalar
// kernels of the same build, plan_fuzz runs mutated plans on both. Needs g++-aarch64-linux-gnu and qemu-user (Debian's names).
import { spawnSync } from 'node:child_process'

const TREE = 'build/neon'
const COMPILER = 'aarch64-linux-gnu-g++'
const EMULATOR = 'qemu-aarch64'
const SYSROOT = '/usr/aarch64-linux-gnu'

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' })
  if (error || status !== 0) {
    console.error(`${command} failed${error ? `: ${error.message}` : ''}`)
    process.exit(1)
  }
}

for (const program of [COMPILER, EMULATOR, 'cmake'])
  if (spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0) {
    console.error(`Expected ${program} on the path; on Debian: apt-get install cmake g++-aarch64-linux-gnu qemu-user`)
    process.exit(1)
  }

run(
  'cmake',
  ...['-S', '.', '-B', TREE, '-DBERTKIT_TESTS=ON'],
  ...['-DCMAKE_SYSTEM_NAME=Linux', '-DCMAKE_SYSTEM_PROCESSOR=aarch64', `-DCMAKE_CXX_COMPILER=${COMPILER}`],
  `-DCMAKE_CROSSCOMPILING_EMULATOR=${EMULATOR};-L;${SYSROOT}`,
)
run('cmake', '--build', TREE, '--parallel', '2')
run('ctest', '--test-dir', TREE, '--output-on-failure', '--verbose')
