// generation_config.json: against what Transformers makes of the same folders (make_generation_config.py), and what is refused.
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, ConfigError } from '../../src/errors.ts'
import { GenerationConfig, type GenerationConfigFields } from '../../src/generation/generation-config.ts'
import type { GenerateOptions } from '../../src/generation/options.ts'
import type { JsonObject } from '../../src/json.ts'
import { BertConfig, type BertConfigFields } from '../../src/model/config.ts'
import { BertForMaskedLM, BertLMHeadModel } from '../../src/session/models.ts'
import { tensorOf, type WeightsOf } from './weights.ts'

/** A line of generation-config.jsonl. */
interface Reference {
  readonly name: string
  readonly configJson: JsonObject
  readonly generationConfigJson: JsonObject | null
  readonly load: Pick<Partial<BertConfigFields>, 'eosTokenId'>
  readonly call: GenerateOptions
  readonly prompts: readonly number[][] | null
  readonly newTokens: readonly number[][]
  readonly saved: JsonObject | null
}
const file = path.join(import.meta.dirname, 'generation-config.jsonl')
const lines = (await fs.readFile(file, 'utf8')).trimEnd().split('\n')
const { weights }: { weights: WeightsOf & { readonly config: JsonObject } } = JSON.parse(lines[0])
const runs = lines.slice(1).map((line): Reference => JSON.parse(line))
const NAME = 'generation_config.json'
const PROMPT = [18, 8, 7, 33, 21]

let root: string
/** Files of the reference's model, without a generation_config.json. */
let plain: Record<string, Uint8Array | string>
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-generation-config-'))
  using model = new BertLMHeadModel(BertConfig.fromJSON(weights.config))
  const state = model
    .parameters()
    .map(({ name, size, shape }) => [name, { data: tensorOf(weights, name, size), shape }] as const)
  await model.loadStateDict(new Map(state))
  const { [NAME]: _, ...blobs } = await model.savePretrained()
  const contents = Object.entries(blobs).map(async ([name, blob]) => [name, await blob.bytes()])
  plain = Object.fromEntries(await Promise.all(contents))
})
afterAll(() => fs.rm(root, { recursive: true }))

/** The model's files with more keys in config.json and with a generation_config.json. */
function filesWith(generationConfig: unknown, config: JsonObject = {}): Record<string, Uint8Array | string> {
  const whole = { ...JSON.parse(new TextDecoder().decode(plain['config.json'] as Uint8Array)), ...config }
  const text = typeof generationConfig === 'string' ? generationConfig : JSON.stringify(generationConfig)
  return {
    ...plain,
    'config.json': JSON.stringify(whole),
    ...(generationConfig === null ? {} : { [NAME]: text }),
  }
}

async function folderWith(generationConfig: unknown, config?: JsonObject): Promise<string> {
  const folder = await fs.mkdtemp(path.join(root, 'model-'))
  for (const [name, content] of Object.entries(filesWith(generationConfig, config)))
    await fs.writeFile(path.join(folder, name), content)
  return folder
}

const withoutVersion = ({ transformers_version: _, ...json }: JsonObject): JsonObject => json
/** A file is written as it was; of its null, Transformers writes nothing. */
const withoutNull = (json: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))

describe('as Transformers does', () => {
  it.each(runs.map((run) => [run.name, run] as const))('%s', async (_, run) => {
    const folder = await folderWith(run.generationConfigJson, run.configJson)
    using model = await BertLMHeadModel.fromPretrained(folder, run.load)
    const { prompts } = run
    const inputs =
      prompts === null ? {} : { inputIds: { data: prompts.flat(), shape: [prompts.length, prompts[0].length] } }
    const { sequences } = await model.generate(inputs, run.call)
    const fresh = sequences.map((ids, row) => ids.slice(-run.newTokens[row].length))
    expect(fresh).toEqual(run.newTokens)
    const lengths = sequences.map((ids, row) => ids.length - run.newTokens[row].length)
    const shown = prompts?.map((ids) => (model.generationConfig.padTokenId === 0 ? ids.filter((id) => id !== 0) : ids))
    expect(lengths).toEqual(sequences.map((__, row) => shown?.[row % shown.length].length ?? 0))

    await model.savePretrained(folder)
    const saved: JsonObject = JSON.parse(await fs.readFile(path.join(folder, NAME), 'utf8'))
    if (run.saved !== null) expect(withoutNull(withoutVersion(saved))).toEqual(withoutVersion(run.saved))
    using again = await BertLMHeadModel.fromPretrained(folder)
    expect((await again.generate(inputs, { ...run.call, ...run.load })).sequences).toEqual(sequences)
  })
})

