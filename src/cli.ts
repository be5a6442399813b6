// bertkit/cli: the command line for programs.
import './platform-node.ts'

export type { Io, Output } from './cli/io.ts'
export { EXIT, run } from './cli/program.ts'
