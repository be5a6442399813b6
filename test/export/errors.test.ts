import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Architecture } from '../../src/export/onnx/architectures.ts'
import type { ExportOnnxOptions } from '../../src/export/onnx/export.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import { BertModel } from '../../src/session/models.ts'
import { bertkit, jsonLines } from '../cli/io.ts'
import { modelFile, smallConfig, writeFolder } from './folders.ts'

const scratch = mkdtempSync(path.join(tmpdir(), 'bertkit-onnx-errors-'))
afterAll(() => rmSync(scratch, { recursive: true }))
const at = (name: string): string => path.join(scratch, name)
const model = at('model')

beforeAll(() => writeFolder(model, 'BertForSequenceClassification', smallConfig()))

/** A folder like `model` whose config.json has other fields. */
function withConfig(name: string, fields: object): string {
  const config = JSON.parse(readFileSync(path.join(model, 'config.json'), 'utf8'))
  mkdirSync(at(name), { recursive: true })
  writeFileSync(path.join(at(name), 'config.json'), JSON.stringify({ ...config, ...fields }))
  writeFileSync(path.join(at(name), 'model.safetensors'), readFileSync(path.join(model, 'model.safetensors')))
  return at(name)
}

describe('an option that cannot be met is an ArgumentError', () => {
  const cases: [object, RegExp][] = [
    [{ opset: 16 }, /opset to be an integer from 17 to 25 but received 16/],
    [{ opset: 26 }, /opset .* received 26/],
    [{ opset: 17.5 }, /opset .* received 17\.5/],
    [{ opset: '17' }, /opset .* received "17"/],
    [{ externalDataThreshold: -1 }, /externalDataThreshold to be an integer from 0 to 2147483647 .* received -1/],
    [{ externalDataThreshold: 2 ** 31 }, /externalDataThreshold .* received 2147483648/],
    [{ architecture: 'BertForPoetry' }, /architecture to be one of BertModel, .* received "BertForPoetry"/],
    [{ architecture: 'toString' }, /architecture to be one of/],
    [{ opsetVersion: 20 }, /there is no option 'opsetVersion'/],
    [{ signal: 5 }, /signal to be an AbortSignal/],
    [{ tokenizer: './model' }, /tokenizer to be a BertTokenizer/],
  ]
  test.each(cases)('%j', async (options, message) => {
    const call = exportOnnx(model, at('refused'), options as ExportOnnxOptions)
    await expect(call).rejects.toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }))
    await expect(call).rejects.toThrow(message)
  })

  test('and so is what is neither a model nor a path', async () => {
    await expect(exportOnnx({} as string, at('refused'))).rejects.toThrow(/a model or the path of its folder/)
    await expect(exportOnnx(model, 5 as unknown as string)).rejects.toThrow(/outputDir/)
  })

  test('and so is a model of int8, whose weights are rounded', async () => {
    const rounded = await BertModel.fromPretrained(model, { dtype: 'int8' })
    await expect(exportOnnx(rounded, at('refused'))).rejects.toThrow(/int8/)
    await rounded.dispose()
  })

  test('and nothing was written', () => {
    expect(readdirSync(scratch)).not.toContain('refused')
  })
})

describe('a model that cannot be exported', () => {
  const refused = async (folder: string, code: string, message: RegExp, architecture?: Architecture) => {
    const call = exportOnnx(folder, at('none'), { architecture })
    await expect(call).rejects.toThrow(expect.objectContaining({ code }))
    await expect(call).rejects.toThrow(message)
    expect(readdirSync(scratch)).not.toContain('none')
  }

  test('of an unknown class', () =>
    refused(
      withConfig('poetry', { architectures: ['BertForPoetry'] }),
      'ERR_CONFIG',
      /poetry: .*"BertForPoetry".*BertModel/,
    ))

  test('with cross-attention', () =>
    refused(
      withConfig('cross', { is_decoder: true, add_cross_attention: true }),
      'ERR_CONFIG',
      /cross: a decoder with cross-attention .* cannot be exported/,
    ))

  test('that answers questions with three labels', () =>
    refused(withConfig('three', { num_labels: 3 }), 'ERR_CONFIG', /3 labels/, 'BertForQuestionAnswering'))

  test('whose folder lacks the head', () =>
    refused(model, 'ERR_WEIGHTS', /model: there is no qa_outputs\.weight \(and 1 more\)/, 'BertForQuestionAnswering'))

  test('whose folder has a tensor of another shape', () =>
    refused(
      withConfig('wide', { vocab_size: 38 }),
      'ERR_WEIGHTS',
      /word_embeddings\.weight of shape \[38,24\] but found \[37,24\]/,
    ))

  test('of another dtype', async () => {
    const file = path.join(withConfig('integers', {}), 'model.safetensors')
    const text = readFileSync(file, 'latin1').replace(/(classifier\.bias":\{"dtype":")F32/, '$1I32')
    writeFileSync(file, text, 'latin1')
    await expect(exportOnnx(at('integers'), at('late'))).rejects.toThrow(/classifier\.bias.*it is I32/)
    expect(readdirSync(at('late/onnx'))).toEqual([])
  })

  test('because there is none', () => refused(at('nowhere'), 'ERR_IO', /no such folder/))

  test('because it was disposed', async () => {
    const disposed = new BertModel(smallConfig())
    disposed.dispose()
    await expect(exportOnnx(disposed, at('none'))).rejects.toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }))
  })
})