describe('generationConfig', () => {
  it('is what the file says, typed; null is not said', async () => {
    using model = await BertLMHeadModel.fromPretrained(
      filesWith({ num_beams: 4, early_stopping: 'never', eos_token_id: [3, 4], top_p: 0.9, do_sample: null, other: 1 }),
    )
    const { generationConfig } = model
    expect(generationConfig).toMatchObject({
      numBeams: 4,
      earlyStopping: 'never',
      eosTokenId: [3, 4],
      topP: 0.9,
      doSample: null,
      maxLength: null,
      padTokenId: null,
      extra: { other: 1 },
      where: NAME,
    })
    expect(model.config.padTokenId).toBe(0)
  })

  it('of a new model is what its config says', () => {
    using model = new BertLMHeadModel(new BertConfig({ isDecoder: true, eosTokenId: [7], padTokenId: null }))
    expect(model.generationConfig).toMatchObject({
      eosTokenId: [7],
      padTokenId: null,
      bosTokenId: null,
      numBeams: null,
    })
    using other = new BertLMHeadModel(
      BertConfig.fromJSON({ is_decoder: true, eos_token_id: [], max_length: 9, top_k: null }),
    )
    expect(other.generationConfig).toMatchObject({ eosTokenId: null, padTokenId: 0, maxLength: 9, topK: null })
  })

  it('of outputs that a config asks for is what Transformers can save', () => {
    const { extra } = GenerationConfig.fromModelConfig({ output_attentions: true, use_cache: false })
    expect(extra).toMatchObject({ output_attentions: true, return_dict_in_generate: true, use_cache: false })
    expect(GenerationConfig.fromModelConfig({ output_attentions: false }).extra).not.toHaveProperty(
      'return_dict_in_generate',
    )
  })

  it('of the caller takes the place of the file, or is another model’s', async () => {
    const files = filesWith({ no_repeat_ngram_size: 2, max_new_tokens: 9 })
    const generationConfig: GenerationConfigFields = { maxNewTokens: 3, temperature: 2 }
    using model = await BertLMHeadModel.fromPretrained(files, { generationConfig })
    expect(model.generationConfig).toMatchObject({ maxNewTokens: 3, extra: {} })
    const { sequences } = await model.generate({ inputIds: [PROMPT] })
    expect(sequences[0]).toHaveLength(PROMPT.length + 3)
    using other = await BertLMHeadModel.fromPretrained(files, { generationConfig: model.generationConfig })
    expect(other.generationConfig).toBe(model.generationConfig)
    const text = await (await other.savePretrained())[NAME].text()
    // Transformers takes no integer there
    expect(text).toContain('"temperature": 2.0,')
    expect(JSON.parse(text)).toEqual({ max_new_tokens: 3, temperature: 2, transformers_version: '5.18.0' })
  })

  it.each<[string, unknown, RegExp]>([
    ['no object', 3, /The option generationConfig: expected an object, but found a number/],
    ['null', null, /The option generationConfig: expected an object, but found null/],
    ['an unknown field', { seed: 1 }, /there is no field "seed"; there are maxNewTokens, /],
    ['a wrong value', { numBeams: 0 }, /expected num_beams to be an integer of at least 1, but it is 0/],
  ])('of the caller that is %s is refused', async (_, generationConfig, message) => {
    const loading = BertLMHeadModel.fromPretrained(filesWith(null), {
      generationConfig: generationConfig as GenerationConfigFields,
    })
    await expect(loading).rejects.toThrow(ConfigError)
    await expect(loading).rejects.toThrow(message)
  })

  it('is of a class that generates', async () => {
    const loading = BertForMaskedLM.fromPretrained(filesWith(null), { generationConfig: {} })
    await expect(loading).rejects.toThrow(ArgumentError)
    await expect(loading).rejects.toThrow(/generationConfig is of BertLMHeadModel, not of BertForMaskedLM/)
    // who does not generate reads no such file
    using model = await BertForMaskedLM.fromPretrained(filesWith('{'))
    expect(Object.keys(await model.savePretrained())).not.toContain(NAME)
  })
})

