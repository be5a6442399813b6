// Beam search: GenerationMixin._beam_search of Transformers 5.18, generation/utils.py, for one prompt at a time, with its scores in
// float32. There a prompt whose search is over waits for the others and its new hypotheses are barred; here it leaves the batch, which
// comes to the same. Where torch.topk leaves the order of equal scores open, the lower beam and then the lower token come first.
import { candidatesPerBeam, type Settings } from './options.ts'
import { processScores } from './processors.ts'
import { Draws } from './random.ts'
import type { Prompt } from './sample.ts'
import { logSoftmax, topIndices } from './select.ts'

/** What scores carry that must not be chosen. In float32, adding a log-probability leaves it as it is. */
const HOPELESS = -1e9
const round = Math.fround

/** A running hypothesis, or a finished one. */
interface Hypothesis {
  /** New tokens. */
  readonly tokens: readonly number[]
  /** Sum of log-probabilities; of finished ones, divided by the length to the power of the length penalty. */
  readonly score: number
  readonly finished: boolean
}

interface Candidate {
  readonly beam: number
  readonly token: number
  readonly score: number
  /** Ends its sequence: by an end token, or by its length. */
  readonly ends: boolean
}

/** The state of one prompt. */
export class BeamSearch {
  #running: Hypothesis[]
  #finished: Hypothesis[]
  #done = false
  /** Of each running hypothesis: the beam that it continues, and its last token. */
  #steps: { readonly beam: number; readonly token: number }[] = []
  readonly #prompt: Prompt
  readonly #settings: Settings
  readonly #draws: Draws | undefined

  constructor(prompt: Prompt, settings: Settings) {
    this.#prompt = prompt
    this.#settings = settings
    this.#draws = settings.doSample ? new Draws(settings.seed, prompt.ids, prompt.earlierCopies) : undefined
    const { numBeams } = settings
    const empty = (score: number): Hypothesis => ({ tokens: [], score, finished: false })
    // the beams start alike: only one of them may be continued
    this.#running = Array.from({ length: numBeams }, (_, i) => empty(i === 0 ? 0 : HOPELESS))
    this.#finished = Array.from({ length: numBeams }, () => empty(HOPELESS))
  }

  get done(): boolean {
    return this.#done
  }

  /** Of each beam: which former beam it continues, and with which token. */
  get steps(): readonly { readonly beam: number; readonly token: number }[] {
    return this.#steps
  }

  /** The finished hypotheses, best first: prompt and new tokens. */
  results(count: number): { readonly ids: number[]; readonly score: number }[] {
    return this.#finished.slice(0, count).map(({ tokens, score }) => ({ ids: [...this.#prompt.ids, ...tokens], score }))
  }

  /** One step from the logits of each beam, which it overwrites; the beams of the first step have the same. */
  advance(logits: readonly Float32Array[]): void {
    const { numBeams, earlyStopping } = this.#settings
    const candidates = this.#candidates(logits)
    const length = this.#running[0].tokens.length + 1
    const parents = this.#running
    const extend = ({ beam, token }: Candidate) => [...parents[beam].tokens, token]

    const scores = Float32Array.from(candidates, ({ score, ends }) => score + (ends ? HOPELESS : 0))
    const next = topIndices(scores, numBeams)
    const finished = this.#merge(candidates, length, extend)
    this.#steps = next.map((c) => candidates[c])
    this.#running = next.map((c) => ({ tokens: extend(candidates[c]), score: scores[c], finished: false }))
    this.#finished = finished

    const full = this.#finished.every((hypothesis) => hypothesis.finished)
    this.#done = !this.#mayImprove(length) || (full && earlyStopping === true) || candidates.every(({ ends }) => ends)
  }

  /** The best continuations of all beams together, best first, or as many drawn without replacement in the order of the draws. */
  #candidates(logits: readonly Float32Array[]): Candidate[] {
    const { numBeams, eosTokenIds } = this.#settings
    const { ids, limit } = this.#prompt
    const vocabSize = logits[0].length
    const step = this.#running[0].tokens.length
    const sums = new Float32Array(numBeams * vocabSize)
    for (const [beam, { tokens, score }] of this.#running.entries()) {
      const scores = logits[beam]
      if (step > 0 || beam === 0) {
        logSoftmax(scores)
        processScores(scores, [...ids, ...tokens], ids.length, this.#settings)
      }
      for (let token = 0; token < vocabSize; token++) sums[beam * vocabSize + token] = scores[token] + score
    }
    const draws = this.#draws
    // The largest of log p + Gumbel noise are a sample without replacement (Kool et al., "Stochastic Beams", 2019).
    const keys = draws
      ? sums.map((sum, i) => (sum === Number.NEGATIVE_INFINITY ? sum : sum + draws.gumbel(step, i)))
      : sums
    return topIndices(keys, candidatesPerBeam(this.#settings) * numBeams).map((i) => {
      const token = i % vocabSize
      return {
        beam: (i - token) / vocabSize,
        token,
        score: sums[i],
        ends: eosTokenIds.includes(token) || ids.length + step + 1 >= limit,
      }
    })
  }

  /** The best of what had finished and what finishes now, `length` tokens long: only the first numBeams candidates count. */
  #merge(
    candidates: readonly Candidate[],
    length: number,
    extend: (candidate: Candidate) => readonly number[],
  ): Hypothesis[] {
    const { numBeams, lengthPenalty } = this.#settings
    const divisor = round(length ** lengthPenalty)
    const scored = candidates.map((candidate, i) => {
      const finished = candidate.ends && i < numBeams
      const score = round(candidate.score / divisor)
      return { candidate, score: finished ? score : round(score + HOPELESS), finished }
    })
    const scores = [...this.#finished, ...scored].map(({ score }) => score)
    return topIndices(scores, numBeams).map((i) => {
      if (i < numBeams) return this.#finished[i]
      const { candidate, score, finished } = scored[i - numBeams]
      return { tokens: extend(candidate), score, finished }
    })
  }

  /** Whether the best running hypothesis, at its best imaginable length, beats a finished one. `length`: of its new tokens now. */
  #mayImprove(length: number): boolean {
    const { lengthPenalty, earlyStopping } = this.#settings
    const atLimit = earlyStopping === 'never' && lengthPenalty > 0
    const hypothetical = atLimit ? this.#prompt.limit - this.#prompt.ids.length : length
    const best = round(this.#running[0].score / round(hypothetical ** lengthPenalty))
    const worst = Math.min(...this.#finished.map(({ score }) => score))
    return this.#finished.some(({ finished }) => best > (finished ? worst : HOPELESS))
  }
}
