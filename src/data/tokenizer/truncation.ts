// Which tokens of a sequence or a pair stay, and which windows the rest goes into.
import { ArgumentError } from '../../errors.ts'

/** Where tokens that are too many are taken from. */
export type TruncationSide = 'left' | 'right'

export type TruncationStrategy = 'longest_first' | 'only_first' | 'only_second'

/** Tokens `[from, to)` of a sequence. */
export interface Window {
  from: number
  to: number
}

/** The windows of a sequence: what stays, then what overflows, in order. */
export type Windows = [Window, ...Window[]]

const whole = (length: number): Windows => [{ from: 0, to: length }]

const mirrored = ({ from, to }: Window, length: number): Window => ({ from: length - to, to: length - from })

/**
 * Cuts `length` tokens into windows of at most `limit`, each sharing `stride` tokens with the one before: from the first token on, or,
 * cut on the left, from the last one back. With no room at all the whole sequence overflows as one window.
 */
export function cut(length: number, limit: number, stride: number, side: TruncationSide): Windows {
  const [kept, ...rest] = cutRight(length, limit, stride)
  if (side === 'right') return [kept, ...rest]
  return [mirrored(kept, length), ...rest.map((window) => mirrored(window, length))]
}

function cutRight(length: number, limit: number, stride: number): Windows {
  if (limit >= length) return whole(length)
  if (limit === 0) return [{ from: 0, to: 0 }, ...whole(length)]
  if (stride >= limit) {
    throw new ArgumentError(
      `Expected stride below ${limit}, the tokens left for a truncated sequence, but received ${stride}`,
    )
  }
  const windows: Windows = [{ from: 0, to: limit }]
  for (let from = limit - stride, to = limit; to < length; from += limit - stride) {
    to = Math.min(from + limit, length)
    windows.push({ from, to })
  }
  return windows
}

/** Lengths that two sequences are cut to: the longer one first, then both to a half each. */
function longestFirst(first: number, second: number, room: number): [number, number] {
  const shorter = Math.min(first, second)
  const longer = shorter > room ? shorter : Math.max(shorter, room - shorter)
  const half = Math.floor(room / 2)
  const [least, most] = shorter + longer > room ? [half, room - half] : [shorter, longer]
  return first <= second ? [least, most] : [most, least]
}

/**
 * Windows of a sequence of `first` tokens and, if `second` is not null, of its pair, so that what stays of both has at
 * most `room` tokens; as `truncate_encodings` of the Rust library (src/utils/truncation.rs).
 * @throws ArgumentError if the strategy cannot make it fit, or `stride` leaves no progress.
 */
export function truncate(
  first: number,
  second: number | null,
  room: number,
  strategy: TruncationStrategy,
  stride: number,
  side: TruncationSide,
): { first: Windows; second: Windows | null } {
  const part = (length: number, limit: number) => cut(length, limit, stride, side)
  const surplus = first + (second ?? 0) - room
  if (surplus <= 0) return { first: whole(first), second: second === null ? null : whole(second) }
  if (room === 0) return { first: part(first, 0), second: second === null ? null : part(second, 0) }
  if (strategy === 'longest_first') {
    if (second === null) return { first: part(first, room), second: null }
    const [one, two] = longestFirst(first, second, room)
    return { first: part(first, one), second: part(second, two) }
  }
  if (strategy === 'only_second' && second === null) {
    throw new ArgumentError("Expected a pair for truncation 'only_second' but received one sequence that is too long")
  }
  const length = strategy === 'only_first' ? first : (second ?? 0)
  if (length <= surplus) {
    throw new ArgumentError(
      `Expected truncation '${strategy}' to remove ${surplus} tokens, but that sequence has only ${length}`,
    )
  }
  const windows = part(length, length - surplus)
  if (strategy === 'only_first') return { first: windows, second: second === null ? null : whole(second) }
  return { first: whole(first), second: windows }
}