describe('a generation_config.json that is wrong', () => {
  it.each<[string, unknown, RegExp]>([
    ['is cut', '{"eos_token_id": 3', /: not valid JSON/],
    ['is a list', [3], /: expected an object, but found a list/],
    [
      'has a text for a number',
      { max_length: '9' },
      /: expected max_length to be an integer of at least 1, but it is "9"/,
    ],
    [
      'has no new tokens',
      { max_new_tokens: 0 },
      /: expected max_new_tokens to be an integer of at least 1, but it is 0/,
    ],
    ['has an unknown word', { early_stopping: 'soon' }, /: expected early_stopping to be true, false or 'never'/],
    ['has a negative temperature', { temperature: -1 }, /: expected temperature to be a number of at least 0/],
    ['has no end among its ends', { eos_token_id: [] }, /: expected eos_token_id to be a token id or a list/],
    ['has a negative end', { eos_token_id: [-1] }, /: expected eos_token_id to be .*, but it is \[-1\]/],
  ])('%s: names file and field', async (_, content, message) => {
    const folder = await folderWith(content)
    const loading = BertLMHeadModel.fromPretrained(folder)
    await expect(loading).rejects.toThrow(ConfigError)
    await expect(loading).rejects.toThrow(message)
    await expect(loading).rejects.toThrow(path.join(folder, NAME))
    // no weight is read before
    await fs.rm(path.join(folder, 'model.safetensors'))
    await expect(BertLMHeadModel.fromPretrained(folder)).rejects.toThrow(message)
  })

  it('names config.json where the key is there', async () => {
    const loading = BertLMHeadModel.fromPretrained(filesWith(null, { num_beams: 'two' }))
    await expect(loading).rejects.toThrow(/config.json: expected num_beams to be .*"two"/)
  })
})

describe('keys by which Transformers would generate other tokens', () => {
  const refused: [JsonObject, GenerateOptions?][] = [
    [{ bad_words_ids: [[3]] }],
    [{ begin_suppress_tokens: [3] }],
    [{ constraints: [] }],
    [{ dola_layers: 'low' }],
    [{ encoder_no_repeat_ngram_size: 2 }],
    [{ encoder_repetition_penalty: 1.2 }],
    [{ epsilon_cutoff: 0.1 }, { doSample: true }],
    [{ eta_cutoff: 0.1 }, { doSample: true }],
    [{ exponential_decay_length_penalty: [5, 1.1] }],
    [{ force_words_ids: [[3]] }],
    [{ forced_bos_token_id: 3 }],
    [{ forced_eos_token_id: 3 }],
    [{ guidance_scale: 1.5 }],
    [{ max_time: 2 }],
    [{ min_p: 0.1 }, { doSample: true }],
    [{ no_repeat_ngram_size: 2 }],
    [{ num_beam_groups: 2, num_beams: 4 }],
    [{ penalty_alpha: 0.6 }],
    [{ renormalize_logits: true }, { numBeams: 2 }],
    [{ sequence_bias: [[[3], 1.5]] }],
    [{ stop_strings: ['.'] }],
    [{ suppress_tokens: [3] }],
    [{ token_healing: true }],
    [{ top_h: 0.4, do_sample: true }],
    [{ typical_p: 0.9, do_sample: true }],
    [{ watermarking_config: { bias: 2.5 } }],
  ]

  it.each(refused)('%j: is refused by generate, and by nothing else', async (json, options = {}) => {
    const [[key, value]] = Object.entries(json)
    const files = filesWith(JSON.stringify(json))
    using model = await BertLMHeadModel.fromPretrained(files)
    await model.forward({ inputIds: [PROMPT] })
    expect(await (await model.savePretrained())[NAME].text()).toBe(files[NAME])
    const running = Promise.resolve(model.generate({ inputIds: [PROMPT] }, { maxNewTokens: 2, ...options }))
    await expect(running).rejects.toThrow(ConfigError)
    await expect(running).rejects.toThrow(`generate: ${NAME} sets ${key} to ${JSON.stringify(value)}`)
    await expect(running).rejects.toThrow(/option generationConfig/)
  })

  it('are none where they do not apply', async () => {
    const json = {
      min_p: 0.1,
      top_h: 0.4,
      typical_p: 0.9,
      epsilon_cutoff: 0.1,
      num_beam_groups: 2,
      renormalize_logits: true,
    }
    using model = await BertLMHeadModel.fromPretrained(filesWith(json))
    expect((await model.generate({ inputIds: [PROMPT] }, { maxNewTokens: 2 })).sequences).toHaveLength(1)
    using beams = await BertLMHeadModel.fromPretrained(
      filesWith({ penalty_alpha: 0.6, dola_layers: 'low', num_beams: 2 }),
    )
    expect((await beams.generate({ inputIds: [PROMPT] }, { maxNewTokens: 2 })).sequences).toHaveLength(1)
    using contrast = await BertLMHeadModel.fromPretrained(filesWith({ penalty_alpha: 0.6 }))
    expect((await contrast.generate({ inputIds: [PROMPT] }, { maxNewTokens: 2, topK: 1 })).sequences).toHaveLength(1)
  })

  it('may be in an older config.json', async () => {
    using model = await BertLMHeadModel.fromPretrained(filesWith(null, { no_repeat_ngram_size: 3 }))
    await expect(Promise.resolve(model.generate({ inputIds: [PROMPT] }))).rejects.toThrow(
      /config.json sets no_repeat_ngram_size to 3/,
    )
  })
})

