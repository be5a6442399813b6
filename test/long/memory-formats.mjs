// Peak memory of loading and of saving a model of BERT-base's size, over what the process had before, as a multiple of the weights.
// Fails above 1.3. Linux only, needs `npm run build` and 2 GB of disk. Usage: node test/long/memory-formats.mjs
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { crc32c } from '../../dist/formats/crc.js'
import { openSafetensors } from '../../dist/formats/safetensors-file.js'
import { BertConfig, BertModel } from '../../dist/index.js'
import { archiveOf, bundleOf, stateDictOps } from '../formats/builders.mjs'

const MOST = 1.3
const FORMATS = ['safetensors', 'shards', 'bin', 'tensorflow']

const status = (field) =>
  1024 * Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(fs.readFileSync('/proc/self/status', 'utf8'))[1])
/** Makes the peak what is resident now. */
const resetPeak = () => fs.writeFileSync('/proc/self/clear_refs', '5')
const weightsOf = (model) => model.parameters().reduce((sum, { size }) => sum + 4 * size, 0)

/** A tiny model has been run once, so that what a process needs anyway is no part of the figure. */
async function warmUp() {
  const config = new BertConfig({
    vocabSize: 10,
    hiddenSize: 8,
    numHiddenLayers: 1,
    numAttentionHeads: 1,
    intermediateSize: 8,
  })
  const model = new BertModel(config)
  await model.stateDict()
  model.dispose()
  global.gc()
}

/** [torch's name or Google's, transposed?] for one tensor of a BertModel. */
function googleName(name) {
  const table = /_embeddings\.weight$/.test(name)
  const variable = `bert/${name.replace(/layer\.(\d+)/, 'layer_$1').replaceAll('.', '/')}`
  if (table) return [variable.replace(/\/weight$/, ''), false]
  if (/LayerNorm/.test(name)) return [variable.replace(/weight$/, 'gamma').replace(/bias$/, 'beta'), false]
  return [variable.replace(/weight$/, 'kernel'), name.endsWith('weight')]
}

async function generate(folder) {
  const model = new BertModel(new BertConfig())
  for (const format of FORMATS) fs.mkdirSync(path.join(folder, format), { recursive: true })
  await model.savePretrained(path.join(folder, 'safetensors'))
  await model.savePretrained(path.join(folder, 'shards'), { maxShardSize: '100MB' })
  model.dispose()
  for (const format of ['bin', 'tensorflow'])
    fs.copyFileSync(path.join(folder, 'safetensors', 'config.json'), path.join(folder, format, 'config.json'))
  const source = await openSafetensors(path.join(folder, 'safetensors', 'model.safetensors'))
  const storages = {}
  const tensors = []
  const variables = []
  for (const [name, { shape }] of source.tensors) {
    const data = await source.readRaw(name)
    const key = String(tensors.length)
    storages[key] = data
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1))
    tensors.push({ name, storage: { key, type: 'FloatStorage', size: data.length / 4 }, offset: 0, shape, strides })
    // a kernel of other values, but of the same size: only memory is looked at
    const [variable, transposed] = googleName(name)
    variables.push({ name: variable, shape: transposed ? shape.toReversed() : shape, data })
  }
  await source.close()
  fs.writeFileSync(path.join(folder, 'bin', 'pytorch_model.bin'), archiveOf(stateDictOps(tensors), storages))
  const { index, data } = bundleOf(variables, { crc: crc32c })
  fs.writeFileSync(path.join(folder, 'tensorflow', 'bert_model.ckpt.index'), index)
  fs.writeFileSync(path.join(folder, 'tensorflow', 'bert_model.ckpt.data-00000-of-00001'), data[0])
}

async function measure(folder, format) {
  await warmUp()
  const before = status('VmRSS')
  resetPeak()
  const start = performance.now()
  const model = await BertModel.fromPretrained(path.join(folder, format))
  const seconds = (performance.now() - start) / 1000
  const load = (status('VmHWM') - before) / weightsOf(model)
  if (model.loadReport.missing.length > 0) throw new Error(`${format}: ${model.loadReport.missing} are missing`)
  let save
  let saveSeconds
  if (format === 'safetensors' || format === 'shards') {
    resetPeak()
    const begin = performance.now()
    await model.savePretrained(path.join(folder, 'copy'), { maxShardSize: format === 'shards' ? '100MB' : '50GB' })
    saveSeconds = (performance.now() - begin) / 1000
    save = (status('VmHWM') - before) / weightsOf(model)
  }
  console.log(JSON.stringify({ format, load, seconds, save, saveSeconds }))
}

if (process.platform !== 'linux') {
  console.log('skipped: peak memory is read from /proc')
  process.exit(0)
}
const [mode, folder, format] = process.argv.slice(2)
if (mode === 'generate') await generate(folder)
else if (mode === 'measure') await measure(folder, format)
else {
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-memory-'))
  const run = (...args) => {
    const {
      status: code,
      stdout,
      stderr,
    } = spawnSync(process.execPath, ['--expose-gc', import.meta.filename, ...args], { encoding: 'utf8' })
    if (code !== 0) throw new Error(`${args.join(' ')}: ${stderr}`)
    return stdout
  }
  try {
    run('generate', work)
    const results = FORMATS.map((each) => JSON.parse(run('measure', work, each)))
    const rounded = (value) => (value === undefined ? undefined : Number(value.toFixed(3)))
    console.log('peak memory over the process before, as a multiple of the weights; seconds')
    console.table(
      results.map((each) =>
        Object.fromEntries(
          Object.entries(each).map(([key, value]) => [key, typeof value === 'number' ? rounded(value) : value]),
        ),
      ),
    )
    const most = Math.max(...results.flatMap(({ load, save = 0 }) => [load, save]))
    console.log(`largest ${most.toFixed(3)}, at most ${MOST} is accepted`)
    process.exitCode = most <= MOST ? 0 : 1
  } finally {
    fs.rmSync(work, { recursive: true })
  }
}
