// What a recorded step reads of a batch, and what it shows of itself.
import type { Value } from '../graph/graph.ts'

/** An encoder's output for a decoder to look at. */
export interface EncoderValues {
  /** [keys, H]; undefined where a cache has what the layers make of it. */
  readonly states: Value | undefined
  /** Borders of the sequences, [sequences + 1]. */
  readonly cuKeys: Value
  /** 0 hides a row as a key, [keys]; undefined: nothing is hidden. */
  readonly keyMask: Value | undefined
}

/** Rows of the batch that a loss or a pooler reads, when nobody reads the others. */
export interface RowSubset {
  /** [subset], ascending. */
  readonly index: Value
  /** Borders of the sequences among them, [sequences + 1]. */
  readonly cuRows: Value
}

/** Keys and values that a decoder keeps from token to token, so that each is computed once. */
export interface CacheValues {
  /** prefill: whole prompts fill it; decode: more tokens of each sequence, which read it. */
  readonly stage: 'prefill' | 'decode'
  /** Of each layer, [cached, 2 H]: the room of each sequence one after another. */
  readonly layers: readonly Value[]
  /** Of each layer, over the encoder's rows, [keys, 2 H]. */
  readonly encoderLayers: readonly Value[]
  /** Where in the cache each token's key and value go, [tokens]. */
  readonly rows: Value
  /** 0, 1, 2, ... [tokens] */
  readonly everyToken: Value
  /** Which rows of the cache hold something, [cached]. */
  readonly filled: Value
  /** Borders of the sequences' room, [sequences + 1]. */
  readonly cuCached: Value
  /** 0, 1, 2, ... [keys], with an encoder. */
  readonly everyKey: Value | undefined
  /** Borders of each prompt's sequences among the tokens, [prompts + 1], with an encoder. */
  readonly cuPrompts: Value | undefined
}

/** What a batch brings: one row per token, and the borders of the sequences. */
export interface BatchValues {
  readonly ids: Value
  readonly typeIds: Value
  readonly positionIds: Value
  /** [sequences + 1] */
  readonly cuSeqlens: Value
  /** 0 hides a token as a key; undefined: nothing is hidden. */
  readonly keyMask: Value | undefined
  /** What the last layer computes; undefined: every row. */
  readonly only: RowSubset | undefined
  /** Each sequence's first row among those of the last hidden state, [sequences]; undefined: they are the last hidden state. */
  readonly firstTokens: Value | undefined
  /** Rows with a label among those of the last hidden state, [labelled]; undefined: they are the last hidden state. */
  readonly labelledRows: Value | undefined
  readonly encoder: EncoderValues | undefined
  /** In generation only. */
  readonly cache: CacheValues | undefined
  /** Borders of each example's choices among the sequences, [labelled + 1]; in multiple choice only. */
  readonly cuChoices: Value | undefined
}

/** What the caller wants to see beside the result. */
export interface Observed {
  /** [tokens, H]: after the embeddings and after each layer. */
  readonly hiddenStates?: Value[]
  /** [A, L, L] of each sequence, for each layer. */
  readonly attentions?: Value[]
  /** [A, L, keys] of each sequence, for each layer with cross-attention. */
  readonly crossAttentions?: Value[]
}
