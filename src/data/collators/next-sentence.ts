// Pairs of texts for next-sentence prediction. Google's create_pretraining_data.py (github.com/google-research/bert):
// create_instances_from_document and truncate_seq_pair.

import type { RandomStream } from '../../random.ts'
import { slices } from '../../turns.ts'
import { checkAtLeast, checkProbability, type SequenceExample } from '../features/example.ts'
import { pairOf } from '../features/pair.ts'
import type { Source, TokenizedDocument } from '../features/passages.ts'
import type { BertTokenizer } from '../tokenizer/tokenizer.ts'
import { sentencesOf } from './sentences.ts'

/** Google's. */
export const SHORT_SEQ_PROB = 0.1

export interface NextSentenceOptions {
  /** Tokens of a pair, [CLS] and both [SEP] included. */
  readonly maxLength: number
  /** Share of documents whose pairs aim at a random, shorter length; default 0.1. */
  readonly shortSeqProb?: number
  /**
   * Tokens of documents that are kept to take random texts from, about as many before the current document as after it; default 2^20.
   * A corpus with fewer is kept whole, and then every other document is as likely. Infinity for a corpus that is in memory anyway.
   */
  readonly reservoirTokens?: number
}

export interface NextSentenceExample extends SequenceExample {
  readonly tokenTypeIds: number[]
  /** 0: the second text follows the first in its document; 1: it is from a random other one. */
  readonly nextSentenceLabel: 0 | 1
}

type Segments = readonly (readonly number[])[]

/** Documents of which random texts are taken, the current one among them. */
interface Neighbours {
  readonly documents: readonly Segments[]
  readonly current: number
}

/**
 * `[CLS] A [SEP] B [SEP]` for all texts of the documents, in their order. B follows A, or in half of the cases comes from a random other
 * document. A and B are made of passages; one that alone would fill over half of a pair, or is all of its document, is cut into
 * sentences first, since a text that cannot be split has nothing that follows. Where even that gives one sentence, B is random, as
 * in Google's; and where there is no other document it comes from the same. Google's dupe_factor are epochs here, each with a stream of
 * its own. A function of the documents and of the numbers of the stream.
 * @throws ArgumentError for options out of range.
 */
export async function* nextSentencePairs(
  documents: Source<TokenizedDocument>,
  tokenizer: BertTokenizer,
  random: RandomStream,
  { maxLength, shortSeqProb = SHORT_SEQ_PROB, reservoirTokens = 2 ** 20 }: NextSentenceOptions,
): AsyncGenerator<NextSentenceExample> {
  checkAtLeast('maxLength', maxLength, 5)
  checkProbability('shortSeqProb', shortSeqProb)
  if (reservoirTokens !== Number.POSITIVE_INFINITY) checkAtLeast('reservoirTokens', reservoirTokens, 1)
  const room = maxLength - 3
  const turn = slices()
  for await (const neighbours of reservoir(sentencesOf(documents, tokenizer, Math.floor(room / 2)), reservoirTokens)) {
    const target = random.uniform() < shortSeqProb ? 2 + random.below(room - 1) : room
    for (const { first, second, label } of pairsOf(neighbours, target, random)) {
      await turn()
      const [a, b] = truncate(first, second, room, random)
      yield { ...pairOf(a, b, tokenizer), nextSentenceLabel: label }
    }
  }
}

const sizeOf = (document: Segments): number => document.reduce((sum, segment) => sum + segment.length, 0)

/** Each document with those around it: up to `limit` tokens before it and, as far as there are more, at least as many after it. */
async function* reservoir(source: AsyncIterable<Segments>, limit: number): AsyncGenerator<Neighbours> {
  const iterator = source[Symbol.asyncIterator]()
  const documents: Segments[] = []
  let current = 0
  let before = 0
  let after = 0
  try {
    for (let ended = false; ; current++) {
      while (!ended && after <= limit) {
        const { value, done } = await iterator.next()
        if (done === true) ended = true
        else {
          documents.push(value)
          after += sizeOf(value)
        }
      }
      if (current === documents.length) return
      yield { documents, current }
      const size = sizeOf(documents[current])
      before += size
      after -= size
      if (before > limit) {
        documents.splice(0, current + 1)
        before = 0
        current = -1
      }
    }
  } finally {
    // whoever stops early lets the source close its file
    await iterator.return?.()
  }
}

interface Pair {
  readonly first: readonly number[]
  readonly second: readonly number[]
  readonly label: 0 | 1
}

/** The pairs of the current document, each of about `target` tokens or as many as are left. */
function* pairsOf({ documents, current }: Neighbours, target: number, random: RandomStream): Generator<Pair> {
  const document = documents[current]
  let from = 0
  let length = 0
  for (let i = 0; i < document.length; i++) {
    length += document[i].length
    if (i < document.length - 1 && length < target) continue
    const segments = i + 1 - from
    const split = from + (segments > 1 ? 1 + random.below(segments - 1) : 1)
    const first = document.slice(from, split).flat()
    if (segments === 1 || random.uniform() < 0.5) {
      yield { first, second: randomText({ documents, current }, target - first.length, random), label: 1 }
      // what follows the first text is not used up: the next pair begins with it
      i = split - 1
    } else yield { first, second: document.slice(split, i + 1).flat(), label: 0 }
    from = i + 1
    length = 0
  }
}

/** About `target` tokens of another document, from a random segment on. */
function randomText({ documents, current }: Neighbours, target: number, random: RandomStream): number[] {
  const other = documents.length === 1 ? 0 : random.below(documents.length - 1)
  const document = documents[documents.length > 1 && other >= current ? other + 1 : other]
  const text: number[] = []
  for (let i = random.below(document.length); i < document.length; i++) {
    text.push(...document[i])
    if (text.length >= target) break
  }
  return text
}

/** Takes tokens from the longer text until both have `room`, each from its front or its back by chance, so that neither is favoured. */
function truncate(first: readonly number[], second: readonly number[], room: number, random: RandomStream): number[][] {
  const spans = [first, second].map(({ length }) => ({ from: 0, to: length }))
  const [a, b] = spans
  while (a.to - a.from + b.to - b.from > room) {
    const longer = a.to - a.from > b.to - b.from ? a : b
    if (random.uniform() < 0.5) longer.from++
    else longer.to--
  }
  return [first.slice(a.from, a.to), second.slice(b.from, b.to)]
}
