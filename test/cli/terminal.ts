import { WriteStream } from 'node:tty'
import type { Terminal } from '../../src/cli/live-area.ts'

/** An escape sequence, or a character. */
const TOKEN = new RegExp(`${'\x1b'}\\[[?\\d;]*[A-Za-z]|.`, 'gsu')

/** A terminal as far as the display uses one; anything else that is written to it is an error. */
export class FakeTerminal implements Terminal {
  readonly isTTY = true
  columns: number
  rows: number
  /** Everything that was written. */
  raw = ''
  readonly listeners = new Set<() => void>()
  #lines: string[][] = [[]]
  #row = 0
  #column = 0
  #wraps = true
  readonly #env: Record<string, string>

  constructor(columns = 80, rows = 24, env: Record<string, string> = { TERM: 'xterm-256color' }) {
    this.columns = columns
    this.rows = rows
    this.#env = env
  }

  /** Node's own judgement of the environment. */
  hasColors(): boolean {
    return WriteStream.prototype.hasColors.call(this, 16, this.#env)
  }

  getColorDepth(env: Record<string, string>): number {
    return WriteStream.prototype.getColorDepth(env)
  }

  on(_event: 'resize', listener: () => void): void {
    this.listeners.add(listener)
  }

  off(_event: 'resize', listener: () => void): void {
    this.listeners.delete(listener)
  }

  write(text: string): void {
    this.raw += text
    for (const [token] of text.matchAll(TOKEN)) this.#take(token)
  }

  /** The rows from the first that was written, also those that have scrolled away, up to the last that is not empty. */
  get screen(): string[] {
    const lines = this.#lines.map((line) =>
      Array.from(line, (each) => each ?? ' ')
        .join('')
        .trimEnd(),
    )
    return lines.slice(0, lines.findLastIndex((line) => line !== '') + 1)
  }

  #take(token: string): void {
    const up = /^.\[(\d+)A$/.exec(token)?.[1]
    if (up !== undefined) this.#row = Math.max(this.#row - Number(up), this.#lines.length - this.rows, 0)
    else if (token === '\r') this.#column = 0
    else if (token === '\n') this.#feed()
    else if (token === '\x1b[J') this.#erase()
    else if (token === '\x1b[?7l' || token === '\x1b[?7h') this.#wraps = token.endsWith('h')
    else if (token < ' ' && !/^.\[\d+m$/.test(token)) throw new Error(`The display wrote ${JSON.stringify(token)}`)
    else if (token.length <= 2) this.#put(token)
  }

  #feed(): void {
    this.#row++
    this.#column = 0
    if (this.#row === this.#lines.length) this.#lines.push([])
  }

  #erase(): void {
    this.#lines.length = this.#row + 1
    this.#lines[this.#row].length = this.#column
  }

  #put(character: string): void {
    if (this.#column === this.columns) {
      if (!this.#wraps) throw new Error('A line that must not wrap is too long')
      this.#feed()
    }
    this.#lines[this.#row][this.#column++] = character
  }
}
