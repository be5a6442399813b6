import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { WeightsError } from '../../src/errors.ts'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { modelFolder, readConfigFile } from '../../src/formats/model-folder.ts'
import { writeSafetensors } from '../../src/formats/safetensors-file.ts'
import { readSentenceTransformer } from '../../src/formats/sentence-transformers.ts'
import { openWeights } from '../../src/formats/weights.ts'
import { BertConfig } from '../../src/model/config.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bertkit-sentence-'))
})
const json = async (file: string, value: unknown) => {
  await mkdir(join(folder, file, '..'), { recursive: true })
  await writeFile(join(folder, file), typeof value === 'string' ? value : JSON.stringify(value))
}
const modules = (transformer: string, ...more: [type: string, path: string][]) =>
  [['Transformer', transformer], ...more].map(([type, path], idx) => ({
    idx,
    name: String(idx),
    path,
    type: `sentence_transformers.models.${type}`,
  }))

async function refuses(message: RegExp): Promise<void> {
  const error: unknown = await readSentenceTransformer(new FolderFiles(folder)).catch((reason) => reason)
  expect(error).toBeInstanceOf(WeightsError)
  expect(String(error)).toContain(folder)
  expect(String(error)).toMatch(message)
}

describe('readSentenceTransformer', () => {
  it('is undefined for another folder', async () => {
    expect(await readSentenceTransformer(new FolderFiles(folder))).toBeUndefined()
    expect((await modelFolder(new FolderFiles(folder))).where).toBe(folder)
  })

  it('reads modules, pooling and limit', async () => {
    await json(
      'modules.json',
      modules('', ['Pooling', '1_Pooling'], ['Dense', '2_Dense'], ['Normalize', '3_Normalize']),
    )
    await json('1_Pooling/config.json', {
      word_embedding_dimension: 8,
      pooling_mode_mean_tokens: true,
      pooling_mode_cls_token: true,
      include_prompt: false,
    })
    await json('sentence_bert_config.json', { max_seq_length: 128, do_lower_case: false })
    expect(await readSentenceTransformer(new FolderFiles(folder))).toEqual({
      pooling: ['cls', 'mean'],
      normalize: true,
      maxSeqLength: 128,
      others: ['Dense'],
    })
  })

  it.each([
    [{ pooling_mode_cls_token: true }, ['cls']],
    [{ pooling_mode_max_tokens: true }, ['max']],
    [{ pooling_mode_mean_sqrt_len_tokens: true }, ['mean_sqrt_len']],
    [{ pooling_mode_weightedmean_tokens: true }, ['weightedmean']],
    [{ pooling_mode_lasttoken: true, pooling_mode_cls_token: false }, ['lasttoken']],
    [{ pooling_mode: 'lasttoken' }, ['lasttoken']],
    [{ pooling_mode: ['mean', 'max'] }, ['max', 'mean']],
  ])('reads %j', async (config, pooling) => {
    await json('modules.json', modules('', ['Pooling', '1_Pooling']))
    await json('1_Pooling/config.json', config)
    expect(await readSentenceTransformer(new FolderFiles(folder))).toMatchObject({
      pooling,
      normalize: false,
      maxSeqLength: undefined,
    })
  })

  it.each<[string, unknown, RegExp]>([
    ['no JSON', '[', /modules\.json: not valid JSON/],
    ['no list', {}, /expected a list of modules, but found an object/],
    ['a list of numbers', [1], /expected module 0 to be an object, but found a number/],
    ['no type', [{ path: '' }], /expected module 0 to have the name of a class as its type, but found undefined/],
    ['no path', [{ type: 'a.Transformer' }], /module 0: expected path to be the name of a folder in this one/],
    ['a type from a prototype', '[{"__proto__":{"type":"a","path":""}}]', /expected module 0 to have the name/],
    ['no transformer', modules('').slice(1), /expected one Transformer, but found 0/],
    ['two transformers', [...modules(''), ...modules('')], /expected one Transformer, but found 2/],
    ['too many', Array.from({ length: 65 }, () => ({})), /lists 65 modules; at most 64/],
    ...['..', '../x', '/etc', 'a/b', 'a\\b', 'C:x', '.', '.hidden', 'a\0', 'a\n', 'x'.repeat(300)].map(
      (path): [string, unknown, RegExp] => [
        `the path ${JSON.stringify(path)}`,
        modules(path),
        /module 0: expected path/,
      ],
    ),
  ])('refuses modules.json with %s', async (_, content, message) => {
    await json('modules.json', content)
    await refuses(message)
  })

  it.each<[unknown, RegExp]>([
    [[], /1_Pooling\/config\.json: expected an object, but found a list/],
    [{}, /expected one or more pooling modes of cls, max, .*, but found \[\]/],
    [{ pooling_mode: 'median' }, /pooling modes of .*, but found "median"/],
    [{ pooling_mode: ['mean', 'mean'] }, /pooling modes/],
    [{ pooling_mode_cls_token: 1 }, /expected pooling_mode_cls_token to be true or false, but found 1/],
    [JSON.parse('{"__proto__":{"pooling_mode_cls_token":true}}'), /pooling modes/],
  ])('refuses a pooling of %j', async (config, message) => {
    await json('modules.json', modules('', ['Pooling', '1_Pooling']))
    await json('1_Pooling/config.json', config)
    await refuses(message)
  })

  it.each([0, -1, 1.5, '8', [], 1e300])('refuses a limit of %j', async (limit) => {
    await json('modules.json', modules(''))
    await json('sentence_bert_config.json', { max_seq_length: limit })
    await refuses(/sentence_bert_config\.json: expected max_seq_length to be a positive integer or null/)
  })

  it('does not wait for a pipe', async () => {
    await symlink('/dev/zero', join(folder, 'modules.json'))
    await expect(readSentenceTransformer(new FolderFiles(folder))).rejects.toThrow(/not a regular file/)
  })

  it.skipIf(!reference)(`reads MiniLM${needsReference}`, async () => {
    const info = await readSentenceTransformer(new FolderFiles(join(reference ?? '', 'data/weights/all-MiniLM-L6-v2')))
    expect(info).toMatchObject({
      pooling: ['mean'],
      normalize: true,
      maxSeqLength: 256,
      others: [],
    })
  })
})

it('a model is found in the folder of its transformer', async () => {
  await json('modules.json', modules('0_Transformer', ['Pooling', '1_Pooling']))
  await json('0_Transformer/config.json', { model_type: 'bert', hidden_size: 8, num_attention_heads: 2 })
  await json('0_Transformer/vocab.txt', '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n')
  const weights = join(folder, '0_Transformer', 'model.safetensors')
  await writeSafetensors(weights, [{ name: 'a', shape: [1] }], () => Float32Array.of(5))
  expect((await readConfigFile(new FolderFiles(folder))).file).toBe(join(folder, '0_Transformer', 'config.json'))
  expect((await BertConfig.fromPretrained(folder)).hiddenSize).toBe(8)
  expect((await BertTokenizer.fromPretrained(folder)).encode('a').inputIds.length).toBe(3)
  const source = await openWeights(new FolderFiles(folder))
  expect([...(await source.read('a'))]).toEqual([5])
  await source.close()
  await rm(folder, { recursive: true })
})

it('a config of Google’s name is found, after one of Transformers’', async () => {
  await json('bert_config.json', { hidden_size: 12, num_attention_heads: 3 })
  expect((await BertConfig.fromPretrained(folder)).hiddenSize).toBe(12)
  await json('config.json', { hidden_size: 24, num_attention_heads: 3 })
  expect((await BertConfig.fromPretrained(folder)).hiddenSize).toBe(24)
})
