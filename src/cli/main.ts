#!/usr/bin/env node
import { EXIT, run } from './program.ts'

const controller = new AbortController()

function interrupt(): void {
  // A second Ctrl-C does not wait for the checkpoint.
  if (controller.signal.aborted) process.exit(EXIT.interrupted)
  process.stderr.write('\nbertkit: stopping; once more to stop at once\n')
  controller.abort()
}
process.on('SIGINT', interrupt)
process.on('SIGTERM', interrupt)

// `bertkit predict … | head` closes the pipe early: there is nobody left to write for.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.done)
  throw error
})

const { stdin, stdout, stderr } = process
run(process.argv.slice(2), { stdin, stdout, stderr, signal: controller.signal }).then((code) => {
  process.exitCode = code
})
