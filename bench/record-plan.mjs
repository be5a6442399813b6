// Records the programs of a training step (forward, backward, norm of the gradients, AdamW; dropout on) and of a forward, for bench/cuda
// on a machine without Node: npm run bench -- record-plan --record-plan FOLDER --backend cuda, with the options of train, and more than one
// --dtype; --filter train or infer leaves out the other.
//
// Inputs and results are recorded too, those of each record alone among them, of a model with few words, so that they can be carried.
// With --plan-only a model of any size is not run: its plans, scalars and batches are recorded, and whoever times them fills the
// weights. Plans are made for what BERTKIT_CUDA_LIBRARY says that it needs; the emulated library says the same as the real one.
import { openBackend } from '../dist/backend/open.js'
import { Arena } from '../dist/graph/op-table.js'
import { AdamW, BertForSequenceClassification, BertModel } from '../dist/index.js'
import { platform, registerPlatform } from '../dist/platform.js'
import { configOf, forwardFlops, lengths, tokens, uniform } from './batches.mjs'
import { Recorder } from './cuda/recorder.mjs'
import { modelOn } from './measure.mjs'

/** Words of a model that is run; the ids of random batches are taken modulo it. */
const WORDS = 256

/** Memory that keeps what a caller writes before a run, and is zero elsewhere. */
class InputMemory {
  #io = new Uint8Array(0)

  reserve(arena, bytes) {
    if (arena === Arena.io && bytes > this.#io.length) this.#io = new Uint8Array(bytes)
  }
  release() {}
  write(arena, offset, { buffer, byteOffset, byteLength }) {
    if (arena === Arena.io) this.#io.set(new Uint8Array(buffer, byteOffset, byteLength), offset)
  }
  async read(arena, offset, target) {
    const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength)
    if (arena === Arena.io) bytes.set(this.#io.subarray(offset, offset + bytes.length))
    else bytes.fill(0)
  }
  dispose() {}
}

/** A backend that runs nothing. */
const idle = (description) => ({
  description,
  createMemory: () => new InputMemory(),
  compile: () => ({ run: async () => {}, dispose() {} }),
  measurePeak: async () => 0,
  close() {},
})

export async function run(options) {
  const { model: name, batch: batchText, seq: seqText, lengths: kind, steps = '5', 'record-plan': folder } = options
  if (!folder) throw new Error('expected --record-plan FOLDER')
  const planOnly = options['plan-only']
  const [batch, seq, count] = [batchText, seqText, steps].map(Number)
  const { size, config: whole } = configOf(name)
  const config = planOnly
    ? whole.with({ maxPositionEmbeddings: Math.max(512, seq) })
    : whole.with({ vocabSize: WORDS, maxPositionEmbeddings: seq })
  const recorder = new Recorder(folder)
  const about = {}
  let singly = false
  const opened = await openBackend(modelOn(options))
  const recording = planOnly
    ? recorder.wrap(idle(opened.description), () => ({ ...about }), { arenas: [Arena.io] })
    : recorder.wrap(opened, () => ({ ...about }), { singly: () => singly })
  registerPlatform({ ...platform(), backends: [{ name: 'cuda', open: () => recording }] })

  let random
  /** A batch, and what is said of its runs. `passes`: of the model over it, as flops are counted. */
  const draw = (session, step, passes) => {
    const ns = lengths(kind, batch, seq, random)
    const real = ns.reduce((sum, n) => sum + n, 0)
    const work = { sequences: ns.length, tokens: real, flops: passes * forwardFlops(size, ns) }
    Object.assign(about, { name: `${session}: step ${step}`, session, step, ...work })
    return tokens(ns, random).map((ids) => ids.map((id) => id % config.vocabSize))
  }
  for (const dtype of options.dtype.split(',')) {
    const of = `${name} ${batch}x${seq} ${kind} ${dtype}`
    const on = { backend: 'cuda', dtype, seed: 0 }
    random = uniform(0) // the same batches for every dtype
    if (options.filter !== 'infer') await train(of, on)
    if (options.filter !== 'train') await infer(of, on)
  }
  console.log(recorder.close())

  async function train(of, on) {
    const trained = new BertForSequenceClassification(config, on).train()
    const optimizer = new AdamW(trained, { lr: 2e-5, weightDecay: 0.01 })
    const labelled = (inputIds) => ({ inputIds, labels: inputIds.map(() => Math.floor(random() * 2)) })
    for (let step = 0; step < count; step++) {
      singly = step === 0
      const batches = [labelled(draw(`train ${of}`, step, 3))]
      // where results are recorded, the last step is one of two batches: its second run adds to gradients
      if (!planOnly && step === count - 1) batches.push(labelled(draw(`train ${of}`, step, 3)))
      await optimizer.step(batches, { maxGradNorm: 1 })
    }
    singly = false
    trained.dispose()
  }

  async function infer(of, on) {
    const served = new BertModel(config, on).eval()
    for (let step = 0; step < 2; step++) await served.forward({ inputIds: draw(`infer ${of}`, step, 1) })
    served.dispose()
  }
}
