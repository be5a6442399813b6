// Node, Deno and Bun: ENTRY SETTINGS. ENTRY is what is imported, SETTINGS is JSON: { minilm, golden, options, binary }, where
// golden and minilm are URLs and binary is the path of a binary that is given as bytes. Prints the result as JSON.
import fs from 'node:fs'
import { program } from './program.mjs'

const [entry, json] = process.argv.slice(2)
const { minilm, golden, options, binary } = JSON.parse(json)
const bertkit = await import(entry)
const wasm = binary === undefined ? options.wasm : { ...options.wasm, binary: fs.readFileSync(binary) }
const result = await program(bertkit, {
  minilm,
  golden: golden && (await (await fetch(golden)).json()),
  options: { ...options, wasm },
})
console.log(JSON.stringify(result))
