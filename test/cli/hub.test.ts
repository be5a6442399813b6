// A model that bertkit saved, put on a Hub of this machine, and had back by its id: by every class and every command.
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  AbortedError,
  ArgumentError,
  BertConfig,
  BertForSequenceClassification,
  BertModel,
  BertTokenizer,
} from '../../src/index.ts'
import { HubServer } from '../formats/hub-server.ts'
import { sameBits, tinyClassifier } from '../session/tiny.ts'
import { bertkit, jsonLines } from './io.ts'

const COMMIT = '0123456789'.repeat(4)
const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...'abcdefghijklmnopqrstuvwxyz']
let hub: HubServer
let home: string
let saved: string

beforeAll(async () => {
  hub = await HubServer.start()
  home = fs.mkdtempSync(path.join(tmpdir(), 'bertkit-hub-'))
  saved = path.join(home, 'saved')
  using model = tinyClassifier({ numLabels: 2 })
  await model.savePretrained(saved)
  await BertTokenizer.fromVocab(WORDS, { doLowerCase: false }).savePretrained(saved)
  const names = fs.readdirSync(saved)
  const files = Object.fromEntries(names.map((name) => [name, fs.readFileSync(path.join(saved, name))]))
  hub.models.set('org/tiny', { commit: COMMIT, files, refs: ['v1'] })
  for (const name of ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_TOKEN', 'TRANSFORMERS_OFFLINE']) vi.stubEnv(name, '')
  vi.stubEnv('HF_HUB_OFFLINE', '')
  vi.stubEnv('HF_ENDPOINT', hub.endpoint)
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await hub.stop()
  fs.rmSync(home, { recursive: true, force: true })
})
let round = 0
beforeEach(() => {
  vi.stubEnv('HF_HOME', path.join(home, String(round++)))
  hub.seen.length = 0
})
const snapshot = () => path.join(process.env.HF_HOME ?? '', 'hub/models--org--tiny/snapshots', COMMIT)

describe('a Hub id instead of a folder', () => {
  test('gives the same model, tokenizer and config', async () => {
    const tokenizer = await BertTokenizer.fromPretrained('org/tiny')
    expect(tokenizer.encode('A b').inputIds).toEqual((await BertTokenizer.fromPretrained(saved)).encode('A b').inputIds)
    using model = await BertForSequenceClassification.fromPretrained('org/tiny', {
      revision: 'v1',
      hiddenDropoutProb: 0,
    })
    using expected = await BertForSequenceClassification.fromPretrained(saved)
    expect(model.config.hiddenDropoutProb).toBe(0)
    const inputs = { inputIds: [[2, 5, 6, 3]] }
    const { logits } = await model.forward(inputs)
    expect(sameBits(logits.data, (await expected.forward(inputs)).logits.data)).toBe(true)
    using base = await BertModel.fromPretrained('org/tiny')
    expect(base.loadReport?.missing).toEqual([])
    expect((await BertConfig.fromPretrained('org/tiny')).toJSON()).toEqual(expected.config.toJSON())
  })

  test('downloads nothing but the config for a config', async () => {
    await BertConfig.fromPretrained('org/tiny', { revision: 'v1' })
    expect(fs.readdirSync(snapshot())).toEqual(['config.json'])
  })

  test('takes the options of the Hub beside the others, and refuses unknown ones', async () => {
    const cacheDir = path.join(home, 'own-cache')
    await BertTokenizer.fromPretrained('org/tiny', { cacheDir, doLowerCase: true })
    expect(fs.existsSync(path.join(cacheDir, 'models--org--tiny'))).toBe(true)
    const signal = AbortSignal.abort()
    await expect(BertModel.fromPretrained('org/tiny', { signal })).rejects.toThrow(AbortedError)
    await expect(BertModel.fromPretrained('org/tiny', { cacheDirectory: cacheDir } as never)).rejects.toThrow(
      ArgumentError,
    )
    await expect(BertTokenizer.fromPretrained('org/tiny', null as never)).rejects.toThrow(ArgumentError)
  })
})

describe('a command', () => {
  test('info, predict and train take a Hub id and a revision', async () => {
    const { code, stdout, stderr } = await bertkit(['info', 'org/tiny', '--json'])
    expect([code, stderr]).toEqual([0, ''])
    expect(jsonLines(stdout)[0].model).toMatchObject({
      folder: snapshot(),
      layers: 2,
      tokenizer: { vocabulary: 31, lowerCase: false },
    })
    const predict = () => bertkit(['predict', '--model', 'org/tiny', '--revision', 'v1'], { stdin: 'a b\nc d\n' })
    const predicted = await predict()
    expect(predicted.code).toBe(0)
    expect(jsonLines(predicted.stdout).length).toBe(2)
    expect(predicted.stderr).not.toContain('downloading') // info has all of it
    vi.stubEnv('HF_HOME', path.join(home, 'predict-alone'))
    const alone = await predict()
    expect(alone.stdout).toBe(predicted.stdout)
    for (const file of ['tokenizer.json', 'model.safetensors']) expect(alone.stderr).toContain(`downloading ${file}`)
    const data = path.join(home, 'data.csv')
    fs.writeFileSync(data, 'text,label\na b,0\nc d,1\n')
    const output = path.join(home, 'out')
    const flags = ['--train-file', data, '--output-dir', output, '--num-train-epochs', '1', '--json']
    expect((await bertkit(['train', '--model', 'org/tiny', ...flags])).code).toBe(0)
    expect((await bertkit(['evaluate', '--model', output, '--eval-file', data])).code).toBe(0)
  })

  test('says in one line what went wrong', async () => {
    const cases: [string[], RegExp, number][] = [
      [['info', 'org/none'], /There is no folder "org\/none", and it cannot be had from the Hub: /, 1],
      [['predict', '--model', 'org/tiny', '--revision', 'v9'], /no revision "v9"/, 1],
      [['info', 'org/tiny', '--revision', '../main'], /--revision to be the name of a branch/, 2],
    ]
    for (const [argv, message, expected] of cases) {
      const { code, stderr } = await bertkit(argv)
      expect(stderr).toMatch(/^bertkit: [^\n]*\n$/)
      expect(stderr).toMatch(message)
      expect(code).toBe(expected)
    }
    hub.seen.length = 0
    vi.stubEnv('HF_HUB_OFFLINE', '1')
    const { code, stderr } = await bertkit(['info', 'org/tiny'])
    vi.stubEnv('HF_HUB_OFFLINE', '')
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/to be a folder, or in the Hub's cache because HF_HUB_OFFLINE/),
    ])
    expect(hub.seen).toEqual([])
  })
})
