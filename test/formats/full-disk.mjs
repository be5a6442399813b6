// Saves onto a disk of a few MB until it is full, and prints what came of it. Needs `npm run build`. Usage: node full-disk.mjs FOLDER
import { readdirSync } from 'node:fs'
import { FolderFiles } from '../../dist/formats/folder-files.js'
import { saveWeights } from '../../dist/formats/save.js'
import { openWeights } from '../../dist/formats/weights.js'

const [folder] = process.argv.slice(2)
const save = async (value, megabytes, maxShardSize) => {
  const tensors = Array.from({ length: megabytes }, (_, i) => ({ name: `t${i}`, shape: [2 ** 18] }))
  await saveWeights(folder, tensors, () => new Float32Array(2 ** 18).fill(value), { maxShardSize })
}
const results = []
for (const [before, after] of [
  ['1GB', '1GB'],
  ['1GB', '1MB'],
  ['1MB', '1MB'],
  ['1MB', '1GB'],
]) {
  await save(1, 2, before)
  const names = readdirSync(folder)
  const error = await save(2, 8, after).then(
    () => undefined,
    (reason) => ({ name: reason.name, errno: reason.errno }),
  )
  const source = await openWeights(new FolderFiles(folder))
  const values = new Set()
  for (const name of source.tensors.keys()) for (const value of await source.read(name)) values.add(value)
  await source.close()
  results.push({ error, left: String(readdirSync(folder)) === String(names), values: [...values] })
}
console.log(JSON.stringify(results))
