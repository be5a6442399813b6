// What ends a command before its time: signals of the process, and a standard output that takes nothing any more.
import { reasonOf } from '../formats/files.ts'

/** Why the process asks its command to stop: the reason of the AbortSignal. */
export class Interruption extends Error {
  constructor(
    readonly exitCode: number,
    /** Undefined: whoever asked for it knows. */
    readonly why?: string,
  ) {
    super(why)
  }
}

/** 128 and the number of the signal, as shells say it. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
/** The same of SIGPIPE, which Node ignores. */
const CLOSED = 141
const FAILED = 1

type Host = Pick<NodeJS.Process, 'on' | 'exit' | 'stdout' | 'stderr' | 'exitCode'>

/** Fires when the process is to end: what was trained is saved then. */
export function interruptionsOf(host: Host): AbortSignal {
  const controller = new AbortController()
  const { stderr, stdout } = host
  let wasAsked = false
  for (const [name, code] of Object.entries(SIGNALS)) {
    host.on(name as keyof typeof SIGNALS, () => {
      // A second Ctrl-C does not wait for the checkpoint. A terminal that is closed may send SIGHUP twice, and means no haste.
      if (wasAsked && name !== 'SIGHUP') host.exit(code)
      if (wasAsked) return
      wasAsked = true
      // the display leaves its place first, and what is said stays below it
      controller.abort(new Interruption(code))
      stderr.write('\nbertkit: stopping; once more to stop at once\n')
    })
  }
  // Progress is for whoever listens: nobody does any longer, or the file has no room, and the work goes on.
  stderr.on('error', () => {})
  // The reader of a pipe may go away, as in `bertkit predict … | head`: that too is a reason to stop, and to save what was trained.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (controller.signal.aborted) return
    if (error.code === 'EPIPE') return controller.abort(new Interruption(CLOSED, 'standard output was closed'))
    controller.abort(new Interruption(FAILED, 'standard output could not be written'))
    stderr.write(`bertkit: Cannot write standard output: ${reasonOf(error.code ?? error.message)}\n`)
    // the command may have ended well, but nobody has what it wrote
    host.exitCode = FAILED
  })
  return controller.signal
}
