import fs from 'node:fs'
import path from 'node:path'

interface ClassesCase {
  labels: number[]
  predictions: number[]
  accuracy: number
  matthews: number
  /** Precision, recall, F1. */
  micro: number[]
  macro: number[]
  weighted: number[]
  /** Of "any class but 0". */
  binary: number[]
}

interface SeriesCase {
  x: number[]
  y: number[]
  /** null: undefined. */
  pearson: number | null
  spearman: number | null
  mse: number
}

interface ColumnsCase {
  columns: number
  labels: number[]
  decisions: number[]
  /** Micro and macro. */
  f1: number[]
  accuracy: number
}

interface SpansCase {
  scheme: string
  labels: string[][]
  predictions: string[][]
  /** seqeval's of each sentence of labels: type, first and last. */
  entities: [string, number, number][][]
  accuracy: number
  micro: number[]
  /** Type, precision, recall, F1, support. */
  types: [string, number, number, number, number][]
}

interface SquadCase {
  questions: { prediction: string; answers: string[] }[]
  v1: Record<string, number>
  /** Questions of which the answers are left out for version 2. */
  impossible: boolean[]
  v2: Record<string, number>
}

type Offsets = ([number, number] | null)[]

interface AnswerCase {
  context: string
  options: { n_best_size: number; max_answer_length: number; version_2: boolean; threshold: number }
  /** Start logits, end logits, offsets. */
  windows: [number[], number[], Offsets][]
  answer: { text: string; start: number; end: number; score: number; nullScore?: number }
}

interface LanguageCase {
  batches: {
    logits: number[][]
    /** Of each sequence. */
    labels: number[][]
    /** Of all rows: the next label of the sequence. */
    shifted: number[]
    /** Mean over the labelled tokens: as a masked and as a causal model. */
    losses: [number, number]
  }[]
  /** Perplexity and accuracy. */
  masked: [number, number]
  causal: [number, number]
}

interface Cases {
  classes: ClassesCase
  series: SeriesCase
  columns: ColumnsCase
  spans: SpansCase
  squad: SquadCase
  answer: AnswerCase
  language: LanguageCase
}

const lines = fs
  .readFileSync(path.join(import.meta.dirname, 'references.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
const cases = lines.map((line): { kind: string } => JSON.parse(line))

/** The cases of one kind that make.py has written. */
export function references<Kind extends keyof Cases>(kind: Kind): Cases[Kind][] {
  const found = cases.filter((one): one is Cases[Kind] & { kind: Kind } => one.kind === kind)
  if (found.length < 20) throw new Error(`references.jsonl has ${found.length} cases of ${kind}`)
  return found
}
