// Everything a user can get wrong with a model is a typed error that says what was expected and what came.
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  AbortedError,
  ArgumentError,
  BackendError,
  BusyError,
  ConfigError,
  DisposedError,
  FileError,
  NonFiniteError,
  WeightsError,
} from '../../src/errors.ts'
import { BertConfig } from '../../src/model/config.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertForSequenceClassification, BertModel } from '../../src/session/models.ts'
import { sameBits, sequences, tinyClassifier, tinyConfig } from './tiny.ts'

const fails = async (call: () => unknown, type: new (...args: never[]) => Error, text: RegExp) => {
  const error = await Promise.resolve()
    .then(call)
    .then(
      () => undefined,
      (reason: unknown) => reason,
    )
  expect(error).toBeInstanceOf(type)
  expect((error as Error).message).toMatch(text)
}

describe('inputs', () => {
  const model = tinyClassifier().eval()
  const bert = new BertModel(tinyConfig()).eval()
  const one = { inputIds: [[1, 2, 3]] }
  afterAll(() => {
    model.dispose()
    bert.dispose()
  })

  it.each<[string, object, RegExp]>([
    ['no inputIds', {}, /inputIds/],
    ['no sequence', { inputIds: [] }, /at least one sequence/],
    ['an empty sequence', { inputIds: [[1], []] }, /inputIds\[1\] is empty/],
    ['an id beyond the vocabulary', { inputIds: [[1], [2, 53]] }, /inputIds\[1\]\[1\] is 53.*vocab_size 53/],
    ['a negative id', { inputIds: [[-1]] }, /inputIds\[0\]\[0\] is -1/],
    ['a fraction', { inputIds: [[1.5]] }, /is 1.5/],
    ['a string', { inputIds: ['hello'] }, /number\[\]\[\]/],
    ['too long a sequence', { inputIds: [Array(17).fill(1)] }, /17 tokens.*at most 16 \(max_position_embeddings\)/],
    ['a wrong token type', { ...one, tokenTypeIds: [[0, 1, 2]] }, /tokenTypeIds\[0\]\[2\] is 2.*type_vocab_size 2/],
    ['token types of another length', { ...one, tokenTypeIds: [[0, 1]] }, /tokenTypeIds\[0\] to have 3 elements/],
    ['a position out of range', { ...one, positionIds: [[0, 1, 16]] }, /positionIds\[0\]\[2\] is 16/],
    ['a mask of 2', { ...one, attentionMask: [[1, 1, 2]] }, /attentionMask\[0\]\[2\] is 2, expected 0 \(hidden\) or 1/],
    [
      'a padded mask for ragged ids',
      { ...one, attentionMask: { data: [1, 1, 1], shape: [1, 3] } },
      /shape of inputIds/,
    ],
    ['a shape that lies', { inputIds: { data: [1, 2, 3], shape: [2, 3] } }, /\[2,3\] with 3 values/],
    ['too few labels', { ...one, labels: [] }, /labels for 1 sequences but received 0/],
    ['a label out of range', { ...one, labels: [3] }, /labels\[0\] to be a class from 0 to 2.*received 3/],
    ['a label of the wrong kind', { ...one, labels: ['cat'] }, /labels\[0\]/],
    ['a label that is null', { ...one, labels: [null] }, /labels\[0\].*null/],
    ['labels that are one number', { ...one, labels: 1 }, /labels to be an array/],
  ])('%s', async (_name, inputs, text) => {
    await fails(() => model.forward(inputs as never), ArgumentError, text)
  })

  it('labels for a model without a loss', async () => {
    await fails(() => bert.forward({ ...one, labels: [1] } as never), ArgumentError, /BertModel takes no labels/)
    await fails(() => bert.gradients({ ...one, labels: [1] } as never), ArgumentError, /BertModel has no loss/)
  })

  it('labels that are not numbers in regression, or too few of them', async () => {
    using regression = tinyClassifier({ numLabels: 2, problemType: 'regression' })
    await fails(
      () => regression.forward({ ...one, labels: [[1, Number.NaN]] }),
      ArgumentError,
      /labels\[0\]\[1\].*finite/,
    )
    await fails(() => regression.forward({ ...one, labels: [[1]] }), ArgumentError, /hold 2 numbers/)
  })

  it('still computes after all of these', async () => {
    expect((await model.forward(one)).logits.data.every(Number.isFinite)).toBe(true)
  })
})

