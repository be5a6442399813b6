// What happens to the scores of the next token before one is chosen: formulas, order and float32 rounding of Transformers 5.18,
// generation/logits_process.py and GenerationMixin._get_logits_processor.
import type { Settings } from './options.ts'
import { topIndices } from './select.ts'

const NEVER = Number.NEGATIVE_INFINITY

/** Scores of tokens that the sequence has, prompt included: divided by the penalty, multiplied when negative. */
export function penalizeRepetition(scores: Float32Array, sequence: Iterable<number>, penalty: number): void {
  // a scalar meets a float32 tensor as a float32
  const factor = Math.fround(penalty)
  for (const token of new Set(sequence))
    scores[token] = scores[token] < 0 ? scores[token] * factor : scores[token] / factor
}

/** Divides by the temperature. */
export function warpTemperature(scores: Float32Array, temperature: number): void {
  const divisor = Math.fround(temperature)
  for (let i = 0; i < scores.length; i++) scores[i] /= divisor
}

/** Keeps the k largest scores, and those that equal the last of them. */
export function keepTopK(scores: Float32Array, k: number): void {
  if (k >= scores.length) return
  const last = scores[topIndices(scores, k)[k - 1]]
  for (let i = 0; i < scores.length; i++) if (scores[i] < last) scores[i] = NEVER
}

/**
 * Keeps the most probable tokens that together have at least probability `p`, and no fewer than `least`. From the least probable on,
 * tokens go while they and all less probable ones have at most 1 - p together; of equal ones the lower index goes first.
 */
export function keepTopP(scores: Float32Array, p: number, least: number): void {
  const order = scores.filter((score) => score !== NEVER).sort()
  const largest = order[order.length - 1]
  let sum = 0
  for (const score of order) sum += Math.exp(score - largest)
  let removed = 0
  for (let cumulated = 0; removed < order.length - least; removed++) {
    cumulated += Math.exp(order[removed] - largest)
    if (cumulated / sum > 1 - p) break
  }
  if (removed === 0) return
  const border = order[removed - 1]
  // how many of those that equal the border go: as many as lie before it in the order
  let equal = removed - order.indexOf(border)
  for (let i = 0; i < scores.length; i++)
    if (scores[i] < border || (scores[i] === border && equal-- > 0)) scores[i] = NEVER
}

/**
 * Processes the scores of one row in place. `sequence` is the row's prompt and new tokens; `promptLength` of them are the prompt.
 * Scores are logits in greedy search and sampling, and log-probabilities in beam search.
 */
export function processScores(
  scores: Float32Array,
  sequence: readonly number[],
  promptLength: number,
  settings: Settings,
): void {
  const { repetitionPenalty, eosTokenIds, minLength, minNewTokens } = settings
  if (repetitionPenalty !== 1) penalizeRepetition(scores, sequence, repetitionPenalty)
  if (sequence.length < minLength || sequence.length - promptLength < minNewTokens)
    for (const token of eosTokenIds) scores[token] = NEVER
  if (!settings.doSample) return
  const { temperature, topK, topP, numBeams } = settings
  // beams need a token to go on with, whatever ends
  const least = numBeams === 1 ? 1 : eosTokenIds.length === 0 ? 2 : eosTokenIds.length + 1
  if (temperature !== 1) warpTemperature(scores, temperature)
  if (topK !== 0) keepTopK(scores, Math.max(topK, least))
  if (topP < 1) keepTopP(scores, topP, least)
}
