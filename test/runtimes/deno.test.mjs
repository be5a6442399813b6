import { testPackage } from './packages.mjs'
import { installed } from './support.mjs'

const machine = { x64: 'x64', arm64: 'arm64' }[process.arch]
const names = {
  linux: `@deno/linux-${machine}-glibc`,
  darwin: `@deno/darwin-${machine}`,
  win32: `@deno/win32-${machine}`,
}
const file = process.platform === 'win32' ? 'deno.exe' : 'deno'

testPackage('Deno', installed([names[process.platform], file]), [
  'run',
  '--quiet',
  '--no-prompt',
  '--allow-read',
  '--allow-env',
  '--allow-net',
  '--allow-ffi',
])