describe('a misspelt name', () => {
  const one = { inputIds: [[1, 2]], labels: [1] }

  it.each<[string, () => unknown, RegExp]>([
    [
      'of AdamW',
      () => new AdamW(tinyClassifier(), { learningRate: 1 } as never),
      /no option 'learningRate'; there are lr/,
    ],
    ['of AdamW, which has none', () => new AdamW(tinyClassifier(), null as never), /an object but received null/],
    ['of step', () => new AdamW(tinyClassifier()).step(one, { maxGradnorm: 1 } as never), /no option 'maxGradnorm'/],
    ['of forward', () => tinyClassifier().forward(one, { outputHiddenState: true } as never), /'outputHiddenState'/],
    ['of gradients', () => tinyClassifier().gradients(one, { smoothing: 1 } as never), /no option 'smoothing'/],
    ['to freeze', () => tinyClassifier().freeze(undefined as never), /a string but received undefined/],
    ['of a state', () => tinyClassifier().loadStateDict({} as never), /a Map of names/],
    ['of a rate', () => new AdamW(tinyClassifier(), { lr: 1e30 }), /lr from 0 to 1e15 but received 1e\+30/],
  ])('%s is refused', async (_name, call, text) => {
    await fails(async () => call(), ArgumentError, text)
  })
})

describe('options', () => {
  it.each<[string, () => unknown, new (...args: never[]) => Error, RegExp]>([
    ['an unknown dtype', () => tinyClassifier({}, { dtype: 'float16' }), ArgumentError, /dtype.*float16/],
    [
      'a seed that is none',
      () => tinyClassifier({}, { seed: -1 }),
      ArgumentError,
      /seed to be an integer from 0 to 2\^32 - 1 but received -1/,
    ],
    [
      'cross-attention',
      () => new BertModel(tinyConfig({ addCrossAttention: true })),
      ConfigError,
      /add_cross_attention needs is_decoder/,
    ],
    ['no config', () => new BertModel({} as never), ArgumentError, /BertConfig/],
    [
      'an unknown backend',
      () => tinyClassifier({}, { backend: 'tpu' }).stateDict(),
      ArgumentError,
      /auto, cpu, cuda, wasm/,
    ],
    ['a backend that is not built', () => tinyClassifier({}, { backend: 'cuda' }).stateDict(), BackendError, /cuda/],
    ['no threads', () => tinyClassifier({}, { threads: 0 }).stateDict(), ArgumentError, /threads/],
    [
      'a negative rate',
      () => new AdamW(tinyClassifier(), { lr: -1 }),
      ArgumentError,
      /lr from 0 to 1e15 but received -1/,
    ],
    ['one beta', () => new AdamW(tinyClassifier(), { betas: [0.9] as never }), ArgumentError, /betas of two numbers/],
    ['no model', () => new AdamW(undefined as never), ArgumentError, /expected a model as the first argument/],
    [
      'a decay that is not decided',
      () => new AdamW(tinyClassifier(), { decoupledWeightDecay: 'no' as never }),
      ArgumentError,
      /decoupledWeightDecay true or false but received "no"/,
    ],
    [
      'a beta of 1',
      () => new AdamW(tinyClassifier(), { betas: [0.9, 1] }),
      ArgumentError,
      /betas\[1\] from 0 to below 1 but received 1/,
    ],
  ])('%s', async (_name, call, type, text) => {
    await fails(call, type, text)
  })
})

