// What files may be like at most, and addresses that are none.
import { mkdtempSync } from 'node:fs'
import { open, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ArgumentError, BertkitError } from '../../src/errors.ts'
import { BertConfig, BertModel } from '../../src/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'bertkit-limits-'))
const config = new BertConfig({
  vocabSize: 5,
  hiddenSize: 2,
  numHiddenLayers: 300,
  numAttentionHeads: 1,
  intermediateSize: 2,
})

describe('what is too much', () => {
  it('a config.json of hundreds of megabytes is not read', async () => {
    const handle = await open(join(folder, 'config.json'), 'w')
    await handle.truncate(600 * 2 ** 20) // a sparse file: no disk is used
    await handle.close()
    await expect(BertConfig.fromPretrained(folder)).rejects.toThrow(
      /config\.json: expected a file of at most 67108864 bytes/,
    )
  })

  it('nor one that never ends, from the web', async () => {
    const chunk = new Uint8Array(2 ** 20)
    let given = 0
    const endless = () =>
      new ReadableStream<Uint8Array>({
        pull: (controller) => {
          given++
          controller.enqueue(chunk)
        },
      })
    await expect(BertConfig.fromPretrained({ 'config.json': endless() })).rejects.toThrow(BertkitError)
    expect(given).toBeLessThan(80)
  })

  it('more shards than can be loaded are not saved', async () => {
    const model = new BertModel(config, { backend: 'cpu' })
    await expect(model.savePretrained(join(folder, 'shards'), { maxShardSize: 1 })).rejects.toThrow(
      /maxShardSize 1 makes \d+ shards; expected at most 512/,
    )
    await model.dispose()
  })

  it('a shape of a thousand axes is refused in few words', async () => {
    const file = join(folder, 'model.safetensors')
    const header = JSON.stringify({ a: { dtype: 'F32', shape: Array(1000).fill(1), data_offsets: [0, 4] } })
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.length))
    await writeFile(file, Buffer.concat([length, Buffer.from(header), Buffer.alloc(4)]))
    await writeFile(join(folder, 'config.json'), '{}')
    const error = await BertModel.fromPretrained(folder).catch((reason) => reason)
    expect(error.message).toMatch(/at most 64 axes, but found 1000/)
    expect(error.message.length).toBeLessThan(1000)
  })
})

describe('a file: URL', () => {
  it.each(['file://server/share/model', 'file:///tmp/a%2Fb'])(
    '%s, which names no folder here, is an ArgumentError',
    async (url) => {
      await expect(BertConfig.fromPretrained(url)).rejects.toThrow(ArgumentError)
      await expect(BertConfig.fromPretrained(new URL(url))).rejects.toThrow(ArgumentError)
    },
  )
})
