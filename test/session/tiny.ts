// A BERT small enough for any test, and batches for it.
import { BertConfig, type BertConfigFields } from '../../src/model/config.ts'
import { BertForSequenceClassification } from '../../src/session/models.ts'

export const tinyConfig = (fields: Partial<BertConfigFields> = {}): BertConfig =>
  new BertConfig({
    vocabSize: 53,
    hiddenSize: 20,
    numHiddenLayers: 2,
    numAttentionHeads: 4,
    intermediateSize: 28,
    maxPositionEmbeddings: 16,
    numLabels: 3,
    initializerRange: 0.3,
    ...fields,
  })

export const tinyClassifier = (fields: Partial<BertConfigFields> = {}, options = {}): BertForSequenceClassification =>
  new BertForSequenceClassification(tinyConfig(fields), options)

/** Sequences of the given lengths with ids that differ everywhere. */
export const sequences = (lengths: readonly number[], start = 5): number[][] => {
  let id = start
  return lengths.map((length) => Array.from({ length }, () => 5 + ((id++ * 7) % 48)))
}

/** Whether two arrays hold the same bits. */
export const sameBits = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.compare(
    Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  ) === 0
