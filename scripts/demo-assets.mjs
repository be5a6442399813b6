#!/usr/bin/env node
// Makes assets/ from the folder of reference data: BANKING77 and the part of bert-base-uncased's vocabulary that its training sentences use.
//   node scripts/demo-assets.mjs REFERENCE_DIR      (REFERENCE_DIR/data/{banking77,vocab/bert-base-uncased})
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants } from 'node:zlib'
import { parse } from 'csv-parse/sync'
import { Tokenizer } from 'tokenizers'

const LIMIT = 500_000
const reference = process.argv[2] ?? process.env.BERTKIT_REFERENCE_DIR
if (reference === undefined) {
  console.error('usage: node scripts/demo-assets.mjs REFERENCE_DIR')
  process.exit(2)
}
const assets = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'assets')

function readBanking77() {
  const folder = path.join(reference, 'data', 'banking77')
  const labels = JSON.parse(readFileSync(path.join(folder, 'categories.json'), 'utf8')).sort()
  const rows = (name) =>
    parse(readFileSync(path.join(folder, name)), { columns: true, bom: true }).map(({ text, category }) => {
      const label = labels.indexOf(category)
      if (label === -1) throw new Error(`${name}: unknown category ${category}`)
      return [text, label]
    })
  return { labels, train: rows('train.csv'), test: rows('test.csv') }
}

/** Greedy longest-match-first finds the same pieces in a part of a vocabulary that holds all pieces it found in the whole. */
async function chooseVocabulary(sentences) {
  const folder = path.join(reference, 'data', 'vocab', 'bert-base-uncased')
  const whole = readFileSync(path.join(folder, 'vocab.txt'), 'utf8').split('\n')
  const tokenizer = Tokenizer.fromFile(path.join(folder, 'tokenizer.json'))
  const wanted = new Set(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'])
  for (let code = 33; code < 127; code++) {
    wanted.add(String.fromCharCode(code))
    wanted.add(`##${String.fromCharCode(code)}`)
  }
  for (const sentence of sentences)
    for (const token of (await tokenizer.encode(sentence)).getTokens()) wanted.add(token)
  return whole.filter((token) => wanted.has(token))
}

function write(name, text) {
  const options = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 } }
  const bytes = brotliCompressSync(Buffer.from(text), options)
  writeFileSync(path.join(assets, name), bytes)
  console.log(`assets/${name}: ${bytes.length} bytes`)
  return bytes.length
}

const data = readBanking77()
const vocabulary = await chooseVocabulary(data.train.map(([text]) => text))
mkdirSync(assets, { recursive: true })
const size = write('banking77.json.br', JSON.stringify(data)) + write('demo-vocab.txt.br', `${vocabulary.join('\n')}\n`)
console.log(`${data.train.length} + ${data.test.length} sentences, ${vocabulary.length} tokens, ${size} bytes`)
if (size >= LIMIT) throw new Error(`Expected less than ${LIMIT} bytes but made ${size}`)
