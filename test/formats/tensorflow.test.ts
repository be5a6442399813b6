import { cp, mkdir, mkdtemp, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { WeightsError } from '../../src/errors.ts'
import { crc32c } from '../../src/formats/crc.ts'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { MemorySource } from '../../src/formats/source.ts'
import { readTensorFlow } from '../../src/formats/tensorflow.ts'
import { isTransposed, isWeight, nameOf } from '../../src/formats/tensorflow-names.ts'
import { openWeights } from '../../src/formats/weights.ts'
import { BertConfig } from '../../src/model/config.ts'
import { bundleEntry, bundleHeader, bundleOf, mask, slowCrc32c, tableOf } from './builders.mjs'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

const floats = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer)
const variables = [
  { name: 'bert/embeddings/word_embeddings', shape: [3, 2], data: floats(1, 2, 3, 4, 5, 6) },
  { name: 'bert/encoder/layer_0/attention/self/query/kernel', shape: [2, 3], data: floats(1, 2, 3, 4, 5, 6), shard: 1 },
  { name: 'bert/encoder/layer_0/attention/self/query/kernel/adam_m', shape: [1], data: floats(1) },
  { name: 'bert/encoder/layer_11/output/LayerNorm/gamma', shape: [1], data: floats(7) },
  { name: 'global_step', dtype: 9, shape: [], data: Buffer.alloc(8) },
]
type Bundle = { index: Uint8Array; data: Uint8Array[] }
const read = ({ index, data }: Bundle) =>
  readTensorFlow(new MemorySource('x.index', index), async (i, n) => new MemorySource(`x.data-${i}-of-${n}`, data[i]))

async function refuses(bundle: Bundle, message: RegExp): Promise<void> {
  const error: unknown = await read(bundle).catch((reason) => reason)
  expect(error).toBeInstanceOf(WeightsError)
  expect(String(error)).toMatch(message)
}

it('computes CRC-32C', () => {
  // RFC 3720, appendix B.4
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i * 37)
  expect(crc32c(bytes.subarray(13), crc32c(bytes.subarray(0, 13)))).toBe(slowCrc32c(bytes))
})

describe('names of Google’s BERT', () => {
  it.each([
    ['bert/embeddings/word_embeddings', 'bert.embeddings.word_embeddings.weight'],
    ['bert/embeddings/token_type_embeddings', 'bert.embeddings.token_type_embeddings.weight'],
    ['bert/embeddings/LayerNorm/gamma', 'bert.embeddings.LayerNorm.weight'],
    ['bert/embeddings/LayerNorm/beta', 'bert.embeddings.LayerNorm.bias'],
    ['bert/encoder/layer_11/attention/output/dense/kernel', 'bert.encoder.layer.11.attention.output.dense.weight'],
    ['bert/pooler/dense/bias', 'bert.pooler.dense.bias'],
    ['cls/predictions/output_bias', 'cls.predictions.bias'],
    ['cls/predictions/transform/dense/kernel', 'cls.predictions.transform.dense.weight'],
    ['cls/seq_relationship/output_weights', 'cls.seq_relationship.weight'],
    ['cls/seq_relationship/output_bias', 'cls.seq_relationship.bias'],
    ['cls/squad/output_weights', 'qa_outputs.weight'],
    ['output_bias', 'classifier.bias'],
    ['something/else', 'something.else'],
    ['constructor', 'constructor'],
  ])('%s is %s', (variable, name) => expect(nameOf(variable)).toBe(name))

  it('leave out what is no weight, and transpose kernels only', () => {
    const kept = [
      'bert/pooler/dense/kernel',
      'bert/pooler/dense/kernel/adam_m',
      'x/adam_v',
      'global_step',
      'beta1_power',
    ]
    expect(kept.filter(isWeight)).toEqual(['bert/pooler/dense/kernel'])
    expect(['a/kernel', 'kernel', 'a/kernels', 'cls/seq_relationship/output_weights'].filter(isTransposed)).toEqual([
      'a/kernel',
      'kernel',
    ])
  })
})

