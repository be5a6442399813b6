// Which tokens of a sequence or a pair stay, and which windows the rest goes into.
import { ArgumentError } from '../../errors.ts'

export type TruncationStrategy = 'longest_first' | 'only_first' | 'only_second'

/** Tokens `[from, to)` of a sequence. */
export interface Window {
  from: number
  to: number
}

/** The windows of a sequence: what stays, then what overflows, in order. */
export type Windows = [Window, ...Window[]]

const whole = (length: number): Windows => [{ from: 0, to: length }]

/**
 * Cuts `length` tokens into windows of at most `limit`, each sharing `stride` tokens with the one before.
 * With no room at all the whole sequence overflows as one window.
 */
export function cut(length: number, limit: number, stride: number): Windows {
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
): { first: Windows; second: Windows | null } {
  const surplus = first + (second ?? 0) - room
  if (surplus <= 0) return { first: whole(first), second: second === null ? null : whole(second) }
  if (room === 0) return { first: cut(first, 0, stride), second: second === null ? null : cut(second, 0, stride) }
  if (strategy === 'longest_first') {
    if (second === null) return { first: cut(first, room, stride), second: null }
    const [one, two] = longestFirst(first, second, room)
    return { first: cut(first, one, stride), second: cut(second, two, stride) }
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
  const windows = cut(length, length - surplus, stride)
  if (strategy === 'only_first') return { first: windows, second: second === null ? null : whole(second) }
  return { first: whole(first), second: windows }
}
