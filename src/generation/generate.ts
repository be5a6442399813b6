import { AbortedError, ArgumentError } from '../errors.ts'
import { Run } from '../run.ts'
import { slices } from '../turns.ts'
import { BeamSearch } from './beam.ts'
import type { Decoder } from './decoder.ts'
import {
  checkRows,
  type GenerateOptions,
  lengthLimit,
  type Origin,
  resolveOptions,
  resolvePrompts,
  type Settings,
} from './options.ts'
import { earlierCopies } from './random.ts'
import { type GeneratedToken, type Prompt, roomFor, rowOf, sample } from './sample.ts'

export interface GenerateOutput {
  /** Prompt and new tokens; numReturnSequences of the first prompt, best first in beam search, then those of the next. */
  readonly sequences: number[][]
  /** Of beam search: the log-probability of each sequence's new tokens over their number to the power of lengthPenalty. */
  readonly sequencesScores: number[] | null
}

/**
 * A generation: await it for its sequences, or loop over it for tokens as they come, of all sequences in turn (not with beam search,
 * where a token is not final before the end). It starts when either is first asked for, and runs once; leaving the loop early stops it.
 * After a loop, or beside one, awaiting it gives the sequences of the same run; a second loop is an ArgumentError.
 */
export class Generation extends Run<GeneratedToken, GenerateOutput> {
  readonly #beams: boolean

  constructor(tokens: AsyncGenerator<GeneratedToken, GenerateOutput>, beams: boolean) {
    super(tokens, 'This generation has no result: its loop was left before the end')
    this.#beams = beams
  }

  override [Symbol.asyncIterator](): AsyncGenerator<GeneratedToken, GenerateOutput> {
    if (this.#beams)
      throw new ArgumentError('generate: beam search gives no tokens before its end: await it, or set numBeams to 1')
    return super[Symbol.asyncIterator]()
  }
}

/**
 * Continues each prompt by greedy search, sampling or beam search: GenerationMixin.generate of Transformers 5.18. Prompts may have
 * different lengths, and each gets what it gets alone. `open` gives the decoder when the generation starts; `prompts` undefined:
 * one prompt, bosTokenId; `origin` for errors about options that are the model's. Errors: ArgumentError for a wrong option or prompt, AbortedError, NonFiniteError for logits that are not
 * finite.
 */
export function generate(
  open: () => Decoder | Promise<Decoder>,
  prompts: readonly (readonly number[])[] | undefined,
  options: GenerateOptions = {},
  origin?: Origin,
): Generation {
  return new Generation(run(open, prompts, options, origin), (options?.numBeams ?? 1) > 1)
}

async function* run(
  open: () => Decoder | Promise<Decoder>,
  inputIds: readonly (readonly number[])[] | undefined,
  options: GenerateOptions,
  origin: Origin | undefined,
): AsyncGenerator<GeneratedToken, GenerateOutput> {
  const opened = await open()
  try {
    const { vocabSize, maxLength } = opened
    const settings = resolveOptions(options, vocabSize, origin)
    const inputs = resolvePrompts(inputIds, settings, vocabSize)
    checkRows(inputs.length, settings, vocabSize)
    const copies = earlierCopies(inputs)
    const prompts = inputs.map((ids, b) => ({
      ids,
      limit: lengthLimit(ids, b, settings, maxLength),
      earlierCopies: copies[b],
    }))
    const decoder = stoppable(opened, settings.signal)
    if (settings.numBeams > 1) {
      const results = await searchBeams(decoder, prompts, settings)
      return {
        sequences: padded(
          results.map(({ ids }) => ids),
          settings.padTokenId,
        ),
        sequencesScores: results.map(({ score }) => score),
      }
    }
    const sequences = yield* sample(decoder, prompts, settings)
    return { sequences: padded(sequences, settings.padTokenId), sequencesScores: null }
  } finally {
    opened.end()
  }
}

/** The decoder, refusing to begin another step once the signal has fired. */
function stoppable(decoder: Decoder, signal: AbortSignal | undefined): Decoder {
  const check = () => {
    if (signal?.aborted) throw new AbortedError('The generation was aborted by its signal')
  }
  return {
    vocabSize: decoder.vocabSize,
    maxLength: decoder.maxLength,
    start: async (prompts, room) => {
      check()
      return decoder.start(prompts, room, signal)
    },
    next: async (tokens, from) => {
      check()
      return decoder.next(tokens, from, signal)
    },
    end: () => decoder.end(),
  }
}

/** Runs the searches of all prompts side by side: one row of the decoder for each beam of each prompt that is not done. */
async function searchBeams(
  decoder: Decoder,
  prompts: readonly Prompt[],
  settings: Settings,
): Promise<{ readonly ids: number[]; readonly score: number }[]> {
  const { numBeams, numReturnSequences, signal } = settings
  const { vocabSize } = decoder
  const searches = prompts.map((prompt) => new BeamSearch(prompt, settings))
  let logits = await decoder.start(
    prompts.map(({ ids }) => ids),
    roomFor(prompts, numBeams),
    signal,
  )
  const turn = slices()
  // decoder rows of each search: at first one for all of its beams
  let active = searches.map((search, b) => ({ search, rows: new Array<number>(numBeams).fill(b) }))
  for (let step = 0; active.length > 0; step++) {
    for (const { search, rows } of active) {
      await turn()
      search.advance(rows.map((row) => rowOf(logits, row, vocabSize, step)))
    }
    active = active.filter(({ search }) => !search.done)
    if (active.length === 0) break
    const steps = active.flatMap(({ search, rows }) =>
      search.steps.map(({ beam, token }) => ({ token, from: rows[beam] })),
    )
    logits = await decoder.next(
      steps.map(({ token }) => token),
      steps.map(({ from }) => from),
      signal,
    )
    active = active.map(({ search }, i) => ({
      search,
      rows: Array.from({ length: numBeams }, (_, beam) => i * numBeams + beam),
    }))
  }
  return searches.flatMap((search) => search.results(numReturnSequences))
}

/** Fills sequences at their ends to the length of the longest. */
function padded(sequences: number[][], padTokenId: number | undefined): number[][] {
  if (padTokenId === undefined) return sequences
  const longest = sequences.reduce((most, { length }) => Math.max(most, length), 0)
  return sequences.map((ids) => [...ids, ...new Array<number>(longest - ids.length).fill(padTokenId)])
}