describe('a TensorFlow checkpoint', () => {
  it('is read from several data files, kernels transposed, without the optimiser', async () => {
    const found = await read(bundleOf(variables, { dataFiles: 2, perBlock: 2 }))
    expect(Array.from(found.tensors, ([name, { shape, dtype }]) => [name, shape, dtype])).toEqual([
      ['bert.embeddings.word_embeddings.weight', [3, 2], 'F32'],
      ['bert.encoder.layer.0.attention.self.query.weight', [3, 2], 'F32'],
      ['bert.encoder.layer.11.output.LayerNorm.weight', [1], 'F32'],
    ])
    expect([...(await found.read('bert.encoder.layer.0.attention.self.query.weight'))]).toEqual([1, 4, 2, 5, 3, 6])
    expect([...(await found.read('bert.embeddings.word_embeddings.weight'))]).toEqual([1, 2, 3, 4, 5, 6])
    await found.close()
  })

  it.skipIf(!reference)(`of another writer is what Transformers made of it, to the bit${needsReference}`, async () => {
    const folder = join(reference ?? '', 'data/weights/keras_bert_test_checkpoint')
    const [found, expected] = [
      await openWeights(new FolderFiles(folder)),
      await openWeights(new FolderFiles(join(folder, 'hf'))),
    ]
    expect([...found.tensors.keys()].sort()).toEqual([...expected.tensors.keys()].sort())
    for (const [name, { shape }] of expected.tensors) {
      expect(found.tensors.get(name)?.shape, name).toEqual(shape)
      expect(Buffer.compare(await found.readRaw(name), await expected.readRaw(name)), name).toBe(0)
    }
    const [config, hf] = await Promise.all([folder, join(folder, 'hf')].map((each) => BertConfig.fromPretrained(each)))
    for (const key of ['vocabSize', 'hiddenSize', 'numHiddenLayers', 'numAttentionHeads', 'typeVocabSize'] as const)
      expect(config[key], key).toBe(hf[key])
    const tokenizer = await BertTokenizer.fromPretrained(folder)
    expect(tokenizer.tokenize('All work and no play')).toEqual(['all', 'work', 'and', 'no', 'play'])
    await Promise.all([found.close(), expected.close()])
  })

  it.skipIf(!reference)(`of any name is found, if it is the only one${needsReference}`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'bertkit-tensorflow-'))
    const from = join(reference ?? '', 'data/weights/keras_bert_test_checkpoint')
    for (const end of ['index', 'data-00000-of-00001']) {
      await cp(join(from, `bert_model.ckpt.${end}`), join(folder, `model.ckpt-20.${end}`))
    }
    await (await openWeights(new FolderFiles(folder))).close()
    await writeFile(join(folder, 'b.index'), '')
    await writeFile(join(folder, 'b.data-00000-of-00001'), '')
    await expect(openWeights(new FolderFiles(folder))).rejects.toThrow(
      /expected one TensorFlow checkpoint, but found 2/,
    )
    await rename(join(folder, 'model.ckpt-20.data-00000-of-00001'), join(folder, 'away'))
    await mkdir(join(folder, 'model.ckpt-20.data-00000-of-00002'))
    await expect(openWeights(new FolderFiles(folder))).rejects.toThrow(/expected one/)
  })

  const bundle = (change: object = {}, options = {}) =>
    bundleOf([{ name: 'a', shape: [2], data: floats(1, 2), ...change }], options)
  const entryOf = (change: object = {}) => {
    const data = floats(1, 2)
    const entry = { dtype: 1, shape: [2], size: 8, crc: mask(slowCrc32c(data)), ...change }
    const entries = [
      { key: Buffer.alloc(0), value: bundleHeader(1) },
      { key: Buffer.from('a'), value: bundleEntry(entry) },
    ]
    return { index: tableOf(entries), data: [data] }
  }
  const table = (...entries: { key: string; value?: Uint8Array; shared?: number }[]) => ({
    index: tableOf(
      entries.map(({ key, value = new Uint8Array(), shared }) => ({ key: Buffer.from(key), value, shared })),
    ),
    data: [Buffer.alloc(0)],
  })
  const header = { key: '', value: bundleHeader(1) }
  const good = bundle()
  const flipped = (at: number) => {
    const index = Uint8Array.from(good.index)
    index[at] ^= 1
    return { ...good, index }
  }
  it.each<[string, Bundle, RegExp]>([
    ['empty', { index: new Uint8Array(), data: [] }, /0 bytes are too few for a table/],
    ['cut', { ...good, index: good.index.subarray(0, -1) }, /it does not end as a table does/],
    ['a flipped bit', flipped(5), /a block's checksum is wrong/],
    ['compressed', bundle({}, { kind: 1 }), /a block is compressed \(kind 1\)/],
    ['without a header', table({ key: 'a' }), /its header is missing/],
    ['without anything', table(), /its header is missing/],
    ['big-endian', table({ key: '', value: bundleHeader(1, 1) }), /expected little-endian/],
    [
      'of no data file',
      table({ key: '', value: bundleHeader(0) }),
      /expected from 1 to 512 data files, but it names 0/,
    ],
    ['of a million data files', table({ key: '', value: bundleHeader(2 ** 20) }), /from 1 to 512 data files/],
    ['keys out of order', table(header, { key: 'b' }, { key: 'a' }), /its keys are not in order/],
    ['a key twice', table(header, { key: 'a' }, { key: 'a' }), /its keys are not in order/],
    ['a key of more than there is', table({ ...header, shared: 9 }), /a key shares more than the one before it has/],
    ['a long name', table(header, { key: 'n'.repeat(5000) }), /a name has more than 4096 bytes/],
    [
      'a name of no UTF-8',
      {
        ...table(),
        index: tableOf([
          { key: Buffer.alloc(0), value: bundleHeader(1) },
          { key: Buffer.from([0xff]), value: Buffer.alloc(0) },
        ]),
      },
      /a name is not valid UTF-8/,
    ],
    ['of TensorFlow 2', table(header, { key: 'layer/.ATTRIBUTES/VARIABLE_VALUE' }), /saved by TensorFlow 2/],
    ['a message cut off', table(header, { key: 'a', value: Buffer.from([0x12, 9]) }), /variable "a": it is cut off/],
    [
      'a field of a wrong kind',
      table(header, { key: 'a', value: Buffer.from([0x0a, 0]) }),
      /another kind than expected/,
    ],
    ['an unknown dtype', entryOf({ dtype: 7 }), /its dtype \(7\) is not supported/],
    ['a wrong shape', entryOf({ shape: [3] }), /dtype F32 and shape \[3\] need 12 bytes, but it has 8/],
    ['a negative size', entryOf({ shape: [-1] }), /need .* bytes, but it has 8/],
    ['a huge shape', entryOf({ shape: [2 ** 62, 2 ** 62] }), /need .* bytes, but it has 8/],
    ['slices', entryOf({ slices: 2 }), /it is stored in slices/],
    [
      'an offset beyond the file',
      entryOf({ offset: 4 }),
      /"a": it reaches beyond x\.data-0-of-1; is that file truncated/,
    ],
    ['another data file', entryOf({ shard: 1 }), /a tensor is in data file 1 of 1/],
    ['a kernel of one axis', bundle({ name: 'kernel' }), /expected a kernel to have two axes, but its shape is \[2\]/],
    [
      'two names for one tensor',
      bundleOf(['gamma', 'kernel'].map((name) => ({ name: `a/${name}`, shape: [1, 1], data: floats(1) }))),
      /two variables would be "a\.weight"/,
    ],
  ])('%s is refused', async (_, broken, message) => refuses(broken, message))

  it('with a changed weight is noticed when the weight is read', async () => {
    const { index, data } = bundle()
    data[0][0] ^= 1
    const found = await read({ index, data })
    await expect(found.read('a')).rejects.toThrow(/variable "a": its checksum is wrong/)
    await found.close()
  })
})
