import { testPackage } from './packages.mjs'
import { installed } from './support.mjs'

const platform = process.platform === 'win32' ? 'windows' : process.platform
const machine = { x64: 'x64', arm64: 'aarch64' }[process.arch]
const file = process.platform === 'win32' ? 'bin/bun.exe' : 'bin/bun'
// where npm ran the package's script, the program was moved by it
const program = installed([`@oven/bun-${platform}-${machine}`, file], ['bun', 'bin/bun.exe'])

testPackage('Bun', program, [])
