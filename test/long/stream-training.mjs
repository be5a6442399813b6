// Trains 200 steps from generated files of 100 MB and of some GB, through the command line, and compares the memory that each took.
// Needs `npm run build`. Usage: node test/long/stream-training.mjs [gigabytes (10)]
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const ALLOWED = 1.05
const MB = 2 ** 20
const WORDS = ['the', 'cat', 'sat', 'on', 'a', 'mat', 'and', 'saw', 'two', 'birds', 'in', 'one', 'tree', 'near', 'home']
const VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...WORDS]

// as a program of its own: trains, and says what its memory was at most
if (process.argv[2] === 'measure') {
  const { run } = await import('../../dist/cli/program.js')
  const { stderr, stdin } = process
  const stdout = { write() {} }
  const code = await run(process.argv.slice(3), { stdin, stderr, stdout })
  console.log(JSON.stringify({ code, peak: process.resourceUsage().maxRSS * 1024 }))
  process.exit(code)
}

const sentence = (i) =>
  Array.from({ length: 8 + (i % 23) }, (_, k) => WORDS[(i * 7 + k * k * 3 + (i >> 4)) % WORDS.length]).join(' ')

const FORMATS = {
  jsonl: {
    task: 'sequence-classification',
    line: (i) => `${JSON.stringify({ text: sentence(i), label: `l${i % 3}` })}\n`,
  },
  csv: { task: 'sequence-classification', head: 'text,label\n', line: (i) => `"${sentence(i)}",l${i % 3}\n` },
  txt: { task: 'masked-lm', line: (i) => `${sentence(i)}\n${i % 9 === 0 ? '\n' : ''}` },
}

function writeData(file, { head = '', line }, bytes) {
  const handle = openSync(file, 'w')
  let written = writeSync(handle, head)
  for (let i = 0; written < bytes; ) {
    let block = ''
    while (block.length < 4 * MB) block += line(i++)
    written += writeSync(handle, block)
  }
  closeSync(handle)
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'bertkit-stream-training-'))
const gigabytes = Number(process.argv[2] ?? 10)
let failed = 0
try {
  writeFileSync(path.join(folder, 'vocab.txt'), VOCABULARY.join('\n'))
  const size = { hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 128 }
  const config = { model_type: 'bert', vocab_size: VOCABULARY.length, max_position_embeddings: 64, ...size }
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config))
  for (const [format, { task, ...data }] of Object.entries(FORMATS)) {
    const peaks = [100 * MB, gigabytes * 1024 * MB].map((bytes) => {
      const file = path.join(folder, `data.${format}`)
      writeData(file, data, bytes)
      const at = (name) => path.join(folder, name)
      const argv = [
        'train',
        '--task',
        task,
        '--config',
        at('config.json'),
        '--vocab',
        at('vocab.txt'),
        '--train-file',
        file,
      ]
      const rest = [
        '--output-dir',
        at('out'),
        '--max-steps',
        '200',
        '--save-strategy',
        'no',
        '--report-to',
        'none',
        '--json',
      ]
      const script = fileURLToPath(import.meta.url)
      const { stdout, stderr } = spawnSync(
        process.execPath,
        ['--single-threaded-gc', script, 'measure', ...argv, ...rest],
        {
          encoding: 'utf8',
        },
      )
      rmSync(file)
      const { code, peak } = JSON.parse(stdout.trim().split('\n').at(-1))
      if (code !== 0) throw new Error(`training on ${format} ended with ${code}: ${stderr}`)
      return peak
    })
    const ratio = peaks[1] / peaks[0]
    if (ratio > ALLOWED) failed++
    const shown = peaks.map((peak) => `${(peak / MB).toFixed(1)} MB`)
    console.log(`${format}: 100 MB ${shown[0]}, ${gigabytes} GB ${shown[1]}, ratio ${ratio.toFixed(3)}`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(`${Object.keys(FORMATS).length - failed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
