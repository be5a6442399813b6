import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fromBinary } from '@bufbuild/protobuf'
import { afterAll, describe, expect, test } from 'vitest'
import type { Architecture } from '../../src/export/onnx/architectures.ts'
import { MAX_OPSET, MIN_OPSET } from '../../src/export/onnx/export.ts'
import { ModelProtoSchema } from '../../src/export/onnx/onnx_pb.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import { openSafetensors } from '../../src/formats/safetensors-file.ts'
import { type BertConfigFields, HIDDEN_ACTS } from '../../src/model/config.ts'
import {
  ARCHITECTURES,
  absent,
  type Batch,
  classOf,
  distance,
  modelFile,
  type Outputs,
  openOnnx,
  ownOutputs,
  randomBatch,
  randomState,
  runOnnx,
  smallConfig,
  writeFolder,
} from './folders.ts'

const scratch = mkdtempSync(path.join(tmpdir(), 'bertkit-onnx-'))
afterAll(() => rmSync(scratch, { recursive: true }))
let folders = 0
const newFolder = (): string => path.join(scratch, String(folders++))

/** float32 sums in another order; outputs are of the size of 1. */
const TOLERANCE = 1e-5

const shapeOf = (architecture: Architecture, batch: number, length: number): number[] =>
  architecture === 'BertForMultipleChoice' ? [batch, 3, length] : [batch, length]

const readModel = (folder: string) => fromBinary(ModelProtoSchema, readFileSync(modelFile(folder)))

describe('an export has the outputs of', () => {
  const variants: [Architecture, string, Partial<BertConfigFields>][] = [
    ...ARCHITECTURES.map((name): [Architecture, string, Partial<BertConfigFields>] => [name, '', {}]),
    ['BertForMaskedLM', ', untied', { tieWordEmbeddings: false }],
    ['BertForPreTraining', ', untied', { tieWordEmbeddings: false }],
    ['BertLMHeadModel', ', causal', { isDecoder: true }],
    ['BertModel', ', causal', { isDecoder: true }],
    ['BertForSequenceClassification', ', one label', { numLabels: 1 }],
    ['BertForTokenClassification', ', seven labels', { numLabels: 7 }],
    ...Object.keys(HIDDEN_ACTS).map((hiddenAct): [Architecture, string, Partial<BertConfigFields>] => [
      'BertModel',
      `, ${hiddenAct}`,
      { hiddenAct },
    ]),
    ['BertForMaskedLM', ', prelu', { hiddenAct: 'prelu' }],
    ['BertForMaskedLM', ', xielu', { hiddenAct: 'xielu' }],
    ['BertModel', ', odd sizes', { hiddenSize: 15, numAttentionHeads: 3, intermediateSize: 7, typeVocabSize: 3 }],
  ]
  for (const [architecture, variant, fields] of variants) {
    const Class = classOf(architecture)
    test.skipIf(Class === undefined)(`${architecture}${variant}${absent(architecture)}`, async () => {
      const config = smallConfig(fields)
      const model = new Class!(config)
      await model.eval().loadStateDict(randomState(model, 3), { strict: false })
      const inside = newFolder()
      await exportOnnx(model, inside)
      const outside = newFolder()
      await exportOnnx(model, outside, { opset: MAX_OPSET, externalDataThreshold: 0 })
      const onnx = [await openOnnx(inside), await openOnnx(outside)]
      for (const [size, length] of [
        [6, 9],
        [1, 1],
        [2, config.maxPositionEmbeddings],
      ]) {
        const batch = randomBatch(shapeOf(architecture, size, length), config, length)
        const expected = await ownOutputs(model, batch)
        for (const { run } of onnx) expect(distance(await run(batch), expected)).toBeLessThan(TOLERANCE)
      }
      model.dispose()
    })
  }
})

const cases = path.join(process.env.BERTKIT_REFERENCE_DIR ?? '', 'golden', 'cases')
const because = process.env.BERTKIT_REFERENCE_DIR ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'
/** Cases of Transformers in float64 by what they compute. */
const heads = because
  ? []
  : readdirSync(cases).filter((name) => {
      const file = path.join(cases, name, 'case.json')
      if (!existsSync(file) || name === 'lm_head_cross_attention') return false
      return JSON.parse(readFileSync(file, 'utf8')).kind === 'forward_backward'
    })

