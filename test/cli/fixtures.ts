// A language of ten words, small enough to learn in a second: the label follows from the first word.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type Confusion, confusionOf } from '../../src/cli/report-data.ts'

const WORDS = ['red', 'orange', 'pink', 'blue', 'green', 'cyan', 'apple', 'car', 'house', 'sky']
const COLOURS = WORDS.slice(0, 6)
const THINGS = WORDS.slice(6)

export const isWarm = (colour: string): boolean => COLOURS.indexOf(colour) < 3

/** Sentence i of the language. */
export function sentence(i: number): { colour: string; text: string; thing: string } {
  const colour = COLOURS[(i * 7) % COLOURS.length]
  const thing = THINGS[(i * 5 + 3) % THINGS.length]
  return { colour, thing, text: i % 3 === 0 ? `${colour} ${thing} ${thing}` : `${colour} ${thing}` }
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

export const warmOrCold = (i: number): string => (isWarm(sentence(i).colour) ? 'warm' : 'cold')

/** Writes config.json and vocab.txt of a model for the language, and data files of it in every format. */
export function writeFixtures(folder: string, count = 60): void {
  mkdirSync(folder, { recursive: true })
  const write = (name: string, lines: string[], end = '\n'): void =>
    writeFileSync(join(folder, name), lines.map((line) => line + end).join(''))
  const all = numbers(count)
  write('vocab.txt', ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...WORDS])
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({
      model_type: 'bert',
      vocab_size: WORDS.length + 5,
      hidden_size: 16,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      intermediate_size: 32,
      max_position_embeddings: 16,
      initializer_range: 0.2,
    }),
  )
  write('data.csv', ['text,label', ...all.map((i) => `"${sentence(i).text}",${warmOrCold(i)}`)], '\r\n')
  const tsv = ['sentence\tclass', ...all.map((i) => `${sentence(i).text}\t${isWarm(sentence(i).colour) ? 1 : 0}`)]
  write('data.tsv', tsv)
  const jsonl = all.map((i) => JSON.stringify({ text: sentence(i).text, label: warmOrCold(i) }))
  writeFileSync(join(folder, 'data.jsonl.gz'), gzipSync(jsonl.join('\n')))
  // Whether both halves have the same colour; the first column is to be skipped.
  const pair = (i: number): string => (i % 2 === 0 ? sentence(i).colour : sentence(i + 1).colour)
  write(
    'pairs.csv',
    all.map((i) => `${i},${sentence(i).text},${pair(i)} sky,${pair(i) === sentence(i).colour ? 'same' : 'other'}`),
  )
  write('warmth.csv', [
    'text,label',
    ...all.map((i) => `${sentence(i).text},${isWarm(sentence(i).colour) ? 0.9 : -0.4}`),
  ])
  const tags = (i: number): string => `${warmOrCold(i)},${sentence(i).thing}`
  write('tags.tsv', ['text\tlabel', ...all.map((i) => `${sentence(i).text}\t${tags(i)}`)])
}

/** Predictions counted, as this matrix shows them: rows are true classes, columns predicted ones. */
export function confusionFrom(matrix: readonly (readonly number[])[]): Confusion {
  const pairs = matrix.flatMap((row, label) =>
    row.flatMap((count, predicted) => Array.from({ length: count }, () => [label, predicted])),
  )
  const [labels, predictions] = [0, 1].map((side) => pairs.map((pair) => pair[side]))
  return confusionOf(predictions, labels, matrix.length)
}
