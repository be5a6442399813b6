import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { saveWeights } from '../../src/formats/save.ts'
import { compareNames, parseShardSize, splitShards } from '../../src/formats/shard-names.ts'
import { openWeights } from '../../src/formats/weights.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bertkit-save-'))
})

const INDEX = 'model.safetensors.index.json'
const tensors = ['c', 'a', 'b', 'd'].map((name, i) => ({ name, shape: [i + 1, 2] }))
const save = (value: number, maxShardSize: number | string, list = tensors) =>
  saveWeights(
    folder,
    list,
    (name) => new Float32Array(2 * (list.find((each) => each.name === name)?.shape[0] ?? 0)).fill(value),
    { maxShardSize },
  )
/** The one value that all of the folder's weights have. */
async function loaded(): Promise<number> {
  const source = await openWeights(new FolderFiles(folder))
  const values = new Set<number>()
  for (const { name } of tensors) for (const value of await source.read(name)) values.add(value)
  await source.close()
  expect(values.size).toBe(1)
  return [...values][0]
}
const shardNames = (count: number) =>
  Array.from({ length: count }, (_, i) => `model-0000${i + 1}-of-0000${count}.safetensors`)

describe('saveWeights', () => {
  it('writes one file, or shards and an index as Transformers does', async () => {
    await save(1, '50GB')
    expect(await readdir(folder)).toEqual(['model.safetensors'])
    await save(2, 40)
    expect((await readdir(folder)).sort()).toEqual([...shardNames(2), INDEX].sort())
    expect(await readFile(join(folder, INDEX), 'utf8')).toBe(
      `${JSON.stringify(
        {
          metadata: { total_parameters: 20, total_size: 80 },
          weight_map: { a: shardNames(2)[0], b: shardNames(2)[0], c: shardNames(2)[1], d: shardNames(2)[1] },
        },
        null,
        2,
      )}\n`,
    )
    expect(await loaded()).toBe(2)
  })

  it.each([
    ['one file', 1000, 'one file', 1000],
    ['one file', 1000, 'shards', 40],
    ['shards', 40, 'one file', 1000],
    ['the same shards', 40, 'the same shards', 40],
    ['shards', 40, 'more shards', 8],
    ['more shards', 8, 'shards', 40],
  ])('replaces %s (%i) by %s (%i) and leaves nothing of the old', async (_, before, __, after) => {
    await save(1, before)
    await save(2, after)
    expect(await loaded()).toBe(2)
    const names = (await readdir(folder)).sort()
    await rm(folder, { recursive: true })
    folder = await mkdtemp(join(tmpdir(), 'bertkit-save-'))
    await save(2, after)
    expect(names).toEqual((await readdir(folder)).sort())
  })

  it.each([1000, 40])('keeps the old weights after an error, and nothing else (%i)', async (size) => {
    for (const before of [1000, 40]) {
      await save(1, before)
      const names = await readdir(folder)
      const failing = saveWeights(
        folder,
        tensors,
        (name) => {
          if (name === 'd') throw new Error('mine')
          return new Float32Array(name === 'c' ? 2 : name === 'a' ? 4 : 6)
        },
        { maxShardSize: size },
      )
      await expect(failing).rejects.toThrow('mine')
      expect(await readdir(folder)).toEqual(names)
      expect(await loaded()).toBe(1)
    }
  })

  it('removes temporaries of dead processes only, and no other file', async () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid
    const others = [`config.json.${process.pid}.0123abcd.tmp`, 'notes.tmp', 'model-1.safetensors', 'pytorch_model.bin']
    for (const name of [`model.safetensors.${dead}.0123abcd.tmp`, ...others]) await writeFile(join(folder, name), '')
    await save(1, 1000)
    expect((await readdir(folder)).sort()).toEqual(['model.safetensors', ...others].sort())
  })

  it.each(['', '5', '5 XB', 'GB', '-1MB', 0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '0KB', '1e3MB'])(
    'refuses a shard size of %j',
    async (size) => {
      expect(() => parseShardSize(size)).toThrow(ArgumentError)
      await expect(save(1, size)).rejects.toThrow(/Expected maxShardSize to be a positive number of bytes/)
      expect(await readdir(folder)).toEqual([])
    },
  )

  it('reads sizes as huggingface_hub does', () => {
    expect(['5GB', '200MB', ' 1.5 kb ', '2TB', 7].map(parseShardSize)).toEqual([5e9, 2e8, 1500, 2e12, 7])
  })

  it('orders names as Transformers does', () => {
    // dot_natural_key of transformers 5.18 puts them so
    const names = ['3.a', '10.a', 'layer.2.w', 'layer.10.w', 'layer', 'w', 'w2', 'w10', 'wa', 'layer.b']
    expect(names.toSorted(compareNames)).toEqual([
      '3.a',
      '10.a',
      'layer',
      'layer.2.w',
      'layer.10.w',
      'layer.b',
      'w',
      'w2',
      'w10',
      'wa',
    ])
  })

  it('deals tensors out in order', () => {
    const of = (...sizes: number[]) => sizes.map((size, i) => ({ name: `${i}`, shape: [size] }))
    const split = (bytes: number, ...sizes: number[]) =>
      splitShards(of(...sizes), bytes).map((shard) => shard.map(({ name }) => Number(name)))
    // the example of split_state_dict_into_shards_factory, in its units
    expect(split(40, 6, 6, 2, 6, 2, 2)).toEqual([[0], [1, 2], [3, 4, 5]])
    // a tensor larger than a shard is put before the shard that is being filled
    expect(split(40, 1, 11, 1)).toEqual([[1], [0, 2]])
    expect(split(40)).toEqual([[]])
  })
})