describe.skipIf(because)(`an export has the outputs of Transformers${because}`, () => {
  test('for every class', () => {
    const found = heads.map((name) => JSON.parse(readFileSync(path.join(cases, name, 'case.json'), 'utf8')).head)
    expect([...new Set(found)].sort()).toEqual([...ARCHITECTURES].sort())
  })

  test.each(heads)('%s', async (name) => {
    const out = newFolder()
    await exportOnnx(path.join(cases, name), out)
    const inputs = await openSafetensors(path.join(cases, name, 'inputs.safetensors'))
    const integers = async (key: string) => {
      const raw = await inputs.readRaw(key)
      return { data: Int32Array.from(new BigInt64Array(raw.buffer), Number), shape: inputs.tensors.get(key)!.shape }
    }
    const batch: Batch = {
      inputIds: await integers('input_ids'),
      attentionMask: await integers('attention_mask'),
      tokenTypeIds: await integers('token_type_ids'),
    }
    const found = await runOnnx(out, batch)
    const file = await openSafetensors(path.join(cases, name, 'expected.safetensors'))
    const expected: Outputs = {}
    for (const key of Object.keys(found)) {
      // the last of the hidden states is BertModel's first output
      const layers = [...file.tensors.keys()].filter((each) => each.startsWith('hidden_states.')).length
      const stored = file.tensors.has(key) ? key : `hidden_states.${layers - 1}`
      expected[key] = { data: await file.read(stored), shape: file.tensors.get(stored)!.shape }
    }
    expect(distance(found, expected)).toBeLessThan(TOLERANCE)
    await Promise.all([inputs.close(), file.close()])
  })
})

describe('the graph', () => {
  const expected: Record<Architecture, Record<string, (string | number)[]>> = {
    BertModel: {
      last_hidden_state: ['batch_size', 'sequence_length', 24],
      pooler_output: ['batch_size', 24],
    },
    BertForPreTraining: {
      prediction_logits: ['batch_size', 'sequence_length', 37],
      seq_relationship_logits: ['batch_size', 2],
    },
    BertForMaskedLM: { logits: ['batch_size', 'sequence_length', 37] },
    BertLMHeadModel: { logits: ['batch_size', 'sequence_length', 37] },
    BertForNextSentencePrediction: { logits: ['batch_size', 2] },
    BertForSequenceClassification: { logits: ['batch_size', 2] },
    BertForMultipleChoice: { logits: ['batch_size', 'num_choices'] },
    BertForTokenClassification: { logits: ['batch_size', 'sequence_length', 2] },
    BertForQuestionAnswering: {
      start_logits: ['batch_size', 'sequence_length'],
      end_logits: ['batch_size', 'sequence_length'],
    },
  }
  test.each(ARCHITECTURES)('of %s has its inputs, outputs and axes', async (architecture) => {
    const [folder, out] = [newFolder(), newFolder()]
    const config = smallConfig()
    const tensors = await writeFolder(folder, architecture, config)
    expect(await exportOnnx(folder, out)).toEqual({
      architecture,
      opset: 17,
      externalData: false,
      files: ['onnx/model.onnx', 'config.json'],
    })
    const { graph, irVersion, opsetImport } = readModel(out)
    const axes = (values: NonNullable<typeof graph>['input']) =>
      Object.fromEntries(
        values.map(({ name, type }) => [
          name,
          type?.value.value?.shape?.dim.map(({ value }) =>
            value.case === 'dimParam' ? value.value : Number(value.value),
          ),
        ]),
      )
    const input = [
      'batch_size',
      ...(architecture === 'BertForMultipleChoice' ? ['num_choices'] : []),
      'sequence_length',
    ]
    expect(axes(graph!.input)).toEqual({ input_ids: input, attention_mask: input, token_type_ids: input })
    expect(graph!.input.map(({ name }) => name)).toEqual(['input_ids', 'attention_mask', 'token_type_ids'])
    expect(axes(graph!.output)).toEqual(expected[architecture])
    expect([irVersion, opsetImport.map(({ version }) => version)]).toEqual([8n, [17n]])
    // every parameter once: a tied decoder is the embeddings
    const stored = graph!.initializer.filter(({ name }) => tensors.has(name))
    expect(stored.map(({ name }) => name).sort()).toEqual([...tensors.keys()].sort())
    const outputs = await runOnnx(out, randomBatch(shapeOf(architecture, 3, 5), config))
    for (const { data } of Object.values(outputs)) expect(data.every(Number.isFinite)).toBe(true)
  })

  test('has a decoder of its own only when it is untied', async () => {
    const names = async (tieWordEmbeddings: boolean) => {
      const [folder, out] = [newFolder(), newFolder()]
      await writeFolder(folder, 'BertForMaskedLM', smallConfig({ tieWordEmbeddings }))
      await exportOnnx(folder, out)
      return readModel(out).graph!.initializer.flatMap(({ name }) =>
        /decoder|predictions\.bias/.test(name) ? name : [],
      )
    }
    expect(await names(true)).toEqual(['cls.predictions.bias'])
    expect(await names(false)).toEqual(['cls.predictions.decoder.weight', 'cls.predictions.decoder.bias'])
  })

  test('of a base model without a pooler has no second output', async () => {
    const [folder, out] = [newFolder(), newFolder()]
    await writeFolder(folder, 'BertForMaskedLM', smallConfig())
    await exportOnnx(folder, out, { architecture: 'BertModel' })
    expect((await openOnnx(out)).outputNames).toEqual(['last_hidden_state'])
    expect(JSON.parse(readFileSync(path.join(out, 'config.json'), 'utf8')).architectures).toEqual(['BertModel'])
  })

  test('is the same for every opset', async () => {
    const folder = newFolder()
    const config = smallConfig({ isDecoder: true })
    await writeFolder(folder, 'BertForPreTraining', config)
    const batch = randomBatch([6, 9], config)
    const results: Outputs[] = []
    for (let opset = MIN_OPSET; opset <= MAX_OPSET; opset++) {
      const out = newFolder()
      await exportOnnx(folder, out, { opset })
      expect(readModel(out).opsetImport[0].version).toBe(BigInt(opset))
      results.push(await runOnnx(out, batch))
    }
    for (const result of results) expect(distance(result, results[0])).toBeLessThan(1e-6)
  })

  test('refuses a sequence longer than the model has positions', async () => {
    const [folder, out] = [newFolder(), newFolder()]
    const config = smallConfig()
    await writeFolder(folder, 'BertModel', config)
    await exportOnnx(folder, out)
    await expect(runOnnx(out, randomBatch([1, 21], config))).rejects.toThrow(/embeddings/)
  })
})

