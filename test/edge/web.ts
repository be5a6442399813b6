// A server of files with its own ways to go wrong, and the web platform on this machine's backends.
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Platform } from '../../src/platform.ts'
import { nodePlatform } from '../../src/platform-node.ts'
import { webPlatform } from '../../src/platform-web.ts'

export const testPlatform: Platform = { ...webPlatform, backends: nodePlatform.backends }

type Answer = (response: ServerResponse, bytes: Uint8Array) => void

/** Serves files from memory. Paths in `answers` are answered by hand; every request is noted. */
export class FileServer {
  readonly files = new Map<string, Uint8Array>()
  readonly answers = new Map<string, Answer>()
  readonly requests: string[] = []
  /** Answers that were not finished because the client went away. */
  abandoned = 0
  /** Open answers at the most. */
  most = 0
  #open = 0
  readonly #server: Server

  constructor() {
    this.#server = createServer((request, response) => {
      const name = request.url?.slice(1).replace(/\?.*/, '') ?? ''
      this.requests.push(request.url ?? '')
      this.most = Math.max(this.most, ++this.#open)
      response.on('close', () => {
        this.#open--
        if (!response.writableFinished) this.abandoned++
      })
      const bytes = this.files.get(name)
      const answer = this.answers.get(name)
      if (answer) answer(response, bytes ?? new Uint8Array())
      else if (bytes) response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
      else response.writeHead(404).end('no such file')
    })
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  reset(): void {
    this.files.clear()
    this.answers.clear()
    this.requests.length = 0
    this.abandoned = 0
    this.most = 0
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

/** A stream of bytes in chunks of `length`, made when they are asked for. */
export function streamOf(bytes: Uint8Array, length: number): ReadableStream<Uint8Array> {
  let at = 0
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (at >= bytes.length) return controller.close()
        controller.enqueue(bytes.slice(at, at + length))
        at += length
      },
    },
    { highWaterMark: 0 },
  )
}
