// What a long input takes: turns of the event loop, a signal that is heard, and no more memory or work than it needs.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import * as bertkit from '../../src/index.ts'
import { AbortedError, BertTokenizer, pipeline } from '../../src/index.ts'
import { Best } from '../../src/pipelines/best.ts'
import { fillerOf } from '../../src/pipelines/filled-text.ts'
import { offsetConverter } from '../../src/pipelines/offsets.ts'
import { sentenceSimilarity } from '../../src/pipelines/sentence-similarity.ts'
import { writeModels } from './cases.mjs'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-long-'))
const folder = (name: string) => path.join(root, name)
beforeAll(() => writeModels(bertkit, root))
afterAll(() => fs.rmSync(root, { recursive: true }))
afterEach(() => {
  vi.restoreAllMocks()
})

/** Whoever looks at the clock finds that ten milliseconds have passed: each pause is due. */
function makeHaste(): void {
  let now = performance.now()
  vi.spyOn(performance, 'now').mockImplementation(() => {
    now += 10
    return now
  })
}

interface Forward {
  forward(...given: never[]): Promise<unknown>
}

/** How many turns the event loop has between the model's last outputs and what `call` makes of them. */
async function turnsAfterForward(model: Forward, call: () => Promise<unknown>): Promise<number> {
  const forward = model.forward.bind(model)
  let counted = 0
  let ended = false
  vi.spyOn(model, 'forward').mockImplementation(async (...given) => {
    const output = await forward(...given)
    counted = -1
    const count = () => {
      counted++
      if (!ended) setImmediate(count)
    }
    count()
    return output
  })
  makeHaste()
  await call()
  ended = true
  return counted
}

const LONG = 'anna was in london. '.repeat(30)

describe('the event loop has its turns', () => {
  test('while words are put in the place of masks', async () => {
    using fill = await pipeline('fill-mask', folder('masked-lm'))
    const turns = await turnsAfterForward(fill.model, () => fill('[MASK] good '.repeat(10), { topK: 20 }))
    expect(turns).toBeGreaterThan(10 * 20)
  })

  test('while the windows of a text become entities', async () => {
    using find = await pipeline('ner', folder('tokens'), { aggregationStrategy: 'simple', stride: 50 })
    const turns = await turnsAfterForward(find.model, () => find(LONG, { batchSize: 100 }))
    expect(turns).toBeGreaterThan(8)
  })

  test('while answers are looked for', async () => {
    using answer = await pipeline('question-answering', folder('answers'))
    const turns = await turnsAfterForward(answer.model, () =>
      answer({ question: 'who?', context: LONG }, { batchSize: 100, topK: 50 }),
    )
    expect(turns).toBeGreaterThan(100)
  })

  test('while sentences are compared', async () => {
    using compare = await pipeline('sentence-similarity', folder('sentences'))
    const sentences = Array(40).fill('good film')
    const turns = await turnsAfterForward(compare.model, () =>
      compare({ sourceSentence: 'film', sentences }, { batchSize: 100 }),
    )
    expect(turns).toBeGreaterThan(2 * 40)
  })

  test('and a signal that comes meanwhile ends the call', async () => {
    using fill = await pipeline('fill-mask', folder('masked-lm'))
    const controller = new AbortController()
    makeHaste()
    const decode = vi.spyOn(fill.tokenizer, 'decode').mockImplementation(() => {
      setImmediate(() => controller.abort())
      return ''
    })
    const filled = fill('[MASK] '.repeat(50), { topK: 20, signal: controller.signal })
    await expect(filled).rejects.toThrow(AbortedError)
    // the tokens of the text and a word or two, not all of them
    expect(decode.mock.calls.length).toBeLessThan(60)
  })
})

