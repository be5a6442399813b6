// Greedy search and sampling: GenerationMixin._sample of Transformers 5.18, generation/utils.py.
import { NonFiniteError } from '../errors.ts'
import { argmax } from '../scores.ts'
import { slices } from '../turns.ts'
import type { Decoder, Room } from './decoder.ts'
import type { Settings } from './options.ts'
import { processScores } from './processors.ts'
import { Draws } from './random.ts'
import { sampleSoftmax } from './select.ts'

/** A token as soon as it is chosen. */
export interface GeneratedToken {
  /** Of `sequences` in the result: prompt b's are b * numReturnSequences and those after it. */
  readonly sequence: number
  readonly prompt: number
  readonly token: number
  /** This is the sequence's last token. */
  readonly finished: boolean
}

export interface Prompt {
  readonly ids: readonly number[]
  /** Length at which its sequences end, prompt included. */
  readonly limit: number
  /** How many of the prompts before it are the same: it draws as if it were their next sequences. */
  readonly earlierCopies: number
}

/** One row's logits, checked: a model that overflowed has no next token. */
export function rowOf(logits: Float32Array, row: number, vocabSize: number, step: number): Float32Array {
  const scores = logits.subarray(row * vocabSize, (row + 1) * vocabSize)
  for (let i = 0; i < scores.length; i++)
    if (!Number.isFinite(scores[i]))
      throw new NonFiniteError(
        `The logits of new token ${step + 1} hold ${scores[i]}: the model overflows`,
        step + 1,
        'logits',
      )
  return scores
}

/** What the sequences of these prompts will need of a decoder. */
export const roomFor = (prompts: readonly Prompt[], rowsPerPrompt: number): Room => ({
  rows: prompts.length * rowsPerPrompt,
  length: Math.max(...prompts.map(({ limit }) => limit)),
})

interface Row {
  readonly prompt: number
  readonly sequence: number
  readonly ids: number[]
  readonly promptLength: number
  readonly limit: number
  readonly draws: Draws | undefined
}

/** Generates numReturnSequences sequences for each prompt, and returns them. Rows that have ended are left out of the work. */
export async function* sample(
  decoder: Decoder,
  prompts: readonly Prompt[],
  settings: Settings,
): AsyncGenerator<GeneratedToken, number[][]> {
  const { numReturnSequences, eosTokenIds, signal } = settings
  const rows: Row[] = prompts.flatMap(({ ids, limit, earlierCopies }, prompt) =>
    Array.from({ length: numReturnSequences }, (_, i) => ({
      prompt,
      sequence: prompt * numReturnSequences + i,
      ids: [...ids],
      promptLength: ids.length,
      limit,
      draws: settings.doSample ? new Draws(settings.seed, ids, earlierCopies * numReturnSequences + i) : undefined,
    })),
  )
  let active = rows
  // a prompt is one row of the decoder until its sequences part
  let sources = rows.map(({ prompt }) => prompt)
  let logits = await decoder.start(
    prompts.map(({ ids }) => ids),
    roomFor(prompts, numReturnSequences),
    signal,
  )
  const turn = slices()
  for (let step = 0; ; step++) {
    const tokens: number[] = []
    for (const [r, row] of active.entries()) {
      await turn()
      const shared = rowOf(logits, sources[r], decoder.vocabSize, step)
      // scores are written: sequences that still share a row need their own
      const scores = sources[r] === sources[r + 1] ? shared.slice() : shared
      processScores(scores, row.ids, row.promptLength, settings)
      tokens.push(row.draws ? sampleSoftmax(scores, row.draws.uniform(step)) : argmax(scores))
    }
    const open: number[] = []
    const chosen: GeneratedToken[] = []
    for (const [r, row] of active.entries()) {
      const token = tokens[r]
      row.ids.push(token)
      const finished = eosTokenIds.includes(token) || row.ids.length >= row.limit
      if (!finished) open.push(r)
      chosen.push({ sequence: row.sequence, prompt: row.prompt, token, finished })
    }
    yield* chosen
    if (open.length === 0) return rows.map(({ ids }) => ids)
    const from = open.map((r) => sources[r])
    active = open.map((r) => active[r])
    logits = await decoder.next(
      open.map((r) => tokens[r]),
      from,
      signal,
    )
    sources = active.map((_, r) => r)
  }
}
