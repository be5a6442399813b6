import { expect, it } from 'vitest'
import { BertkitError, WeightsError } from '../../src/errors.ts'
import { crc32c } from '../../src/formats/crc.ts'
import { readPytorch } from '../../src/formats/pytorch.ts'
import { readSafetensors } from '../../src/formats/safetensors.ts'
import { parseMaxSeqLength, parseModules, parsePooling } from '../../src/formats/sentence-transformers.ts'
import { parseIndex } from '../../src/formats/shards.ts'
import { MemorySource } from '../../src/formats/source.ts'
import { readTensorFlow } from '../../src/formats/tensorflow.ts'
import { parseJson } from '../../src/json.ts'
import { BertConfig } from '../../src/model/config.ts'
import { fuzz, targetsOf } from './fuzz.mjs'

const CASES = Number(process.env.BERTKIT_MUTATIONS ?? 100_000)
const targets = targetsOf({
  BertConfig,
  MemorySource,
  WeightsError,
  crc32c,
  parseIndex,
  parseJson,
  parseMaxSeqLength,
  parseModules,
  parsePooling,
  readPytorch,
  readSafetensors,
  readTensorFlow,
})

it.each(Object.entries(targets))(
  `%s: ${CASES} mutations are accepted or refused with a typed error`,
  async (_, target) => {
    const before = process.memoryUsage.rss()
    const accepted = await fuzz(target, BertkitError, 0, CASES)
    // both outcomes must be common, or the mutations test one side only
    expect(accepted).toBeGreaterThan(CASES / 50)
    expect(accepted).toBeLessThan(CASES * 0.9)
    expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 29)
  },
)
