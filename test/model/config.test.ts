import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ConfigError, FileError } from '../../src/errors.ts'
import type { JsonObject } from '../../src/json.ts'
import { activationOf, BertConfig, type BertConfigFields, isConfigField } from '../../src/model/config.ts'
import { Random } from '../formats/helpers.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

const refuses = (fields: Partial<BertConfigFields>, message: RegExp) => {
  expect(() => new BertConfig(fields)).toThrow(ConfigError)
  expect(() => new BertConfig(fields)).toThrow(message)
}
const refusesJson = (json: unknown, message: RegExp) => {
  expect(() => BertConfig.fromJSON(json, 'dir/config.json')).toThrow(ConfigError)
  expect(() => BertConfig.fromJSON(json, 'dir/config.json')).toThrow(message)
}

describe('BertConfig', () => {
  it('has the defaults of Transformers', () => {
    const config = new BertConfig()
    expect(config.toJSON()).toEqual({
      add_cross_attention: false,
      attention_probs_dropout_prob: 0.1,
      bos_token_id: null,
      classifier_dropout: null,
      dtype: 'float32',
      eos_token_id: null,
      hidden_act: 'gelu',
      hidden_dropout_prob: 0.1,
      hidden_size: 768,
      initializer_range: 0.02,
      intermediate_size: 3072,
      is_decoder: false,
      layer_norm_eps: 1e-12,
      max_position_embeddings: 512,
      model_type: 'bert',
      num_attention_heads: 12,
      num_hidden_layers: 12,
      pad_token_id: 0,
      tie_word_embeddings: true,
      transformers_version: '5.18.0',
      type_vocab_size: 2,
      use_cache: true,
      vocab_size: 30522,
    })
    expect(config.numLabels).toBe(2)
    expect(config.labels).toEqual(['LABEL_0', 'LABEL_1'])
    expect(config.problemType).toBeNull()
    expect([config.outputHiddenStates, config.outputAttentions, config.returnDict]).toEqual([false, false, true])
  })

  it('writes keys in order and keeps what it does not know', () => {
    const json: JsonObject = { model_type: 'bert', zebra: [1, { a: null }], gradient_checkpointing: false }
    const written = BertConfig.fromJSON(json).toJSON()
    expect(Object.keys(written)).toEqual(Object.keys(written).toSorted())
    expect(written).toMatchObject({ zebra: [1, { a: null }], gradient_checkpointing: false })
    expect(BertConfig.fromJSON(written).toJSON()).toEqual(written)
  })

  it('reads both keys for the dtype and writes the newer', () => {
    expect(BertConfig.fromJSON({ torch_dtype: 'float16' }).toJSON()).toMatchObject({ dtype: 'float16' })
    expect(BertConfig.fromJSON({ torch_dtype: 'float16', dtype: 'bfloat16' }).dtype).toBe('bfloat16')
    expect(BertConfig.fromJSON({ torch_dtype: 'float16' }).toJSON()).not.toHaveProperty('torch_dtype')
  })

  it('writes whole numbers of float fields as floats', () => {
    const config = new BertConfig({
      hiddenDropoutProb: 0,
      classifierDropout: 0,
      initializerRange: 1,
      layerNormEps: 0.5,
    })
    const lines = config.toText().split('\n')
    expect(lines).toContain('  "hidden_dropout_prob": 0.0,')
    expect(lines).toContain('  "classifier_dropout": 0.0,')
    expect(lines).toContain('  "initializer_range": 1.0,')
    expect(lines).toContain('  "layer_norm_eps": 0.5,')
    expect(lines).toContain('  "vocab_size": 30522')
    expect(JSON.parse(config.toText())).toEqual(config.toJSON())
  })

  it('leaves room for the dropout of heads', () => {
    expect(new BertConfig({ hiddenDropoutProb: 0.3 }).effectiveClassifierDropout).toBe(0.3)
    expect(new BertConfig({ classifierDropout: 0 }).effectiveClassifierDropout).toBe(0)
  })

  it('writes fields of the base class only where they were changed', () => {
    const json = new BertConfig({ outputAttentions: true, problemType: 'regression' }).toJSON()
    expect(json).toMatchObject({ output_attentions: true, problem_type: 'regression' })
    expect(json).not.toHaveProperty('output_hidden_states')
  })

  it('takes changes and keeps the rest, unknown keys too', () => {
    const config = BertConfig.fromJSON({
      hidden_size: 24,
      num_attention_heads: 3,
      mine: 1,
      id2label: { 0: 'a', 1: 'b' },
    })
    const changed = config.with({ numHiddenLayers: 1, architectures: ['BertModel'], vocabSize: undefined })
    expect([changed.hiddenSize, changed.numHiddenLayers, changed.vocabSize]).toEqual([24, 1, 30522])
    expect(changed.toJSON()).toMatchObject({ mine: 1, architectures: ['BertModel'], id2label: { 0: 'a', 1: 'b' } })
    expect(() => config.with({ hiddenSize: 25 })).toThrow(ConfigError)
  })
})