describe('model folders', () => {
  let root: string
  const folder = async (name: string, change: (files: Record<string, Buffer>) => void) => {
    const target = path.join(root, name)
    await fs.mkdir(target)
    const files: Record<string, Buffer> = {}
    for (const file of await fs.readdir(path.join(root, 'good')))
      files[file] = await fs.readFile(path.join(root, 'good', file))
    change(files)
    for (const [file, bytes] of Object.entries(files)) await fs.writeFile(path.join(target, file), bytes)
    return target
  }
  const editConfig = (files: Record<string, Buffer>, fields: object) => {
    files['config.json'] = Buffer.from(JSON.stringify({ ...JSON.parse(files['config.json'].toString()), ...fields }))
  }
  const load = (target: string) => BertForSequenceClassification.fromPretrained(target)

  beforeAll(async () => {
    root = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-'))
    using model = tinyClassifier()
    await model.savePretrained(path.join(root, 'good'))
  })
  afterAll(() => fs.rm(root, { recursive: true }))

  it('loads what it has saved, to the bit', async () => {
    using model = await load(path.join(root, 'good'))
    using again = tinyClassifier()
    expect(model.loadReport).toEqual({ missing: [], unexpected: [], mismatched: [] })
    for (const [name, { data }] of await again.stateDict())
      expect(sameBits((await model.stateDict()).get(name)!.data, data)).toBe(true)
  })

  it('loads a headless folder into a head, and says what is new', async () => {
    using base = new BertModel(tinyConfig())
    await base.savePretrained(path.join(root, 'headless'))
    using model = await load(path.join(root, 'headless'))
    expect(model.loadReport).toEqual({
      missing: ['classifier.weight', 'classifier.bias'],
      unexpected: [],
      mismatched: [],
    })
  })

  it.each<[string, (files: Record<string, Buffer>) => void, new (...args: never[]) => Error, RegExp]>([
    [
      'no weights',
      (f) => delete f['model.safetensors'],
      WeightsError,
      /found no weights: looked for model.safetensors, /,
    ],
    ['no config', (f) => delete f['config.json'], FileError, /config.json/],
    [
      'truncated weights',
      (f) => (f['model.safetensors'] = f['model.safetensors'].subarray(0, -100)),
      WeightsError,
      /model.safetensors/,
    ],
    [
      'half a header',
      (f) => (f['model.safetensors'] = f['model.safetensors'].subarray(0, 50)),
      WeightsError,
      /model.safetensors/,
    ],
    ['a header size that lies', (f) => f['model.safetensors'].writeBigUInt64LE(2n ** 60n), WeightsError, /header/],
    ['another architecture', (f) => editConfig(f, { model_type: 'llama' }), ConfigError, /llama/],
    [
      'relative positions',
      (f) => editConfig(f, { position_embedding_type: 'relative_key' }),
      ConfigError,
      /relative_key/,
    ],
    [
      'weights of another shape',
      (f) => editConfig(f, { intermediate_size: 24 }),
      WeightsError,
      /intermediate.*\[24,20\].*\[28,20\]/,
    ],
    [
      'integers for weights',
      (f) =>
        (f['model.safetensors'] = Buffer.from(
          f['model.safetensors'].toString('latin1').replaceAll('"F32"', '"I32"'),
          'latin1',
        )),
      WeightsError,
      /I32/,
    ],
  ])('%s', async (name, change, type, text) => {
    await fails(async () => load(await folder(name.replaceAll(' ', '-'), change)), type, text)
  })

  it('an option that is no field of the config', async () => {
    await fails(
      () => BertModel.fromPretrained(path.join(root, 'good'), { hiddenDropout: 0 } as never),
      ArgumentError,
      /hiddenDropout/,
    )
  })
})

