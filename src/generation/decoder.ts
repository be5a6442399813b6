/** What a generation will need at most. */
export interface Room {
  /** The same number for each prompt. */
  readonly rows: number
  /** Of the longest sequence, prompt included. */
  readonly length: number
}

/**
 * Runs a decoder over several hypotheses, one row each, keeping their keys and values between calls. A row also keeps what belongs
 * to its prompt, such as the encoder's states that it attends to.
 */
export interface Decoder {
  readonly vocabSize: number
  /** Longest sequence, prompt included. */
  readonly maxLength: number
  /**
   * Starts `prompts.length` rows. Returns the logits of each row's last token, [rows][vocabSize] one after another; the array
   * belongs to the caller, who may write into it. `room` is what all calls of `next` will stay within. An AbortedError when `signal` fires.
   */
  start(prompts: readonly (readonly number[])[], room: Room, signal?: AbortSignal): Promise<Float32Array>
  /**
   * Appends one token to each row, the rows being first reordered, dropped or duplicated: row r continues former row `from[r]`.
   * `tokens` and `from` are of the same length, at least 1. Returns as `start` does.
   */
  next(tokens: readonly number[], from: readonly number[], signal?: AbortSignal): Promise<Float32Array>
  /** Forgets all rows. The last call, made once whatever happened before; also when `start` was never called. */
  end(): void
}
