// Workers of Node, Deno and Bun, and the binaries of a build.
import os from 'node:os'
import { Worker } from 'node:worker_threads'
import { BackendError, messageOf } from '../../errors.ts'
import { here } from '../here.ts'
import { loadBuilt, loadGiven } from './files.ts'
import { MOST_THREADS, type WasmHost } from './open.ts'
import type { WorkerPort } from './remote.ts'

/** The compiled script, from src/backend/wasm and from dist/backend/wasm alike. */
const SCRIPT = new URL('../../../dist/backend/wasm/worker-node.js', here(import.meta.url))

function startWorker(script: URL | string = SCRIPT): WorkerPort {
  let worker: Worker
  try {
    worker = new Worker(script, { execArgv: [] })
  } catch (cause) {
    const reason = messageOf(cause)
    throw new BackendError(`The worker of the wasm backend could not be started: ${reason}`, { cause })
  }
  worker.unref()
  return {
    post: (request, transfer) => worker.postMessage(request, transfer as ArrayBuffer[]),
    listen(reply, failed) {
      worker.on('message', reply)
      worker.on('error', (error: Error) => failed(`The worker of the wasm backend failed: ${error.message}`))
      worker.on('exit', (code) => failed(`The worker of the wasm backend ended with code ${code}`))
    },
    hold: (awaited) => (awaited ? worker.ref() : worker.unref()),
    terminate: () => void worker.terminate(),
  }
}

export const nodeWasm: WasmHost = {
  load: loadBuilt,
  open: loadGiven,
  startWorker,
  threads: Math.min(MOST_THREADS, os.availableParallelism()),
  sharesMemory: true,
}
