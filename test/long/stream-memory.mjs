// Peak memory of reading and shuffling a whole file of 100 MB in ten epochs, and one of many GB in one, for each format that is
// streamed. Fails where the larger file needs over 5 % more. (In a single epoch of 100 MB the garbage collector is not yet at the
// size of heap that it settles for.) Linux only, needs `npm run build` and the disk for the larger file, in the temporary folder.
// Usage: node test/long/stream-memory.mjs [gigabytes of the larger file: 10] [formats: jsonl csv txt]
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { classificationRows } from '../../dist/data/classification.js'
import { passageRows } from '../../dist/data/passages.js'
import { shuffleStream } from '../../dist/data/stream.js'
import { RandomStream } from '../../dist/random.js'

const MOST = 1.05
const SMALL = 100e6
const BUFFER = 10_000
const PIECE = 2 ** 20

/** One row of each format, of a text and a number. */
const WRITERS = {
  jsonl: (text, number) => `${JSON.stringify({ text, label: number % 3 })}\n`,
  csv: (text, number) => `"${text}",${number % 3}\n`,
  txt: (text, number) => (number % 8 === 0 ? '\n' : `${text}\n`),
}

function generate(file, format, size) {
  const random = new RandomStream(1)
  const words = Array.from({ length: 5000 }, () =>
    random
      .word()
      .toString(36)
      .slice(0, 2 + random.below(6)),
  )
  const output = fs.openSync(file, 'w')
  if (format === 'csv') fs.writeSync(output, 'text,label\n')
  // One piece is written again and again: making random text takes longer than reading it.
  let piece = ''
  for (let number = 0; piece.length < PIECE; number++) {
    const text = Array.from({ length: 5 + random.below(50) }, () => words[random.below(words.length)]).join(' ')
    piece += WRITERS[format](text, number)
  }
  for (let written = 0; written < size; written += piece.length) fs.writeSync(output, piece)
  fs.closeSync(output)
}

async function measure(file, format, epochs) {
  let count = 0
  const start = performance.now()
  for (let epoch = 0; epoch < epochs; epoch++) {
    const rows = format === 'txt' ? passageRows(file) : classificationRows(file)
    for await (const _ of shuffleStream(rows, { seed: 1, epoch, bufferSize: BUFFER })) count++
  }
  const seconds = (performance.now() - start) / 1000
  console.log(JSON.stringify({ count, seconds, peak: process.resourceUsage().maxRSS * 1024 }))
}

if (process.platform !== 'linux') {
  console.log('skipped: the unit of peak memory is that of Linux')
  process.exit(0)
}
if (process.argv[2] === 'measure') await measure(process.argv[3], process.argv[4], Number(process.argv[5]))
else {
  const gigabytes = Number(process.argv[2] ?? 10)
  const formats = process.argv.length > 3 ? process.argv.slice(3) : Object.keys(WRITERS)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-stream-'))
  const run = (format, size, epochs) => {
    const file = path.join(folder, `data.${format}`)
    generate(file, format, size)
    // Collecting in threads makes the peak depend on what else the machine does.
    const args = ['--single-threaded-gc', import.meta.filename, 'measure', file, format, epochs]
    const child = spawnSync(process.execPath, args, { encoding: 'utf8' })
    fs.rmSync(file)
    if (child.status !== 0) throw new Error(`${format}, ${size} bytes: ${child.stderr}`)
    return JSON.parse(child.stdout)
  }
  const megabytes = (bytes) => Math.round(bytes / 1e6)
  let worst = 0
  try {
    for (const format of formats) {
      const small = run(format, SMALL, 10)
      const large = run(format, gigabytes * 1e9, 1)
      const ratio = large.peak / small.peak
      worst = Math.max(worst, ratio)
      console.log(
        `${format}: peak ${megabytes(small.peak)} MB for 100 MB, ${megabytes(large.peak)} MB for ${gigabytes} GB ` +
          `(${large.count} rows in ${large.seconds.toFixed(0)} s, ${Math.round((gigabytes * 1000) / large.seconds)} MB/s): ${ratio.toFixed(3)}`,
      )
    }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
  console.log(`largest ${worst.toFixed(3)}, at most ${MOST} is accepted`)
  process.exitCode = worst <= MOST ? 0 : 1
}
