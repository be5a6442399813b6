// What the model takes: inputs as token ids, and labels as numbers.
import { ArgumentError } from '../../errors.ts'
import { quote } from '../../json.ts'

/** One tokenised input, by the names of the model's inputs. */
export interface Example {
  /** number[][]: the choices of a multiple-choice example. */
  readonly inputIds: number[] | number[][]
  readonly tokenTypeIds?: number[] | number[][]
  /** 0 hides a token, as of padding that an example has. */
  readonly attentionMask?: number[] | number[][]
  readonly positionIds?: number[] | number[][]
  /** A class, a number; one number for each column or label; one class for each token (`IGNORE_INDEX` for none). */
  readonly labels?: number | number[]
  /** 0: the second text follows the first; 1: it is a random one. */
  readonly nextSentenceLabel?: number
  /** Token at which the answer begins, and the one at which it ends; 0, [CLS], for none. */
  readonly startPositions?: number
  readonly endPositions?: number
}

/** One sequence of tokens: everything but multiple choice. */
export interface SequenceExample extends Example {
  readonly inputIds: number[]
  readonly tokenTypeIds?: number[]
  readonly attentionMask?: number[]
  readonly positionIds?: number[]
}

/** A sequence with a class, or `IGNORE_INDEX`, for each token. */
export interface LabelledTokens extends SequenceExample {
  readonly labels: number[]
}

/** @throws ArgumentError if `value` is no integer of at least `least`. */
export function checkAtLeast(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least) return
  throw new ArgumentError(`Expected ${name} to be an integer of at least ${least} but received ${quote(value)}`)
}

/** @throws ArgumentError if `value` is no number from 0 to 1. */
export function checkProbability(name: string, value: number): void {
  if (typeof value === 'number' && value >= 0 && value <= 1) return
  throw new ArgumentError(`Expected ${name} to be from 0 to 1 but received ${quote(value)}`)
}