describe('labels', () => {
  it('are written unless they are the default two', () => {
    const json = new BertConfig({ numLabels: 3 }).toJSON()
    expect(json.id2label).toEqual({ 0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2' })
    expect(json.label2id).toEqual({ LABEL_0: 0, LABEL_1: 1, LABEL_2: 2 })
    expect(json).not.toHaveProperty('num_labels')
    expect(new BertConfig({ id2label: { 0: 'no', 1: 'yes' } }).toJSON().label2id).toEqual({ no: 0, yes: 1 })
  })

  it('give way to another number of labels', () => {
    const config = BertConfig.fromJSON({ num_labels: 3, id2label: { 0: 'no', 1: 'yes' }, label2id: { no: 0, yes: 1 } })
    expect(config.labels).toEqual(['LABEL_0', 'LABEL_1', 'LABEL_2'])
    expect(config.label2id).toEqual({ LABEL_0: 0, LABEL_1: 1, LABEL_2: 2 })
    expect(config.with({ numLabels: 1 }).labels).toEqual(['LABEL_0'])
    expect(config.with({ id2label: { 0: 'x', 1: 'y' } }).label2id).toEqual({ x: 0, y: 1 })
  })

  it('stay when the number agrees', () => {
    const config = new BertConfig({ numLabels: 2, id2label: { 0: 'no', 1: 'yes' } })
    expect(config.labels).toEqual(['no', 'yes'])
    expect(config.with({ numLabels: 2 }).labels).toEqual(['no', 'yes'])
  })

  it('come from label2id alone', () => {
    expect(BertConfig.fromJSON({ label2id: { b: 1, a: 0, c: 2 } }).labels).toEqual(['a', 'b', 'c'])
  })

  it('may be called like properties of objects', () => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    const json = JSON.parse(
      '{"id2label":{"0":"__proto__","1":"constructor"},"label2id":{"__proto__":0,"constructor":1}}',
    )
    const config = BertConfig.fromJSON(json)
    expect(config.labels).toEqual(['__proto__', 'constructor'])
    expect(Object.entries(config.label2id)).toEqual([
      ['__proto__', 0],
      ['constructor', 1],
    ])
    expect(JSON.stringify(config)).toContain('"label2id":{"__proto__":0,"constructor":1}')
    expect(config.label2id.toString).toBeUndefined()
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  })

  it('may have ids that are texts, and maps of another number of labels that are no maps', () => {
    const texts = BertConfig.fromJSON({ id2label: { 0: 'no', 1: 'yes' }, label2id: { no: '0', yes: '1' } })
    expect(texts.label2id).toEqual({ no: 0, yes: 1 })
    const others = BertConfig.fromJSON({ num_labels: 3, id2label: { 0: 'A', 2: 'C' }, label2id: { A: 'first' } })
    expect(others.labels).toEqual(['LABEL_0', 'LABEL_1', 'LABEL_2'])
  })

  it('are refused when they are no labels', () => {
    refusesJson({ num_labels: 0 }, /num_labels to be an integer from 1/)
    refusesJson({ num_labels: '3' }, /num_labels.*"3"/)
    refusesJson({ id2label: ['a', 'b'] }, /id2label to be an object, but it is a list/)
    refusesJson({ id2label: {} }, /id2label names no label/)
    refusesJson({ id2label: { 1: 'a', 2: 'b' } }, /keys "0" to "1", but "0" is missing/)
    refusesJson({ id2label: { 0: 'a', 1: null } }, /id2label\["1"\] to be a string, but it is null/)
    refusesJson({ label2id: { a: 'first' } }, /label2id\["a"\]/)
    refusesJson({ label2id: 'a' }, /label2id to be an object/)
  })
})

describe('a config that cannot be built', () => {
  it.each<[Partial<BertConfigFields>, RegExp]>([
    [{ hiddenSize: 100 }, /hidden_size to be a multiple of num_attention_heads, but 100 is not one of 12/],
    [{ hiddenSize: 0 }, /hidden_size to be an integer from 1 to 2147483647, but it is 0/],
    [{ vocabSize: -1 }, /vocab_size/],
    [{ vocabSize: 2.5 }, /vocab_size/],
    [{ vocabSize: 2 ** 31 }, /vocab_size/],
    [{ numHiddenLayers: 0 }, /num_hidden_layers/],
    [{ numHiddenLayers: 1e9 }, /num_hidden_layers to be an integer from 1 to 4096/],
    [{ numAttentionHeads: Number.NaN }, /num_attention_heads/],
    [{ typeVocabSize: 0 }, /type_vocab_size/],
    [{ maxPositionEmbeddings: 0 }, /max_position_embeddings/],
    [{ hiddenDropoutProb: 1 }, /hidden_dropout_prob to be a number >= 0 and < 1, but it is 1/],
    [{ attentionProbsDropoutProb: -0.1 }, /attention_probs_dropout_prob/],
    [{ classifierDropout: 1.5 }, /classifier_dropout/],
    [{ layerNormEps: -1 }, /layer_norm_eps/],
    [{ initializerRange: Number.POSITIVE_INFINITY }, /initializer_range/],
    [{ hiddenAct: 'gelu_11' }, /hidden_act "gelu_11" is not supported; expected one of gelu, .*quick_gelu/],
    [
      { hiddenAct: 'elu' },
      /hidden_act "elu" is not supported; expected one of .*gelu_10, .*sqrtsoftplus, prelu, xielu/,
    ],
    [{ hiddenAct: 'constructor' }, /hidden_act "constructor" is not supported/],
    [{ padTokenId: 30522 }, /pad_token_id to be below vocab_size 30522/],
    [{ positionEmbeddingType: 'relative_key' }, /position_embedding_type "relative_key" is not supported/],
    [{ addCrossAttention: true }, /add_cross_attention needs is_decoder/],
    [{ isEncoderDecoder: true }, /is_encoder_decoder/],
  ])('%o', (fields, message) => refuses(fields, message))

  it.each<[JsonObject, RegExp]>([
    [{ model_type: 'roberta' }, /^dir\/config\.json: the architecture \(model_type\) is "roberta"/],
    [{ architectures: ['RobertaModel'] }, /the architecture is "RobertaModel"/],
    [{ position_embedding_type: 'relative_key_query' }, /position_embedding_type "relative_key_query"/],
    [{ hidden_size: '768' }, /hidden_size to be an integer .*, but it is "768"/],
    [{ hidden_act: 3 }, /hidden_act to be a string/],
    [{ use_cache: 'yes' }, /use_cache to be true or false/],
    [{ architectures: 'BertModel' }, /architectures to be a list/],
    [{ problem_type: 'ranking' }, /problem_type to be "regression"/],
    [{ eos_token_id: [1, -1] }, /eos_token_id/],
    [{ dtype: 32 }, /dtype to be a string/],
    [{ hidden_size: [] }, /hidden_size/],
  ])('%o', (json, message) => refusesJson(json, message))

  it('is refused when it is no object, or names no field', () => {
    refusesJson([], /expected an object, but found a list/)
    refusesJson(null, /expected an object, but found null/)
    const misspelt: object = { hiddenSzie: 3 }
    refuses(misspelt, /there is no field "hiddenSzie"/)
  })

  it('does not echo long values', () => {
    expect(() => new BertConfig({ hiddenAct: 'x'.repeat(1e6) })).toThrow(/^.{1,1000}$/s)
  })

  it('cannot reach prototypes', () => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    const json = JSON.parse('{"__proto__":{"hidden_size":1,"polluted":1},"constructor":{"prototype":{"x":1}}}')
    const config = BertConfig.fromJSON(json)
    expect(config.hiddenSize).toBe(768)
    expect('polluted' in config).toBe(false)
    expect(Object.hasOwn(config.toJSON(), '__proto__')).toBe(true)
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  })
})

