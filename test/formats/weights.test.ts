import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { WeightsError } from '../../src/errors.ts'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { writeSafetensors } from '../../src/formats/safetensors-file.ts'
import { openWeights } from '../../src/formats/weights.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'
const INDEX = 'model.safetensors.index.json'
const FIRST = 'model-00001-of-00002.safetensors'
const SECOND = 'model-00002-of-00002.safetensors'

const newFolder = () => mkdtemp(join(tmpdir(), 'bertkit-weights-'))
const shard = (folder: string, file: string, values: Record<string, number[]>) =>
  writeSafetensors(
    join(folder, file),
    Object.entries(values).map(([name, data]) => ({ name, shape: [data.length] })),
    (name) => Float32Array.from(values[name]),
  )
async function sharded(index: unknown): Promise<string> {
  const folder = await newFolder()
  await shard(folder, FIRST, { a: [1], b: [2, 3] })
  await shard(folder, SECOND, { c: [4, 5, 6] })
  await writeFile(join(folder, INDEX), typeof index === 'string' ? index : JSON.stringify(index))
  return folder
}
async function refuses(folder: string, message: RegExp): Promise<void> {
  const error: unknown = await openWeights(new FolderFiles(folder)).catch((reason) => reason)
  expect(error).toBeInstanceOf(WeightsError)
  expect(String(error)).toContain(folder)
  expect(String(error)).toMatch(message)
}

describe('openWeights', () => {
  it('reads a single file', async () => {
    const folder = await newFolder()
    await shard(folder, 'model.safetensors', { a: [1, 2] })
    const weights = await openWeights(new FolderFiles(folder))
    expect([...weights.tensors.keys()]).toEqual(['a'])
    expect([...(await weights.read('a'))]).toEqual([1, 2])
    await weights.close()
  })

  it('reads shards as one', async () => {
    const folder = await sharded({ metadata: { total_size: 24 }, weight_map: { c: SECOND, a: FIRST, b: FIRST } })
    const weights = await openWeights(new FolderFiles(folder))
    expect([...weights.tensors.keys()].sort()).toEqual(['a', 'b', 'c'])
    expect(weights.tensors.get('c')?.shape).toEqual([3])
    expect([...(await weights.read('a')), ...(await weights.read('b')), ...(await weights.read('c'))]).toEqual([
      1, 2, 3, 4, 5, 6,
    ])
    expect((await weights.readRaw('b')).length).toBe(8)
    await expect(weights.read('d')).rejects.toThrow(WeightsError)
    await weights.close()
    await expect(weights.read('a')).rejects.toThrow()
  })

  it('names what it looked for', async () => {
    const folder = await newFolder()
    const names =
      'model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json and bert_model.ckpt.index'
    await refuses(folder, new RegExp(`looked for ${names.replaceAll('.', '\\.')}$`))
    await refuses(join(folder, 'absent'), /found no weights/)
    await writeFile(join(folder, 'pytorch_model.bin'), '')
    await refuses(folder, /pytorch_model\.bin: it begins neither as a zip archive nor as a pickle/)
  })

  it.each<[string, unknown, RegExp]>([
    ['bad JSON', '{', /index\.json: not valid JSON/],
    ['a list', [], /expected weight_map to be an object, but found nothing/],
    ['no map', {}, /expected weight_map to be an object, but found nothing/],
    ['a map that is a list', { weight_map: [FIRST] }, /weight_map to be an object, but found a list/],
    ['an empty map', { weight_map: {} }, /weight_map names no tensor/],
    ['a name twice', `{"weight_map":{"a":"${FIRST}","a":"${FIRST}"}}`, /a JSON key appears twice/],
    ['a tensor that the shard lacks', { weight_map: { a: FIRST, z: SECOND } }, /tensor "z" is not in "model-00002/],
    ['a tensor of the other shard', { weight_map: { c: FIRST } }, /tensor "c" is not in "model-00001/],
    ['a missing shard', { weight_map: { a: 'model-9.safetensors' } }, /the shard "model-9.safetensors" is not in the/],
    ['a name that is no text', { weight_map: { a: 1 } }, /tensor "a": expected the name of a .safetensors file/],
    ['a name from a prototype', JSON.parse('{"weight_map":{"__proto__":{"a":"x.safetensors"}}}'), /tensor "__proto__"/],
  ])('refuses an index with %s', async (_, index, message) => refuses(await sharded(index), message))

  it.each([
    '../model.safetensors',
    '/etc/model.safetensors',
    'C:\\model.safetensors',
    'C:model.safetensors',
    '\\\\host\\share\\model.safetensors',
    'sub/model.safetensors',
    './model.safetensors',
    'model.safetensors\0',
    'model.safetensors/..',
    '..',
    '',
    '.safetensors',
    'model.safetensors\n',
    'model.bin',
    'model.safetensors:stream',
    `${'m'.repeat(300)}.safetensors`,
  ])('does not leave its folder for %j', async (name) => {
    await refuses(await sharded({ weight_map: { a: name } }), /expected the name of a .safetensors file in the folder/)
  })

  it('refuses too many shards before opening one', async () => {
    const map = Object.fromEntries(Array.from({ length: 513 }, (_, i) => [i, `model-${i}.safetensors`]))
    await refuses(await sharded({ weight_map: map }), /names 513 shards; at most 512/)
  })

  it('refuses a malformed shard and closes the others', async () => {
    const folder = await sharded({ weight_map: { a: FIRST, c: SECOND } })
    await writeFile(join(folder, SECOND), 'not a model')
    await refuses(folder, /model-00002.*the header should have/)
    await rm(folder, { recursive: true })
  })

  it.skipIf(!reference)(`reads a folder that somebody else wrote${needsReference}`, async () => {
    const weights = await openWeights(new FolderFiles(join(reference ?? '', 'data/weights/coldfire_tiny_bert')))
    expect(weights.tensors.get('embeddings.LayerNorm.bias')?.shape).toEqual([32])
    await weights.close()
  })
})
