#!/usr/bin/env node
import '../platform-node.ts'
import { EXIT, run } from './program.ts'

const controller = new AbortController()

function interrupt(): void {
  // A second Ctrl-C does not wait for the checkpoint.
  if (controller.signal.aborted) process.exit(EXIT.interrupted)
  // the display leaves its place first, and what is said stays below it
  controller.abort()
  process.stderr.write('\nbertkit: stopping; once more to stop at once\n')
}
process.on('SIGINT', interrupt)
process.on('SIGTERM', interrupt)

// The reader of a pipe may go away, as in `bertkit predict … | head`: that too is a reason to stop, and to save what was trained.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  controller.abort()
})

const { stdin, stdout, stderr } = process
run(process.argv.slice(2), { stdin, stdout, stderr, signal: controller.signal }).then((code) => {
  process.exitCode = code
  // A read that nobody waits for any more would keep the process.
  stdin.destroy()
})