describe('a mutated config', () => {
  it('is refused with a ConfigError, or can be written and read again', () => {
    const random = new Random(11)
    const values = [0, 1, 2, -1, 0.5, 2 ** 31, 1e308, null, '', 'bert', 'gelu', true, [], [1], {}, { 0: 'a' }, { a: 0 }]
    const labels = { id2label: { 0: 'a', 1: 'b', 2: 'c' }, label2id: { a: 0, b: 1, c: 2 } }
    const start = {
      ...new BertConfig().toJSON(),
      ...labels,
      problem_type: null,
      num_labels: 3,
      torch_dtype: 'x',
      mine: 1,
    }
    const keys = [...Object.keys(start), 'position_embedding_type', '__proto__', 'constructor', 'architectures']
    const outcomes = { read: 0, refused: 0 }
    for (let round = 0; round < 5000; round++) {
      const json = new Map<string, unknown>(Object.entries(start))
      for (let times = 1 + random.below(2); times > 0; times--) {
        if (random.below(4) === 0) json.delete(random.pick(keys))
        else json.set(random.pick(keys), random.pick(values))
      }
      try {
        const config = BertConfig.fromJSON(Object.fromEntries(json))
        expect(Object.keys(config.id2label).length).toBe(config.numLabels)
        expect(config.hiddenSize % config.numAttentionHeads).toBe(0)
        expect(BertConfig.fromJSON(JSON.parse(config.toText())).toText()).toBe(config.toText())
        outcomes.read++
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        outcomes.refused++
      }
    }
    expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(500)
  })
})