describe('a call', () => {
  it('with null has the default of generate, whatever the file says', async () => {
    using model = await BertLMHeadModel.fromPretrained(
      filesWith({ max_new_tokens: 2, num_beams: 3, num_return_sequences: 2, eos_token_id: 23 }),
    )
    const none = { maxNewTokens: null, numBeams: null, numReturnSequences: null, eosTokenId: null }
    const { sequences } = await model.generate({ inputIds: [PROMPT] }, none)
    expect(sequences.map(({ length }) => length)).toEqual([PROMPT.length + 20])
    expect((await model.generate({ inputIds: [PROMPT] }, { numBeams: undefined })).sequences).toHaveLength(2)
  })

  it('is told which of its options are the file’s where they do not go together', async () => {
    const failing = async (json: JsonObject, options: GenerateOptions) => {
      using model = await BertLMHeadModel.fromPretrained(filesWith(json))
      const running = Promise.resolve(model.generate({ inputIds: [PROMPT] }, options))
      await expect(running).rejects.toThrow(ArgumentError)
      return running.then(() => '', String)
    }
    const of = `(of ${NAME})`
    expect(await failing({ max_length: 600 }, {})).toContain(`maxLength ${of} is 600`)
    expect(await failing({ max_length: 5 }, {})).toContain(`at most 5 ${of}`)
    expect(await failing({ max_new_tokens: 600 }, {})).toContain(`maxNewTokens 600 ${of}`)
    expect(await failing({ max_new_tokens: 600 }, { maxNewTokens: 601 })).not.toContain(of)
    expect(await failing({ temperature: 0 }, { doSample: true })).toContain(`doSample but received 0 ${of}`)
    expect(await failing({ num_return_sequences: 3 }, {})).toContain(`numReturnSequences ${of} 3 needs`)
    expect(await failing({ num_return_sequences: 3, num_beams: 4 }, { numBeams: 2 })).toContain(
      `numReturnSequences ${of} of at most numBeams, 2`,
    )
  })

  it('that streams needs one beam, in the file too', async () => {
    using model = await BertLMHeadModel.fromPretrained(filesWith({ num_beams: 2 }))
    const stream = (options: GenerateOptions) => model.generate({ inputIds: [PROMPT] }, options)[Symbol.asyncIterator]()
    expect(() => stream({})).toThrow(/beam search gives no tokens before its end: .*numBeams to 1/)
    expect((await stream({ numBeams: 1 }).next()).done).toBe(false)
  })
})

describe('savePretrained', () => {
  const text = '{ "temperature": 2.0,\n  "do_sample": true, "sequence_bias": [[[3], 1.0]], "eos_token_id": 3 }'

  it('writes the file as it was, to the letter', async () => {
    using model = await BertLMHeadModel.fromPretrained(filesWith(text))
    const folder = path.join(root, 'saved')
    await model.savePretrained(folder)
    expect(await fs.readFile(path.join(folder, NAME), 'utf8')).toBe(text)
    expect(await (await model.savePretrained())[NAME].text()).toBe(text)
    const names: string[] = []
    await model.savePretrained({
      write: (name) => {
        names.push(name)
        return new WritableStream()
      },
    })
    expect(names).toContain(NAME)
  })

  it('writes it anew with a token that was set', async () => {
    using model = await BertLMHeadModel.fromPretrained(filesWith(text), { eosTokenId: 5, padTokenId: null })
    expect(model.generationConfig).toMatchObject({ eosTokenId: 5, padTokenId: null, temperature: 2 })
    const saved = await (await model.savePretrained())[NAME].text()
    expect(saved).toMatch(/^ {2}"temperature": 2\.0,$/m)
    expect(JSON.parse(saved)).toEqual({ ...JSON.parse(text), eos_token_id: 5, transformers_version: '5.18.0' })
    expect(Object.keys(JSON.parse(saved))).toEqual(Object.keys(JSON.parse(saved)).toSorted())
  })
})
