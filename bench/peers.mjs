// The same work here and in PyTorch + Transformers, and inference in ONNX Runtime too, in turns on this machine; prints ratios of real
// tokens per second and of peak memory.
//   npm run bench -- peers --python PATH --peer-dir DIR [--filter "train base"] [--steps N]
// PATH is a Python with torch and transformers; DIR has train_step.py and ort_infer.mjs (default: BERTKIT_REFERENCE_DIR/peer).
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openBackend } from '../dist/backend/open.js'
import { BertModel, exportOnnx } from '../dist/index.js'
import { configOf } from './batches.mjs'
import { median, provenance } from './measure.mjs'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const TRAIN = [
  { name: 'train base 16 x 128 full', model: 'base', batch: 16, seq: 128, lengths: 'full' },
  { name: 'train base 16 x 128 ragged', model: 'base', batch: 16, seq: 128, lengths: 'ragged' },
  { name: 'train tiny 32 x 128 ragged', model: 'tiny', batch: 32, seq: 128, lengths: 'ragged' },
].map((work) => ({ ...work, mode: 'train' }))
const WORK = [
  ...TRAIN,
  { name: 'infer base 8 x 128 full', mode: 'infer', model: 'base', batch: 8, seq: 128, lengths: 'full' },
]
/** Turns of each side: the medians are compared. */
const TURNS = 3

const lastJson = (text) => JSON.parse(text.trim().split('\n').at(-1))
async function program(command, args) {
  const { stdout } = await promisify(execFile)(command, args.map(String), { cwd: root, maxBuffer: 1 << 26 })
  return lastJson(stdout)
}
const flags = ({ model, batch, seq, lengths }) => [
  '--model',
  model,
  '--batch',
  batch,
  '--seq',
  seq,
  '--lengths',
  lengths,
]
const ours = (work, dtype, steps) =>
  program(process.execPath, ['bench/main.mjs', work.mode, '--json', '--dtype', dtype, '--steps', steps, ...flags(work)])

/** The base model in ONNX Runtime, from our own export. */
async function onnxRuntime(peerDir, work, threads) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-peers-'))
  try {
    const model = new BertModel(configOf(work.model).config, { seed: 0 })
    await exportOnnx(model, folder)
    model.dispose()
    const file = path.join(folder, 'onnx', 'model.onnx')
    const { batch, seq } = work
    const args = [path.join(peerDir, 'ort_infer.mjs'), file, '--batch', batch, '--seq', seq, '--threads', threads]
    const { tokens_per_s, ...rest } = await program(process.execPath, args)
    return { ...rest, real_tokens_per_s: tokens_per_s }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

const middle = (runs, key) => median(runs.map((run) => run[key]))

export async function run({ json, filter, steps = '5', python, 'peer-dir': given }) {
  const peerDir = given ?? (process.env.BERTKIT_REFERENCE_DIR && path.join(process.env.BERTKIT_REFERENCE_DIR, 'peer'))
  if (!python || !peerDir) {
    console.error('usage: npm run bench -- peers --python PATH --peer-dir DIR')
    process.exit(2)
  }
  const { description } = await openBackend()
  for (const work of WORK) {
    if (filter && !work.name.includes(filter)) continue
    for (const [dtype, peerDtype] of [
      ['float32', 'fp32'],
      ['bfloat16', 'bf16'],
    ]) {
      const [here, torch, onnx] = [[], [], []]
      for (let turn = 0; turn < TURNS; turn++) {
        here.push(await ours(work, dtype, steps))
        const script = path.join(peerDir, 'train_step.py')
        const settings = ['--mode', work.mode, '--dtype', peerDtype, '--steps', steps, '--threads', description.threads]
        torch.push(await program(python, [script, ...flags(work), ...settings]))
        if (work.mode === 'infer' && dtype === 'float32')
          onnx.push(await onnxRuntime(peerDir, work, description.threads))
      }
      const rate = middle(here, 'real_tokens_per_s')
      for (const [peer, runs] of Object.entries({ 'PyTorch + Transformers': torch, 'ONNX Runtime': onnx })) {
        if (runs.length === 0) continue
        const result = {
          bench: 'peers',
          work: work.name,
          dtype,
          peer,
          tokens_per_s: rate,
          peer_tokens_per_s: middle(runs, 'real_tokens_per_s'),
          ratio: +(rate / middle(runs, 'real_tokens_per_s')).toFixed(2),
          memory_ratio: +(middle(here, 'peak_rss_mib') / middle(runs, 'peak_rss_mib')).toFixed(2),
          ...provenance(description),
        }
        if (json) console.log(JSON.stringify(result))
        else
          console.log(
            `${work.name.padEnd(28)} ${dtype.padEnd(9)} ${String(result.tokens_per_s).padStart(8)} tokens/s, ${peer} ${String(result.peer_tokens_per_s).padStart(8)}: ${result.ratio} x, memory ${Math.round(100 * result.memory_ratio)} %`,
          )
      }
    }
  }
}
