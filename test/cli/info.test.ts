// `bertkit info FOLDER`: what a folder holds, by the class that its config names.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors-file.ts'
import { BertModel } from '../../src/session/models.ts'
import { headCases } from '../session/heads.ts'
import { tinyConfig } from '../session/tiny.ts'
import { bertkit, jsonLines } from './io.ts'

let root: string
const at = (name: string) => join(root, name)
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'bertkit-info-'))
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

const info = async (folder: string): Promise<Record<string, unknown>> => {
  const { code, stdout, stderr } = await bertkit(['info', folder, '--json'])
  expect([code, stderr]).toEqual([0, ''])
  return jsonLines(stdout)[0].model as Record<string, unknown>
}
const text = async (folder: string): Promise<string> => (await bertkit(['info', folder])).stdout
const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'b']

describe('info', () => {
  test.each(headCases().map((head) => [head.name, head] as const))('%s', async (name, head) => {
    using model = new head.Model(tinyConfig(head.fields))
    await model.savePretrained(at(name))
    const parameters = model.parameters().reduce((sum, { size }) => sum + size, 0)
    const described = await info(at(name))
    expect(described).toMatchObject({
      folder: at(name),
      head: head.Model.name,
      layers: 2,
      hiddenSize: 20,
      heads: 4,
      intermediateSize: 28,
      vocabulary: 53,
      maxLength: 16,
      decoder: head.fields.isDecoder ?? false,
      crossAttention: head.fields.addCrossAttention ?? false,
      parameters,
      bytes: 4 * parameters,
      dtype: 'float32',
      missing: [],
      unexpected: [],
      mismatched: [],
    })
    expect('tokenizer' in described).toBe(false)
    const classes = /Sequence|Token/.test(head.Model.name)
    const labels = head.fields.numLabels === 1 ? ['LABEL_0'] : ['LABEL_0', 'LABEL_1', 'LABEL_2']
    expect(described.labels).toEqual(classes ? labels : undefined)
    expect('problemType' in described).toBe(/Sequence/.test(head.Model.name))
  })

  test('shows it in lines', async () => {
    const [, , , , crossed] = headCases()
    using model = new crossed.Model(tinyConfig(crossed.fields))
    await model.savePretrained(at('lines'))
    await BertTokenizer.fromVocab(WORDS, { doLowerCase: false }).savePretrained(at('lines'))
    const lines = await text(at('lines'))
    expect(lines).toMatch(/^head +BertLMHeadModel, a decoder with cross-attention$/m)
    expect(lines).toMatch(/^size +2 layers of 20, 4 heads, intermediate 28$/m)
    expect(lines).toMatch(/^parameters +\d+,\d+$/m)
    expect(lines).toMatch(/^stored +\d\.\d MiB, float32$/m)
    expect(lines).toMatch(/^tokenizer +WordPiece, 7 tokens of the model's 53, cased$/m)
    expect(lines).not.toMatch(/missing|unexpected|mismatched|labels/)
  })

  test('describes the tokenizer, from vocab.txt too', async () => {
    using model = new BertModel(tinyConfig())
    await model.savePretrained(at('vocab'))
    expect(await text(at('vocab'))).toMatch(/^tokenizer +none$/m)
    writeFileSync(at('vocab/vocab.txt'), WORDS.map((word) => `${word}\n`).join(''))
    expect((await info(at('vocab'))).tokenizer).toEqual({ kind: 'WordPiece', vocabulary: 7, lowerCase: true })
    writeFileSync(at('vocab/tokenizer.json'), '{')
    const { code, stderr } = await bertkit(['info', at('vocab')])
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^bertkit: .*tokenizer\.json/)])
  })

  test('counts by the class that config.json names: what it misses, what it has no use for, and no tied decoder twice', async () => {
    const folder = at('other')
    const [, masked] = headCases()
    using model = new masked.Model(tinyConfig())
    await model.savePretrained(folder)
    const file = join(folder, 'model.safetensors')
    const source = await openSafetensors(file)
    const tensors = new Map<string, { readonly shape: readonly number[]; readonly data: Float32Array }>()
    for (const [name, { shape }] of source.tensors) tensors.set(name, { shape, data: await source.read(name) })
    await source.close()
    tensors.set('cls.predictions.decoder.weight', tensors.get('bert.embeddings.word_embeddings.weight')!)
    const entries = Array.from(tensors, ([name, { shape }]) => ({ name, shape }))
    await writeSafetensors(file, entries, (name) => tensors.get(name)!.data)
    const parameters = model.parameters().reduce((sum, { size }) => sum + size, 0)
    expect(await info(folder)).toMatchObject({
      parameters,
      bytes: 4 * (parameters + 53 * 20),
      missing: [],
      unexpected: [],
    })

    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
    const named = (fields: object) =>
      writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...fields }))
    named({ architectures: ['BertForTokenClassification'], id2label: { 0: 'O', 1: 'B' }, intermediate_size: 24 })
    const described = await info(folder)
    expect(described).toMatchObject({ missing: ['classifier.weight', 'classifier.bias'], labels: ['O', 'B'] })
    expect(described.unexpected).toHaveLength(6)
    expect(described.mismatched).toContain('bert.encoder.layer.0.intermediate.dense.weight')
    const lines = await text(folder)
    expect(lines).toMatch(/^missing +2: classifier\.weight, classifier\.bias$/m)
    expect(lines).toMatch(/^unexpected +6: cls\..*, cls\..* and 2 more$/m)
    expect(lines).toMatch(/^mismatched +6: /m)

    // without a name it is BertModel; of a class that there is not, only the folder is counted
    named({ architectures: null })
    expect(await info(folder)).toMatchObject({
      head: 'BertModel',
      missing: ['pooler.dense.weight', 'pooler.dense.bias'],
    })
    named({ architectures: ['BertForNothing'] })
    const unknown = await info(folder)
    expect(unknown).toMatchObject({ head: 'BertForNothing', parameters: parameters + 53 * 20 })
    expect('missing' in unknown).toBe(false)
    for (const name of ['constructor', 'toString', '__proto__']) {
      named({ architectures: [name] })
      expect(await info(folder)).toMatchObject({ head: name, parameters: parameters + 53 * 20 })
    }
  })

  test('says what is wrong with a folder', async () => {
    mkdirSync(at('empty'))
    for (const [folder, message] of [
      ['empty', /config\.json/],
      ['nothing', /nothing: no such folder/],
    ] as const) {
      const { code, stderr } = await bertkit(['info', at(folder)])
      expect([code, stderr]).toEqual([1, expect.stringMatching(message)])
    }
  })
})
