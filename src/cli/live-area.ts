import { type Line, painted, plain } from './display.ts'
import type { Output } from './io.ts'

/** A stream that may know the size of its window and its colours, as Node's tty.WriteStream does. */
export interface Terminal extends Output {
  readonly columns?: number
  readonly rows?: number
  /** Respects NO_COLOR, FORCE_COLOR and TERM. */
  hasColors?(): boolean
  on?(event: 'resize', listener: () => void): unknown
  off?(event: 'resize', listener: () => void): unknown
}

const NO_WRAP = '\x1b[?7l'
const WRAP = '\x1b[?7h'
const ERASE_BELOW = '\x1b[J'

/**
 * The last rows of a terminal, drawn again and again, while other lines scroll away above them. The cursor rests in the row below and
 * stays visible, so that nothing needs to be put right when the process is killed, and what others write starts in a row of its own.
 */
export class LiveArea {
  readonly #terminal: Terminal
  readonly #colour: boolean
  #rows = 0

  constructor(terminal: Terminal) {
    this.#terminal = terminal
    this.#colour = terminal.hasColors?.() ?? false
  }

  /** A terminal that does not say how wide it is says 0. The last column stays free: some terminals wrap when it is filled. */
  get width(): number {
    return (this.#terminal.columns || 80) - 1
  }

  /** Replaces the area by `lines`, under what `above` says for good. One write: a terminal shows no half of it. */
  draw(lines: readonly Line[], above = ''): void {
    const shown = lines.slice(0, Math.max(1, (this.#terminal.rows || 24) - 1))
    const text = shown.map((line) => `${this.#colour ? painted(line) : plain(line)}\n`).join('')
    // A terminal that wraps old lines anew when it becomes narrower keeps pieces of them; to erase those too would, on one that does
    // not, erase lines that were said for good.
    const toTop = this.#rows === 0 ? '' : `\r\x1b[${this.#rows}A${ERASE_BELOW}`
    this.#terminal.write(`${toTop}${above}${text === '' ? '' : `${NO_WRAP}${text}${WRAP}`}`)
    this.#rows = shown.length
  }

  /** Leaves the area where it is: someone else has written below it. */
  leave(): void {
    this.#rows = 0
  }
}