describe('external data', () => {
  test('begins where the model would be larger than the threshold', async () => {
    const folder = newFolder()
    const config = smallConfig()
    const tensors = await writeFolder(folder, 'BertForMaskedLM', config)
    const whole = newFolder()
    await exportOnnx(folder, whole)
    const { size } = statSync(modelFile(whole))
    const [fits, exceeds] = [newFolder(), newFolder()]
    expect((await exportOnnx(folder, fits, { externalDataThreshold: size })).externalData).toBe(false)
    const result = await exportOnnx(folder, exceeds, { externalDataThreshold: size - 1 })
    expect(result.files).toEqual(['onnx/model.onnx', 'onnx/model.onnx_data', 'config.json'])
    expect(readFileSync(modelFile(fits))).toEqual(readFileSync(modelFile(whole)))

    const data = readFileSync(`${modelFile(exceeds)}_data`)
    for (const { name, externalData, rawData, dataLocation } of readModel(exceeds).graph!.initializer) {
      const tensor = tensors.get(name)
      if (tensor === undefined) continue
      const place = Object.fromEntries(externalData.map(({ key, value }) => [key, value]))
      const bytes = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)
      if (bytes.length < 1024) {
        expect(Buffer.from(rawData).equals(bytes), name).toBe(true)
        continue
      }
      expect([name, dataLocation, place.location, Number(place.offset) % 4096]).toEqual([name, 1, 'model.onnx_data', 0])
      expect(data.subarray(Number(place.offset), Number(place.offset) + Number(place.length)).equals(bytes), name).toBe(
        true,
      )
    }
    const batch = randomBatch([3, 8], config)
    expect(distance(await runOnnx(exceeds, batch), await runOnnx(whole, batch))).toBe(0)
  })

  test('gives way to a model with everything inside, and back', async () => {
    const [folder, out] = [newFolder(), newFolder()]
    const config = smallConfig()
    await writeFolder(folder, 'BertModel', config)
    const batch = randomBatch([2, 5], config)
    await exportOnnx(folder, out)
    const before = await runOnnx(out, batch)
    const configs: unknown[] = []
    for (const externalDataThreshold of [0, undefined, 0]) {
      await exportOnnx(folder, out, { externalDataThreshold })
      configs.push(JSON.parse(readFileSync(path.join(out, 'config.json'), 'utf8'))['transformers.js_config'])
      expect(readdirSync(path.join(out, 'onnx')).sort()).toEqual(
        externalDataThreshold === 0 ? ['model.onnx', 'model.onnx_data'] : ['model.onnx'],
      )
      expect(distance(await runOnnx(out, batch), before)).toBe(0)
    }
    const external = { dtype: 'fp32', use_external_data_format: { 'model.onnx': 1 } }
    expect(configs).toEqual([external, { dtype: 'fp32' }, external])
  })
})