describe('activationOf', () => {
  it('names kernels, several keys the same one', async () => {
    const ops = await readFile(new URL('../../native/ops.def', import.meta.url), 'utf8')
    const kernels = [...ops.matchAll(/^ACTIVATION\(\d+, (\w+)\)/gm)].map((match) => match[1])
    const keys = ['gelu', 'gelu_new', 'gelu_pytorch_tanh', 'gelu_fast', 'gelu_python', 'quick_gelu']
    for (const key of [...keys, 'relu', 'silu', 'swish', 'tanh', 'sigmoid', 'linear']) {
      expect(kernels).toContain(activationOf(key))
    }
    expect(activationOf('gelu_pytorch_tanh')).toBe('gelu_new')
    expect(activationOf('gelu_python')).toBe('gelu')
    expect(activationOf('swish')).toBe('silu')
    for (const key of ['prelu', 'xielu']) expect(ops).toMatch(new RegExp(`^OP\\(\\d+, ${activationOf(key)}, `, 'm'))
  })

  it('knows which options are fields', () => {
    expect(['hiddenSize', 'numLabels', 'backend', 'constructor'].map(isConfigField)).toEqual([true, true, false, false])
  })
})

describe('fromPretrained', () => {
  const folderWith = async (content: string) => {
    const folder = await mkdtemp(join(tmpdir(), 'bertkit-config-'))
    await writeFile(join(folder, 'config.json'), content)
    return folder
  }

  it('names the file that is missing or malformed', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'bertkit-config-'))
    await expect(BertConfig.fromPretrained(empty)).rejects.toThrow(FileError)
    await expect(BertConfig.fromPretrained(empty)).rejects.toThrow(join(empty, 'config.json'))
    const malformed = await folderWith('{"hidden_size": 7')
    await expect(BertConfig.fromPretrained(malformed)).rejects.toThrow(ConfigError)
    await expect(BertConfig.fromPretrained(malformed)).rejects.toThrow(/config\.json: not valid JSON/)
    const deep = await folderWith(`{"x":${'['.repeat(1e5)}${']'.repeat(1e5)}}`)
    await expect(BertConfig.fromPretrained(deep)).rejects.toThrow(/nested 100001 deep/)
  })

  it.skipIf(!reference)(`reads real folders and writes back what 5.18 wrote${needsReference}`, async () => {
    const weights = join(reference ?? '', 'data', 'weights')
    const minilm = await BertConfig.fromPretrained(join(weights, 'all-MiniLM-L6-v2'))
    expect([minilm.hiddenSize, minilm.numHiddenLayers, minilm.intermediateSize]).toEqual([384, 6, 1536])
    expect((await BertConfig.fromPretrained(join(weights, 'coldfire_tiny_bert'))).vocabSize).toBe(256)
    const cases = join(reference ?? '', 'golden', 'cases')
    const folders = (await readdir(cases, { withFileTypes: true })).filter((entry) => entry.isDirectory())
    expect(folders.length).toBeGreaterThan(10)
    for (const { name } of folders) {
      const written = await readFile(join(cases, name, 'config.json'), 'utf8')
      const config = await BertConfig.fromPretrained(join(cases, name))
      expect(config.toText(), name).toBe(written)
    }
  })
})
