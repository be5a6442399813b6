// BertTokenizer against npm `tokenizers` on 100,000 real and 100,000 random strings with each of the four vocabularies.
// Needs `npm run build` and BERTKIT_REFERENCE_DIR. Usage: node test/long/tokenizer-parity.mjs [strings of each kind] [seed]
import path from 'node:path'
import { BertTokenizer } from '../../dist/data/tokenizer/tokenizer.js'
import {
  compare,
  randomNumbers,
  randomString,
  realStrings,
  rustTokenizer,
  VOCABULARIES,
} from '../data/tokenizer-oracle.mjs'

const reference = process.env.BERTKIT_REFERENCE_DIR
if (reference === undefined) {
  console.error('Set BERTKIT_REFERENCE_DIR to the folder that holds data/vocab')
  process.exit(2)
}
const count = Number(process.argv[2] ?? 100_000)
const seed = Number(process.argv[3] ?? 1)
const data = path.join(reference, 'data')
const random = randomNumbers(seed)
const kinds = {
  real: realStrings(data, count),
  random: Array.from({ length: count }, () => randomString(random)),
}

let failed = 0
for (const { name, doLowerCase } of VOCABULARIES) {
  const folder = path.join(data, 'vocab', name)
  const ours = await BertTokenizer.fromPretrained(folder, { doLowerCase })
  const rust = rustTokenizer(folder, doLowerCase)
  for (const [kind, strings] of Object.entries(kinds)) {
    const { compared, different, differences } = await compare(ours, rust, strings, seed)
    console.log(`${name}: ${strings.length} ${kind} strings, ${different} differences (${compared} encodings)`)
    for (const each of differences.slice(0, 3)) console.log(JSON.stringify(each))
    failed += different
  }
}
process.exitCode = failed === 0 ? 0 : 1
