#!/usr/bin/env node
import '../platform-node.ts'
import { interruptionsOf } from './interruption.ts'
import { run } from './program.ts'

const { stdin, stdout, stderr } = process
run(process.argv.slice(2), { stdin, stdout, stderr, signal: interruptionsOf(process) }).then((code) => {
  process.exitCode ||= code
  // A read that nobody waits for any more would keep the process.
  stdin.destroy()
})
