// From scores of tokens to entities: the aggregation of transformers/pipelines/token_classification.py.
import { argmax } from '../scores.ts'

export type AggregationStrategy = 'none' | 'simple' | 'first' | 'average' | 'max'

/** A token and the label that fits it best. */
export interface TokenEntity {
  readonly entity: string
  /** From 0 to 1. */
  readonly score: number
  /** Its place among the tokens, special ones included. */
  readonly index: number
  readonly word: string
  /** [start, end) in the text. */
  readonly start: number
  readonly end: number
}

/** Neighbours with the same tag as one. */
export interface EntityGroup {
  /** The label without B- or I-. */
  readonly entityGroup: string
  /** The mean of its parts'. */
  readonly score: number
  /** Put together from tokens; the text itself is at [start, end). */
  readonly word: string
  readonly start: number
  readonly end: number
}

export interface ScoredToken {
  readonly word: string
  /** A probability for each label. */
  readonly scores: readonly number[]
  readonly index: number
  readonly start: number
  readonly end: number
  /** It goes on with the word of the token before it. */
  readonly isSubword: boolean
}

type Labelled = Omit<TokenEntity, 'index'>
type Join = (words: readonly string[]) => string

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

/** The label and the score of each token by itself. */
export const labelTokens = (tokens: readonly ScoredToken[], labels: readonly string[]): TokenEntity[] =>
  tokens.map(({ scores, index, word, start, end }) => {
    const best = argmax(scores)
    return { entity: labels[best], score: scores[best], index, word, start, end }
  })

/** Scores of a word from those of its tokens. */
const WORD_SCORES: Readonly<
  Record<Exclude<AggregationStrategy, 'none' | 'simple'>, (tokens: readonly ScoredToken[]) => readonly number[]>
> = {
  first: ([first]) => first.scores,
  max: (tokens) => tokens[argmax(tokens.map(({ scores }) => Math.max(...scores)))].scores,
  average: (tokens) => tokens[0].scores.map((_, label) => mean(tokens.map(({ scores }) => scores[label]))),
}

/** One label for all tokens of a word. */
function labelWords(
  tokens: readonly ScoredToken[],
  labels: readonly string[],
  strategy: keyof typeof WORD_SCORES,
  join: Join,
): Labelled[] {
  const words: ScoredToken[][] = []
  for (const token of tokens) {
    if (token.isSubword && words.length > 0) words.at(-1)!.push(token)
    else words.push([token])
  }
  return words.map((word) => {
    const scores = WORD_SCORES[strategy](word)
    const best = argmax(scores)
    return {
      entity: labels[best],
      score: scores[best],
      word: join(word.map((token) => token.word)),
      start: word[0].start,
      end: word.at(-1)!.end,
    }
  })
}

/** A label without B- or I-, and whether it begins an entity. One without either goes on with the entity before it. */
function tagOf(label: string): { tag: string; begins: boolean } {
  const prefixed = label.startsWith('B-') || label.startsWith('I-')
  return { tag: prefixed ? label.slice(2) : label, begins: label.startsWith('B-') }
}

function groupNeighbours(entities: readonly Labelled[], join: Join): EntityGroup[] {
  const groups: Labelled[][] = []
  for (const entity of entities) {
    const last = groups.at(-1)?.at(-1)
    const { tag, begins } = tagOf(entity.entity)
    if (last && !begins && tag === tagOf(last.entity).tag) groups.at(-1)!.push(entity)
    else groups.push([entity])
  }
  return groups.map((group) => ({
    // here any prefix goes, also that of a scheme with more than two
    entityGroup: group[0].entity.slice(group[0].entity.indexOf('-') + 1),
    score: mean(group.map(({ score }) => score)),
    word: join(group.map(({ word }) => word)),
    start: group[0].start,
    end: group.at(-1)!.end,
  }))
}

/** `join` makes a text of words as tokens are. */
export function aggregate(
  tokens: readonly ScoredToken[],
  labels: readonly string[],
  strategy: Exclude<AggregationStrategy, 'none'>,
  join: Join,
): EntityGroup[] {
  const labelled = strategy === 'simple' ? labelTokens(tokens, labels) : labelWords(tokens, labels, strategy, join)
  return groupNeighbours(labelled, join)
}

/** Of entities that overlap, as windows of one text find them, the longest; of those as long the one with the highest score. */
export function withoutOverlaps<Entity extends Pick<EntityGroup, 'start' | 'end' | 'score'>>(
  entities: readonly Entity[],
): Entity[] {
  const kept: Entity[] = []
  for (const entity of [...entities].sort((a, b) => a.start - b.start)) {
    const last = kept.at(-1)
    if (!last || entity.start >= last.end) kept.push(entity)
    else {
      const longer = entity.end - entity.start - (last.end - last.start)
      if (longer > 0 || (longer === 0 && entity.score > last.score)) kept[kept.length - 1] = entity
    }
  }
  return kept
}
