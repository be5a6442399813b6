// Spans of tags and their scores: seqeval's default mode (metrics/sequence_labeling.py, suffix=False), which is conlleval.pl's.
import { ArgumentError } from '../../errors.ts'
import { addCounts, type ClassCounts, type PrecisionRecallF1, scoresOf } from './classification.ts'

/** Tags [start, end) that name one thing of a type. */
export interface Span {
  readonly type: string
  readonly start: number
  readonly end: number
}

interface Tag {
  readonly prefix: string
  readonly type: string
}

/** BMES's letter for what the other schemes write I: alone, or before what separates it from the type. */
const MIDDLE = /^M(?![\p{L}\p{N}])/u

/** The first character, and what follows the first '-' behind it (or all of it, without a '-'); a type that is not named is '_'. */
function parseTag(tag: string): Tag {
  if (tag === '') throw new ArgumentError('Expected a tag but received an empty string')
  const first = String.fromCodePoint(tag.codePointAt(0)!)
  const rest = tag.slice(first.length)
  return { prefix: MIDDLE.test(tag) ? 'I' : first, type: rest.slice(rest.indexOf('-') + 1) || '_' }
}

const OUTSIDE = parseTag('O')

/** Whether a span ends between two tags. */
function endsBetween(last: Tag, next: Tag): boolean {
  if ('ES'.includes(last.prefix)) return true
  if ('BI'.includes(last.prefix) && 'BSO'.includes(next.prefix)) return true
  return !'O.'.includes(last.prefix) && last.type !== next.type
}

/** Whether a span starts between two tags. */
function startsBetween(last: Tag, next: Tag): boolean {
  if ('BS'.includes(next.prefix)) return true
  if ('ESO'.includes(last.prefix) && 'EI'.includes(next.prefix)) return true
  return !'O.'.includes(next.prefix) && last.type !== next.type
}

/** A tag that begins with a letter of a scheme before what separates it from the type. */
const PREFIXED = /^[BIES][^\p{L}\p{N}]/u
/** A letter of a scheme alone. */
const LETTER = /^[BIESMO]$/

/** Whether a set of tags is of a scheme that `spansOf` reads: of others, such as parts of speech, the scores of spans mean nothing. */
export const haveSpans = (names: readonly string[]): boolean =>
  names.some((name) => PREFIXED.test(name)) || names.every((name) => LETTER.test(name))

/** Finds spans in one sentence after another. */
class SpanReader {
  private last = OUTSIDE
  private start = 0
  private position = 0

  /** The spans that end in this sentence; positions count on from the sentence before, and one for the border between them. */
  read(sentence: Iterable<string>): Span[] {
    const spans: Span[] = []
    for (const tag of sentence) this.next(parseTag(tag), spans)
    this.next(OUTSIDE, spans)
    return spans
  }

  private next(tag: Tag, spans: Span[]): void {
    if (endsBetween(this.last, tag)) spans.push({ type: this.last.type, start: this.start, end: this.position })
    // `start` outlives its span and its sentence, as in seqeval: what a tag of no scheme means depends on it.
    if (startsBetween(this.last, tag)) this.start = this.position
    this.last = tag
    this.position++
  }
}

/**
 * The spans of a list of tags, in their order, as seqeval's `get_entities` finds them: by IOB1, IOB2, IOE and IOBES at once, so that an
 * I- or E- that continues nothing starts a span, and a tag that is not valid where it stands is never an error. BMES is read by
 * taking M as I, which seqeval does not do: to it M is a letter without a meaning.
 *
 * A tag is a letter and a type, whatever is between them: of a tag without a prefix, such as PER, the type is ER. Those that begin
 * with O are no span.
 *
 * @throws ArgumentError for an empty tag.
 */
export const spansOf = (tags: Iterable<string>): Span[] => new SpanReader().read(tags)

/** Scores of one type of span; `support`: how many there are in the labels. */
export interface SpanTypeScores extends PrecisionRecallF1 {
  readonly support: number
}

export interface SpanScores extends PrecisionRecallF1 {
  /** Fraction of tags that are right. */
  readonly accuracy: number
  /** By the name of the type, in the order of the names. */
  readonly types: ReadonlyMap<string, SpanTypeScores>
}

const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b))

/**
 * Precision, recall and F1 of spans, all types together ("micro") and each type alone; a score with denominator 0 is 0. A predicted
 * span is right when type, start and end are a labelled one's. Equal to seqeval's scores in its default mode; for BMES, to its scores
 * after M is replaced by I. Sentences are counted one by one and not kept.
 */
export class SpanCounter {
  private readonly predictions = new SpanReader()
  private readonly labels = new SpanReader()
  private readonly counts = new Map<string, ClassCounts>()
  private tags = 0
  private right = 0

  /** One sentence: a predicted and a right tag for each word. Throws ArgumentError where these are not as many. */
  add(predictions: readonly string[], labels: readonly string[]): void {
    if (predictions.length !== labels.length)
      throw new ArgumentError(`Expected ${labels.length} predicted tags but received ${predictions.length}`)
    this.tags += labels.length
    this.right += labels.filter((tag, i) => tag === predictions[i]).length
    // no two spans end at the same place
    const labelled = new Map<number, Span>()
    for (const span of this.labels.read(labels)) {
      labelled.set(span.end, span)
      this.of(span.type).labelled++
    }
    for (const { type, start, end } of this.predictions.read(predictions)) {
      const same = labelled.get(end)
      const count = this.of(type)
      count.predicted++
      if (same?.start === start && same.type === type) count.hits++
    }
  }

  private of(type: string): ClassCounts {
    const found = this.counts.get(type) ?? { hits: 0, predicted: 0, labelled: 0 }
    this.counts.set(type, found)
    return found
  }

  /** @throws ArgumentError when no tag was added. */
  scores(): SpanScores {
    if (this.tags === 0) throw new ArgumentError('Expected at least one tag to score but received none')
    const types = [...this.counts].sort(([a], [b]) => compare(a, b))
    return {
      ...scoresOf(addCounts([...this.counts.values()])),
      accuracy: this.right / this.tags,
      types: new Map(types.map(([type, count]) => [type, { ...scoresOf(count), support: count.labelled }])),
    }
  }
}
