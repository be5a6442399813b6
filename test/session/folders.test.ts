// Parameters of every class: how many, by which names, and what a folder of one class gives another.
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ConfigError, WeightsError } from '../../src/errors.ts'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors-file.ts'
import { BertConfig, type BertConfigFields } from '../../src/model/config.ts'
import {
  BertForMaskedLM,
  BertForMultipleChoice,
  BertForNextSentencePrediction,
  BertForPreTraining,
  BertForQuestionAnswering,
  BertForSequenceClassification,
  BertForTokenClassification,
  BertLMHeadModel,
  BertModel,
} from '../../src/session/models.ts'
import type { LoadReport } from '../../src/session/options.ts'
import type { PreTrainedModel } from '../../src/session/pretrained.ts'
import { headCases, inputsOf } from './heads.ts'
import { sameBits, sequences, tinyConfig } from './tiny.ts'

let root: string
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-folders-'))
})
afterAll(() => fs.rm(root, { recursive: true }))

const names = (model: PreTrainedModel) => model.parameters().map(({ name }) => name)

describe('the base config', () => {
  // as Transformers counts them, a tied decoder once
  it.each([
    [BertModel, {}, 109_482_240],
    [BertForPreTraining, {}, 110_106_428],
    [BertForMaskedLM, {}, 109_514_298],
    [BertLMHeadModel, { isDecoder: true }, 109_514_298],
    [BertForNextSentencePrediction, {}, 109_483_778],
    [BertForSequenceClassification, {}, 109_483_778],
    [BertForMultipleChoice, {}, 109_483_009],
    [BertForTokenClassification, {}, 108_893_186],
    [BertForQuestionAnswering, {}, 108_893_186],
  ] as const)('has the parameters of Transformers: %o', (Model, fields, count) => {
    // no weight is made before the first awaited call
    using model = new Model(new BertConfig(fields))
    expect(model.parameters().reduce((sum, { size }) => sum + size, 0)).toBe(count)
  })

  it('gives untied decoders a weight and a bias of their own', () => {
    using tied = new BertForMaskedLM(tinyConfig())
    using untied = new BertForMaskedLM(tinyConfig({ tieWordEmbeddings: false }))
    const own = ['cls.predictions.decoder.weight', 'cls.predictions.decoder.bias']
    expect(names(untied).filter((name) => !names(tied).includes(name))).toEqual(own)
    expect(names(tied).filter((name) => name.startsWith('cls.'))).toEqual([
      'cls.predictions.bias',
      'cls.predictions.transform.dense.weight',
      'cls.predictions.transform.dense.bias',
      'cls.predictions.transform.LayerNorm.weight',
      'cls.predictions.transform.LayerNorm.bias',
    ])
  })

  it('gives cross-attention to each layer', () => {
    using model = new BertLMHeadModel(tinyConfig({ isDecoder: true, addCrossAttention: true }))
    const layer = names(model).filter((name) => name.startsWith('bert.encoder.layer.1.crossattention.'))
    const both = (module: string) => [`${module}.weight`, `${module}.bias`]
    expect(layer.map((name) => name.replace('bert.encoder.layer.1.crossattention.', '')).sort()).toEqual(
      ['self.query', 'self.key', 'self.value', 'output.dense', 'output.LayerNorm'].flatMap(both).sort(),
    )
  })
})