describe('the state of a model', () => {
  const batch = { inputIds: sequences([3, 5]), labels: [0, 1] }

  it('is gone after dispose', async () => {
    const model = tinyClassifier()
    const optimizer = new AdamW(model)
    await optimizer.step(batch)
    model.dispose()
    model.dispose()
    for (const call of [
      () => model.forward(batch),
      () => model.gradients(batch),
      () => model.stateDict(),
      () => model.loadStateDict(new Map()),
      () => optimizer.step(batch),
      () => optimizer.stateDict(),
    ])
      await fails(call, DisposedError, /disposed/)
  })

  it('refuses dispose and loadStateDict while it runs, and runs in order', async () => {
    using model = tinyClassifier()
    const optimizer = new AdamW(model, { lr: 1e-2 })
    const order: string[] = []
    const steps = [1, 2, 3].map((i) => optimizer.step(batch).then(() => order.push(`step ${i}`)))
    const read = model.forward(batch).then(() => order.push('forward'))
    await fails(() => model.dispose(), BusyError, /running/)
    await fails(() => model.loadStateDict(new Map()), BusyError, /running/)
    await Promise.all([...steps, read])
    expect(order).toEqual(['step 1', 'step 2', 'step 3', 'forward'])
  })

  it('is unchanged by an aborted step', async () => {
    using model = tinyClassifier()
    const optimizer = new AdamW(model)
    const before = await model.stateDict()
    const controller = new AbortController()
    controller.abort()
    await fails(() => optimizer.step(batch, { signal: controller.signal }), AbortedError, /no weight/)
    for (const [name, { data }] of await model.stateDict()) expect(sameBits(data, before.get(name)!.data)).toBe(true)
    expect(Number.isFinite((await optimizer.step(batch)).loss)).toBe(true)
  })

  it('has taken a whole step or none when that is aborted on its way', async () => {
    // most of a step is the update of the embeddings, and other weights are updated after it
    using model = tinyClassifier({ vocabSize: 200_000 }, { threads: 1 })
    const optimizer = new AdamW(model, { lr: 1e-2 })
    await optimizer.step(batch)
    let taken = 1
    for (let milliseconds = 0; milliseconds < 20; milliseconds++) {
      const before = await model.stateDict()
      const controller = new AbortController()
      const stepping = optimizer.step(batch, { signal: controller.signal })
      setTimeout(() => controller.abort(), milliseconds)
      const whole = await stepping.then(
        () => true,
        (error) => {
          expect(error).toBeInstanceOf(AbortedError)
          return false
        },
      )
      if (whole) taken++
      const after = await model.stateDict()
      const changed = (name: string) => !sameBits(after.get(name)!.data, before.get(name)!.data)
      for (const name of ['bert.embeddings.word_embeddings.weight', 'bert.pooler.dense.bias', 'classifier.weight'])
        expect(changed(name), name).toBe(whole)
      expect(model.optimizerSteps).toBe(taken)
    }
  })

  it('is unchanged by a step whose loss is not finite, and the error names step and tensor', async () => {
    using model = tinyClassifier({ hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 })
    const optimizer = new AdamW(model)
    await optimizer.step(batch)
    const weights = await model.stateDict()
    const name = 'bert.encoder.layer.1.output.dense.weight'
    const broken = { data: weights.get(name)!.data.slice().fill(Number.NaN, 7, 8), shape: weights.get(name)!.shape }
    await model.loadStateDict(new Map([[name, broken]]), { strict: false })
    await fails(() => optimizer.step(batch), NonFiniteError, /Step 2.*bert\.encoder\.layer\.1\.output\.dense\.weight/)
    await model.loadStateDict(weights)
    expect(Number.isFinite((await optimizer.step(batch)).loss)).toBe(true)
  })

  it.each([
    ['of the only batch', [1e20]],
    ['of a micro-batch before the last', [1e20, 0.5]],
    ['of the last micro-batch', [0.5, 1e20]],
  ])('is unchanged where only the loss is not finite, %s', async (_, targets) => {
    using model = tinyClassifier({ numLabels: 1, problemType: 'regression' })
    const optimizer = new AdamW(model)
    const inputs = targets.map((target) => ({ inputIds: [[1, 2, 3]], labels: [target] }))
    // the square of 1e20 is beyond float32, its gradient is not
    const { loss, gradients } = await model.gradients({ inputIds: [[1, 2, 3]], labels: [1e20] })
    expect(loss).toBe(Number.POSITIVE_INFINITY)
    expect([...gradients.values()].every(({ data }) => data.every(Number.isFinite))).toBe(true)
    const before = await model.stateDict()
    await fails(() => optimizer.step(inputs), NonFiniteError, /Step 1: the loss is Infinity.*: loss\./)
    for (const [name, { data }] of await model.stateDict()) expect(sameBits(data, before.get(name)!.data)).toBe(true)
    expect((await optimizer.stateDict()).get('step')!.data[0]).toBe(0)
  })

  it('is not trained on attention scores that are not finite', async () => {
    using model = tinyClassifier({ hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 })
    const optimizer = new AdamW(model)
    const name = 'bert.encoder.layer.0.attention.self.query.weight'
    const broken = new Map([[name, { data: new Float32Array(400).fill(Number.NaN), shape: [20, 20] }]])
    await model.loadStateDict(broken, { strict: false })
    for (const length of [1, 3, 8, 16])
      await fails(() => optimizer.step({ inputIds: sequences([length]), labels: [1] }), NonFiniteError, /query\.weight/)
  })

  it('does not take its problem type from labels that were refused', async () => {
    using model = tinyClassifier({ numLabels: 2 })
    await fails(() => model.forward({ inputIds: [[1, 2]], labels: [0.5] }), ArgumentError, /labels\[0\]/)
    expect((await model.forward({ inputIds: [[1, 2]], labels: [1] })).loss).toBeGreaterThan(0)
    expect(model.config.problemType).toBe('single_label_classification')
  })

  it('names what is wrong with a parameter group', async () => {
    using model = tinyClassifier()
    const refused = (change: (optimizer: AdamW) => void, text: RegExp) => {
      const optimizer = new AdamW(model)
      change(optimizer)
      return fails(() => optimizer.step(batch), ArgumentError, text)
    }
    await refused(
      ({ paramGroups }) => paramGroups[0].params.push('classifer.bias'),
      /paramGroups\[0\] names classifer\.bias/,
    )
    await refused(
      ({ paramGroups }) => paramGroups[0].params.push('classifier.bias'),
      /classifier\.bias, which is in group 0 too/,
    )
    await refused(({ paramGroups }) => Object.assign(paramGroups[1], { lr: Number.NaN }), /paramGroups\[1\]\.lr.*NaN/)
  })

  it('accepts a state only whole and in shape', async () => {
    using model = tinyClassifier()
    await fails(() => model.loadStateDict(new Map()), ArgumentError, /missing \[bert\.embeddings/)
    const wrong = new Map([['classifier.bias', { data: new Float32Array(4), shape: [4] }]])
    await fails(
      () => model.loadStateDict(wrong, { strict: false }),
      ArgumentError,
      /classifier\.bias of shape \[3\].*\[4\]/,
    )
  })
})

it('a folder none of whose weights are the model’s', async () => {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-strangers-'))
  using model = tinyClassifier()
  await model.savePretrained(folder)
  const file = path.join(folder, 'model.safetensors')
  const bytes = await fs.readFile(file)
  await fs.writeFile(file, Buffer.from(bytes.toString('latin1').replaceAll('"bert.', '"nett.'), 'latin1'))
  const text =
    /weights of this model, such as "embeddings\.word_embeddings\.weight", but found none of them; there are \d+ others, such as "/
  await fails(() => BertModel.fromPretrained(folder), WeightsError, text)
  await fs.rm(folder, { recursive: true })
})

describe('what JavaScript alone can give', () => {
  const options = (name: string) => tinyClassifier().forward({ inputIds: [[1, 2]] }, { [name]: { odd: 1n } } as never)

  it.each<[string, () => unknown, new (...args: never[]) => Error, RegExp]>([
    ['a config of null', () => new BertConfig(null as never), ConfigError, /an object of fields, but it is null/],
    ['fields of null', () => tinyConfig().with(null as never), ConfigError, /an object of fields, but it is null/],
    ['a list with holes', () => tinyClassifier().forward({ inputIds: new Array(3) }), ArgumentError, /number\[\]\[\]/],
    ['outputs that are no choice', () => options('outputHiddenStates'), ArgumentError, /outputHiddenStates to be true/],
    ['attentions that are no choice', () => options('outputAttentions'), ArgumentError, /outputAttentions to be true/],
    [
      'batches with a hole',
      () => new AdamW(tinyClassifier()).step(new Array(1) as never),
      ArgumentError,
      /an input with inputIds/,
    ],
  ])('%s', async (_name, call, type, text) => {
    await fails(async () => call(), type, text)
  })
})