describe('sequences are made as they are needed', () => {
  /** How often `encode` was called before each forward. */
  function encodedBefore(tokenizer: BertTokenizer, model: Forward): number[] {
    const encode = vi.spyOn(tokenizer, 'encode')
    const forward = model.forward.bind(model)
    const counts: number[] = []
    vi.spyOn(model, 'forward').mockImplementation((...given) => {
      counts.push(encode.mock.calls.length)
      return forward(...given)
    })
    return counts
  }

  test('of sentences, whose vectors alone are kept', async () => {
    using compare = await pipeline('sentence-similarity', folder('sentences'))
    const counts = encodedBefore(compare.tokenizer, compare.model)
    const sentences = ['good', 'bad film', 'time', 'river', 'anna']
    await compare({ sourceSentence: 'film', sentences }, { batchSize: 2 })
    expect(counts).toEqual([3, 5, 6])

    const { model, tokenizer } = compare
    const context = { model, tokenizer, maxLength: 64, embedding: undefined }
    const sequences = sentences.map((text) => tokenizer.encode(text))
    const rows = await sentenceSimilarity.compute(context, sequences, undefined, () => undefined)
    expect(rows.map(({ buffer }) => buffer.byteLength)).toEqual(Array(5).fill(4 * 32))
  })

  test('of labels, for which the text is read once', async () => {
    using choose = await pipeline('zero-shot-classification', folder('inference'))
    const counts = encodedBefore(choose.tokenizer, choose.model)
    await choose(LONG, { candidateLabels: ['good', 'bad', 'time', 'river'], batchSize: 1 })
    expect(counts).toEqual([3, 4, 5, 5])
    const read = vi.mocked(choose.tokenizer.encode).mock.calls.map(([text]) => text)
    expect(read.filter((text) => text === LONG)).toHaveLength(1)
  })
})

describe('words for masks', () => {
  test('are scored at the masks alone', async () => {
    using fill = await pipeline('fill-mask', folder('masked-lm'))
    const forward = vi.spyOn(fill.model, 'forward')
    await fill(['good [MASK] film', '[MASK] is [MASK]', 'the [MASK]'])
    expect(forward).toHaveBeenCalledTimes(1)
    const { logits } = await forward.mock.results[0].value
    expect(logits.shape).toEqual([4, fill.model.config.vocabSize])
  })

  test.each([true, false])(
    'are written as the tokenizer writes the whole text, cleaned up: %s',
    async (cleanUpTokenizationSpaces) => {
      const tokenizer = await BertTokenizer.fromPretrained(folder('masked-lm'), { cleanUpTokenizationSpaces })
      const { vocabSize, maskTokenId, padTokenId } = tokenizer
      const texts = [
        '[MASK]',
        '[MASK] film',
        'film [MASK]',
        '[MASK]ing',
        "[MASK] . it 's [MASK] ! do [MASK] not",
        'water [MASK] [PAD] ing , [SEP] [UNK] [MASK]',
        '[UNK] [PAD] [MASK] , ok',
      ]
      for (const text of texts) {
        for (const skipSpecialTokens of [true, false]) {
          for (const { inputIds } of [tokenizer.encode(text), tokenizer.encode(text, { addSpecialTokens: false })]) {
            const filler = fillerOf(inputIds, tokenizer, skipSpecialTokens)
            for (const [position, id] of inputIds.entries()) {
              if (id !== maskTokenId) continue
              const fill = filler(position)
              // one beyond the vocabulary has no text
              for (let token = 0; token <= vocabSize; token++) {
                const ids = inputIds.with(position, token).filter((each) => each !== padTokenId)
                expect(fill(token), `${text} ${token}`).toBe(tokenizer.decode(ids, { skipSpecialTokens }))
              }
            }
          }
        }
      }
    },
  )

  test('may be as many as there are', async () => {
    using fill = await pipeline('fill-mask', folder('masked-lm'))
    const { vocabSize } = fill.model.config
    const all = (await fill('good [MASK]', { topK: 1e9 })) as bertkit.FilledMask[]
    expect(new Set(all.map(({ token }) => token)).size).toBe(vocabSize)
    expect(all.map(({ score }) => score)).toEqual(all.map(({ score }) => score).sort((a, b) => b - a))
    expect(await fill('good [MASK]', { topK: 3 })).toEqual(all.slice(0, 3))
  })
})

describe('Best', () => {
  test.each([1, 2, 7, 50, 1000])('keeps the %i highest, of equal ones the first', async (limit) => {
    // few different scores, in no order
    const scores = Array.from({ length: 200 }, (_, i) => ((i * 7919) % 23) / 4)
    const best = new Best<number>(limit)
    for (const [i, score] of scores.entries()) best.add(score, i)
    const expected = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b).slice(0, limit)
    expect((await best.ranked(() => undefined)).map(({ item }) => item)).toEqual(expected)
  })
})

test('offsets are counted in code points, a lone surrogate as one', () => {
  const text = 'a😀\ud83d b\ude00\ude00𠀀\ud83d'
  const convert = offsetConverter(text, 'codepoint')
  for (let at = 0; at <= text.length; at++) {
    const isInside = /[\udc00-\udfff]/.test(text[at] ?? '') && /[\ud800-\udbff]/.test(text[at - 1] ?? '')
    if (!isInside) expect(convert(at), `${at}`).toBe([...text.slice(0, at)].length)
  }
})
