import { testPackage } from './packages.mjs'
import { installed } from './support.mjs'

const platform = process.platform === 'win32' ? 'windows' : process.platform
const machine = { x64: 'x64', arm64: 'aarch64' }[process.arch]
const file = process.platform === 'win32' ? 'bin/bun.exe' : 'bin/bun'

testPackage('Bun', installed([`@oven/bun-${platform}-${machine}`], file), [])
