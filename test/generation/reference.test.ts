// generate() against ids that Transformers made (make_generation.py): ten random decoders, greedy and beam search.
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { generate } from '../../src/generation/generate.ts'
import type { GenerateOptions } from '../../src/generation/options.ts'
import * as bertkit from '../../src/index.ts'
import { BertDecoder, type Case } from './bert-decoder.ts'
import { encoderStates, tensorOf } from './weights.ts'

interface Reference extends Case {
  readonly runs: { readonly options: GenerateOptions; readonly newTokens: number[][] }[]
}

const file = path.join(import.meta.dirname, 'generation.json')
const cases: Reference[] = JSON.parse(fs.readFileSync(file, 'utf8')).cases

/** The new tokens of each sequence. */
function newTokens(sequences: readonly number[][], prompts: readonly number[][]): number[][] {
  const each = sequences.length / prompts.length
  return sequences.map((ids, i) => {
    const prompt = prompts[Math.floor(i / each)]
    expect(ids.slice(0, prompt.length)).toEqual(prompt)
    return ids.slice(prompt.length)
  })
}

describe('the reference', () => {
  test('has ten decoders, sequences that end early, and several sequences for a prompt', () => {
    expect(cases).toHaveLength(10)
    for (const { runs, prompts } of cases) {
      expect(new Set(prompts.map(({ length }) => length)).size).toBe(prompts.length)
      const beams = runs.filter(({ options }) => (options.numBeams ?? 1) > 1)
      expect(beams.length).toBeGreaterThan(3)
      for (const some of [beams, runs.filter((run) => !beams.includes(run))])
        expect(
          some.some(({ options, newTokens }) => newTokens.some((ids) => ids.length < (options.maxNewTokens ?? 0))),
        ).toBe(true)
      expect(beams.some(({ newTokens }) => newTokens.length > prompts.length)).toBe(true)
    }
  })

  test('tells the ways to stop a beam search apart', () => {
    const outputs = (lengthPenalty: number, earlyStopping: boolean | 'never') =>
      cases.map(
        ({ runs }) =>
          runs.find(
            ({ options }) =>
              options.lengthPenalty === lengthPenalty &&
              options.earlyStopping === earlyStopping &&
              options.maxNewTokens === 14,
          )?.newTokens,
      )
    expect(outputs(2, true)).not.toContain(undefined)
    expect(outputs(2, true)).not.toEqual(outputs(2, false))
    expect(outputs(2, false)).not.toEqual(outputs(2, 'never'))
  })
})

describe('plain float64 loops give the ids of Transformers', () => {
  test.each(cases.map((each) => [each.name, each] as const))('%s', async (_, each) => {
    const decoder = new BertDecoder(each)
    for (const { options, newTokens: expected } of each.runs) {
      const { sequences } = await generate(() => decoder, each.prompts, options)
      expect(newTokens(sequences, each.prompts), JSON.stringify(options)).toEqual(expected)
    }
    expect(decoder.ended).toBe(each.runs.length)
  })
})

describe('BertLMHeadModel.generate() gives the ids of Transformers', () => {
  /** Prompts, and of cross-attention the encoder's states as Transformers takes them: padded, with a mask. */
  function inputsOf({ seed, config, prompts, encoderLengths }: Reference): object {
    if (!encoderLengths) return { inputIds: prompts }
    const longest = Math.max(...encoderLengths)
    const hidden = config.hidden_size
    const data = new Float32Array(prompts.length * longest * hidden)
    for (const [b, length] of encoderLengths.entries())
      data.set(encoderStates(seed, b, length, hidden), b * longest * hidden)
    const mask = encoderLengths.flatMap((length) => Array.from({ length: longest }, (_, s) => (s < length ? 1 : 0)))
    return {
      inputIds: prompts,
      encoderHiddenStates: { data, shape: [prompts.length, longest, hidden] },
      encoderAttentionMask: { data: mask, shape: [prompts.length, longest] },
    }
  }

  test.each(cases.map((each) => [each.name, each] as const))('%s', async (_, each) => {
    const model = new bertkit.BertLMHeadModel(bertkit.BertConfig.fromJSON({ ...each.config }))
    try {
      model.eval()
      const state = model
        .parameters()
        .map(({ name, size, shape }) => [name, { data: tensorOf(each, name, size), shape }] as const)
      await model.loadStateDict(new Map(state))
      for (const { options, newTokens: expected } of each.runs) {
        const { sequences } = await model.generate(inputsOf(each), options)
        expect(newTokens(sequences, each.prompts), JSON.stringify(options)).toEqual(expected)
      }
    } finally {
      model.dispose()
    }
  })
})