describe('the output folder', () => {
  test('that cannot be made is a FileError', async () => {
    writeFileSync(at('file'), 'not a folder')
    const call = exportOnnx(model, at('file'))
    await expect(call).rejects.toThrow(expect.objectContaining({ code: 'ERR_IO' }))
    await expect(call).rejects.toThrow(/Cannot create .*file/)
  })

  test.each([0, undefined])('keeps the old model when an export stops, threshold %s', async (externalDataThreshold) => {
    const out = at(`stopped-${externalDataThreshold}`)
    await exportOnnx(model, out, { externalDataThreshold })
    const before = readdirSync(path.join(out, 'onnx')).map((name) => [name, readFileSync(path.join(out, 'onnx', name))])
    const call = exportOnnx(model, out, { externalDataThreshold: 0, signal: AbortSignal.abort() })
    await expect(call).rejects.toThrow(expect.objectContaining({ code: 'ERR_ABORTED' }))
    expect(
      readdirSync(path.join(out, 'onnx')).map((name) => [name, readFileSync(path.join(out, 'onnx', name))]),
    ).toEqual(before)
  })

  test('with a folder where the model goes is a FileError that leaves no temporary', async () => {
    const out = at('taken')
    mkdirSync(modelFile(out), { recursive: true })
    await expect(exportOnnx(model, out)).rejects.toThrow(expect.objectContaining({ code: 'ERR_IO' }))
    expect(readdirSync(path.join(out, 'onnx'))).toEqual(['model.onnx'])
  })

  test('may be the folder of the model', async () => {
    const folder = withConfig('same', { 'transformers.js_config': { device: 'cpu' } })
    await exportOnnx(folder, folder)
    expect(statSync(modelFile(folder)).isFile()).toBe(true)
    const config = JSON.parse(readFileSync(path.join(folder, 'config.json'), 'utf8'))
    expect(config['transformers.js_config']).toEqual({ device: 'cpu', dtype: 'fp32' })
    await exportOnnx(folder, at('again'))
    expect(readFileSync(modelFile(at('again'))).equals(readFileSync(modelFile(folder)))).toBe(true)
  })
})

describe('bertkit export', () => {
  const flags = ['export', '--format', 'onnx', '--model', model]

  test('writes what exportOnnx writes and names the files', async () => {
    const { code, stdout } = await bertkit([...flags, '--output', at('command')])
    expect([code, stdout]).toEqual([0, `${at('command')}/onnx/model.onnx\n${at('command')}/config.json\n`])
    await exportOnnx(model, at('function'))
    expect(readFileSync(modelFile(at('command'))).equals(readFileSync(modelFile(at('function'))))).toBe(true)
  })

  test('takes opset, threshold and class', async () => {
    const more = ['--opset', '18', '--external-data-threshold', '0', '--architecture', 'BertModel', '--json']
    const { code, stdout } = await bertkit([...flags, '--output', at('more'), ...more])
    expect(code).toBe(0)
    expect(jsonLines(stdout)).toEqual([
      {
        format: 'onnx',
        output: at('more'),
        architecture: 'BertModel',
        opset: 18,
        externalData: true,
        files: ['onnx/model.onnx', 'onnx/model.onnx_data', 'config.json'],
      },
    ])
  })

  test.each([
    [['--opset', '16'], 2, /--opset to be an integer from 17 to 25 but received '16'/],
    [['--external-data-threshold', '3000000000'], 2, /--external-data-threshold to be an integer from 0 to 2147483647/],
    [['--architecture', 'BertForPoetry'], 2, /--architecture to be one of BertModel/],
    [['--format', 'gguf'], 2, /--format to be one of onnx/],
    [['--architecture', 'BertForQuestionAnswering'], 1, /there is no qa_outputs\.weight/],
  ])('%j', async (more, expected, message) => {
    const { code, stderr, stdout } = await bertkit([...flags, '--output', at('bad'), ...more])
    expect(stderr).toMatch(message)
    expect(stderr).toMatch(/^bertkit: [^\n]*\n$/)
    expect([code, stdout]).toEqual([expected, ''])
  })

  test('stops with 130', async () => {
    const { code } = await bertkit([...flags, '--output', at('interrupted')], { signal: AbortSignal.abort() })
    expect(code).toBe(130)
    expect(readdirSync(at('interrupted/onnx'))).toEqual([])
  })
})
