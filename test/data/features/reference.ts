// features.json, which make_features.py writes with Transformers.
import fs from 'node:fs'
import path from 'node:path'
import { BertTokenizer } from '../../../src/data/tokenizer/tokenizer.ts'

interface Reference {
  readonly vocabulary: string[]
  readonly tokens: readonly {
    readonly max_length: number
    readonly words: string[]
    readonly tags: number[]
    readonly input_ids: number[]
    readonly labels: number[]
  }[]
  readonly questions: readonly {
    readonly question: string
    readonly context: string
    readonly answer: string | null
    /** In code points. */
    readonly answer_start: number | null
    readonly max_length: number
    readonly stride: number
    readonly windows: readonly {
      readonly input_ids: number[]
      /** How many tokens are of type 0; the others are of type 1. */
      readonly first_type: number
      /** Start, end, start, end, ... of the context's tokens, in code points. */
      readonly offsets: number[]
      readonly start: number
      readonly end: number
      readonly corrected?: boolean
    }[]
  }[]
  readonly choices: readonly {
    readonly context: string
    readonly question: string | null
    readonly choices: string[]
    readonly label: number | null
    readonly max_length: number
    readonly input_ids: number[][]
    readonly token_type_ids: number[][]
  }[]
}

export const reference: Reference = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, 'features.json'), 'utf8'))

/** The tokenizer of the reference: a part of bert-base-multilingual-cased. */
export const tokenizer = BertTokenizer.fromVocab(reference.vocabulary, { doLowerCase: false })

export const tokensOf = (ids: readonly number[]): string[] => tokenizer.convertIdsToTokens(ids)

/** All that a generator yields. */
export async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of items) all.push(item)
  return all
}