describe('a folder', () => {
  const clean = { missing: [], unexpected: [], mismatched: [] }

  it.each(headCases().map((head) => [head.name, head] as const))('%s: saves and loads itself', async (name, head) => {
    const folder = path.join(root, name.replaceAll(' ', '-'))
    using model = new head.Model(tinyConfig(head.fields), { seed: 21 }).eval()
    await model.savePretrained(folder)
    const Model = head.Model as unknown as typeof BertForMaskedLM
    using loaded: PreTrainedModel = await Model.fromPretrained(folder, { seed: 22 })
    expect(loaded.training).toBe(false)
    expect(loaded.loadReport).toEqual(clean)
    expect(loaded.config.architectures).toEqual([head.Model.name])
    const [a, b] = [await model.stateDict(), await loaded.stateDict()]
    expect([...b.keys()]).toEqual([...a.keys()])
    for (const [tensor, { data, shape }] of a) {
      expect(b.get(tensor)!.shape).toEqual(shape)
      expect(sameBits(b.get(tensor)!.data, data), tensor).toBe(true)
    }
    const outputs = [await model.forward(inputsOf(head.batch)), await loaded.forward(inputsOf(head.batch))]
    expect(outputs[1]).toEqual(outputs[0])
  })

  type Loads = {
    fromPretrained(folder: string, options?: Partial<BertConfigFields> | object): Promise<PreTrainedModel>
  }
  const pooler = ['bert.pooler.dense.weight', 'bert.pooler.dense.bias']
  const words = [
    'cls.predictions.bias',
    'cls.predictions.transform.dense.weight',
    'cls.predictions.transform.dense.bias',
    'cls.predictions.transform.LayerNorm.weight',
    'cls.predictions.transform.LayerNorm.bias',
  ]
  const pairs = ['cls.seq_relationship.weight', 'cls.seq_relationship.bias']
  const classifier = ['classifier.weight', 'classifier.bias']
  const bare = (list: string[]) => list.map((name) => name.replace('bert.', ''))

  it.each<[string, Loads[], Partial<LoadReport>[]]>([
    [
      'masked language model -> base -> classifier',
      [BertForMaskedLM, BertModel, BertForSequenceClassification],
      [{ missing: bare(pooler), unexpected: words }, { missing: classifier }],
    ],
    [
      'pre-training -> masked language model',
      [BertForPreTraining, BertForMaskedLM],
      [{ unexpected: [...pairs, ...pooler] }],
    ],
    [
      'pre-training -> next sentence -> pre-training',
      [BertForPreTraining, BertForNextSentencePrediction, BertForPreTraining],
      [{ unexpected: words }, { missing: words }],
    ],
    [
      'base -> question answering -> token classification',
      [BertModel, BertForQuestionAnswering, BertForTokenClassification],
      [
        { missing: ['qa_outputs.weight', 'qa_outputs.bias'], unexpected: bare(pooler) },
        { missing: classifier, unexpected: ['qa_outputs.weight', 'qa_outputs.bias'] },
      ],
    ],
    ['masked language model -> causal language model', [BertForMaskedLM, BertLMHeadModel], [{}]],
  ])('%s', async (title, classes, reports) => {
    const folder = (i: number) => path.join(root, `${title.replaceAll(/\W+/g, '-')}${i}`)
    const [First] = classes as unknown as [typeof BertModel]
    using first = new First(tinyConfig({ numLabels: 2 }), { seed: 31 })
    await first.savePretrained(folder(0))
    let before = await first.stateDict()
    for (const [i, Model] of classes.slice(1).entries()) {
      using model = await Model.fromPretrained(folder(i), { seed: 32 })
      const report = { ...clean, ...reports[i] }
      expect(new Set(model.loadReport!.missing)).toEqual(new Set(report.missing))
      expect(new Set(model.loadReport!.unexpected)).toEqual(new Set(report.unexpected))
      const after = await model.stateDict()
      const strip = (name: string) => name.replace(/^bert\./, '')
      const known = new Map([...before].map(([name, tensor]) => [strip(name), tensor]))
      for (const [name, { data }] of after)
        if (!report.missing.includes(name)) expect(sameBits(data, known.get(strip(name))!.data), name).toBe(true)
      await model.savePretrained(folder(i + 1))
      before = after
    }
  })

  it('that stores a tied decoder twice, or only by its other name, loads all the same', async () => {
    const folder = path.join(root, 'twice')
    using model = new BertForMaskedLM(tinyConfig(), { seed: 41 }).eval()
    await model.savePretrained(folder)
    const file = path.join(folder, 'model.safetensors')
    const source = await openSafetensors(file)
    const stored = new Map<string, { shape: readonly number[]; data: Float32Array }>()
    for (const [name, { shape }] of source.tensors) stored.set(name, { shape, data: await source.read(name) })
    await source.close()
    const embeddings = stored.get('bert.embeddings.word_embeddings.weight')!
    const bias = stored.get('cls.predictions.bias')!
    for (let i = 0; i < bias.data.length; i++) bias.data[i] = Math.sin(i)
    const write = (tensors: typeof stored) =>
      writeSafetensors(
        file,
        Array.from(tensors, ([name, { shape }]) => ({ name, shape })),
        (name) => tensors.get(name)!.data,
      )
    const twice = new Map(stored)
      .set('cls.predictions.decoder.weight', embeddings)
      .set('cls.predictions.decoder.bias', bias)
    const other = new Map(twice)
    other.delete('bert.embeddings.word_embeddings.weight')
    other.delete('cls.predictions.bias')
    for (const tensors of [twice, other]) {
      await write(tensors)
      for (const Model of [BertForMaskedLM, BertLMHeadModel, BertForPreTraining] as Loads[]) {
        using loaded = await Model.fromPretrained(folder)
        expect(loaded.loadReport!.unexpected).toEqual([])
        const state = await loaded.stateDict()
        expect(sameBits(state.get('bert.embeddings.word_embeddings.weight')!.data, embeddings.data)).toBe(true)
        expect(sameBits(state.get('cls.predictions.bias')!.data, bias.data)).toBe(true)
      }
    }
    // an untied model takes them apart
    const apart = { shape: embeddings.shape, data: embeddings.data.map((w) => -w) }
    await write(new Map(twice).set('cls.predictions.decoder.weight', apart))
    using untied = await BertForMaskedLM.fromPretrained(folder, { tieWordEmbeddings: false })
    expect(untied.loadReport).toEqual(clean)
    const state = await untied.stateDict()
    expect(sameBits(state.get('cls.predictions.decoder.weight')!.data, apart.data)).toBe(true)
    expect(sameBits(state.get('cls.predictions.decoder.bias')!.data, bias.data)).toBe(true)
  })

  it('whose words have moved in an untied model is saved with both tables', async () => {
    const folder = path.join(root, 'untied')
    using model = new BertForMaskedLM(tinyConfig({ tieWordEmbeddings: false }), { seed: 51 })
    await model.savePretrained(folder)
    const source = await openSafetensors(path.join(folder, 'model.safetensors'))
    expect([...source.tensors.keys()]).toEqual(
      expect.arrayContaining(['cls.predictions.decoder.weight', 'cls.predictions.bias']),
    )
    await source.close()
    // tied again, the embeddings are the decoder and its own table is of no use
    using tied = await BertForMaskedLM.fromPretrained(folder, { tieWordEmbeddings: true })
    const inputs = { inputIds: sequences([4]) }
    expect((await tied.forward(inputs)).logits).not.toEqual((await model.eval().forward(inputs)).logits)
  })

  it('of a classifier with other labels is refused by name', async () => {
    const folder = path.join(root, 'labels')
    using model = new BertForTokenClassification(tinyConfig())
    await model.savePretrained(folder)
    await expect(BertForTokenClassification.fromPretrained(folder, { numLabels: 5 })).rejects.toThrow(WeightsError)
    await expect(BertForTokenClassification.fromPretrained(folder, { numLabels: 5 })).rejects.toThrow(
      /labels: expected classifier\.weight of shape \[5,20\] but found \[3,20\].*ignoreMismatchedSizes/,
    )
    using other = await BertForTokenClassification.fromPretrained(folder, {
      numLabels: 5,
      ignoreMismatchedSizes: true,
    })
    expect(other.loadReport!.mismatched.map(({ name }) => name)).toEqual(['classifier.weight', 'classifier.bias'])
    const [kept, stored] = [await other.stateDict(), await model.stateDict()]
    expect(kept.get('classifier.weight')!.shape).toEqual([5, 20])
    const name = 'bert.encoder.layer.0.output.dense.weight'
    expect(kept.get(name)).toEqual(stored.get(name))
    await expect(BertForQuestionAnswering.fromPretrained(folder)).rejects.toThrow(/num_labels 2.*3/)
    using qa = await BertForQuestionAnswering.fromPretrained(folder, { numLabels: 2 })
    expect(qa.loadReport!.missing).toEqual(['qa_outputs.weight', 'qa_outputs.bias'])
  })

  it('of a classifier with the same labels in another order is refused, but not where its head is new', async () => {
    const folder = path.join(root, 'order')
    using model = new BertForTokenClassification(tinyConfig({ id2label: { 0: 'c', 1: 'a', 2: 'b' } }))
    await model.savePretrained(folder)
    const sorted = { id2label: { 0: 'a', 1: 'b', 2: 'c' } }
    const loading = BertForTokenClassification.fromPretrained(folder, sorted)
    await expect(loading).rejects.toThrow(ConfigError)
    await expect(loading).rejects.toThrow(
      'order: expected the labels in the order of the model, where label 0 is "c", but received "a" there',
    )
    using renamed = await BertForTokenClassification.fromPretrained(folder, { id2label: { 0: 'x', 1: 'y', 2: 'z' } })
    expect(renamed.config.labels).toEqual(['x', 'y', 'z'])
    using base = new BertModel(model.config)
    await base.savePretrained(folder)
    using fresh = await BertForTokenClassification.fromPretrained(folder, sorted)
    expect(fresh.config.labels).toEqual(['a', 'b', 'c'])
  })
})
