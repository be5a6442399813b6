// Saves weights over and over into one folder, all of them with the number of the save as their value, and says on standard output what
// is done. Each save has one file or a number of shards, in turn. Somebody kills it. Usage: node save-loop.mjs FOLDER FIRST
import { writeSync } from 'node:fs'
import { saveWeights } from '../../dist/formats/save.js'

const [folder, first] = process.argv.slice(2)
const tensors = Array.from({ length: 12 }, (_, i) => ({ name: `tensor.${i}`, shape: [64, 32] }))
const sizes = ['1GB', '20KB', '20KB', '40KB', '1GB', '1GB', '40KB', '40KB', '20KB']
for (let n = Number(first); ; n++) {
  await saveWeights(folder, tensors, () => new Float32Array(64 * 32).fill(n), { maxShardSize: sizes[n % sizes.length] })
  writeSync(1, `${n}\n`)
}
