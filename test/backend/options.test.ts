// Options of a backend that cannot be, whichever is going to serve.
import { describe, expect, test } from 'vitest'
import { openBackend } from '../../src/backend/open.ts'
import { loadGiven } from '../../src/backend/wasm/files.ts'
import { ArgumentError } from '../../src/errors.ts'
import { describeBackend } from '../../src/index.ts'
import { tinyClassifier } from '../session/tiny.ts'

describe('options of a backend', () => {
  test.each([
    [null, /expected options to be an object but received null/],
    ['cpu', /expected options to be an object but received a string/],
    [{ thread: 1 }, /no option 'thread'; there are backend, threads, wasm/],
    [{ backend: 'tpu' }, /Expected backend to be one of .* but received "tpu"/],
    [{ threads: null }, /integer from 1 to 256 but received null/],
    [{ threads: '2' }, /integer from 1 to 256 but received "2"/],
    [{ wasm: 'x' }, /wasm: expected options to be an object but received a string/],
    [{ wasm: null }, /wasm: expected options to be an object but received null/],
    [{ wasm: { nonsense: 1 } }, /wasm: there is no option 'nonsense'; there are worker, memoryLimit, binary/],
    [{ wasm: { worker: 1 } }, /wasm\.worker to be true, false, a URL or a path but received 1/],
    [{ wasm: { memoryLimit: -1 } }, /memoryLimit to be a number of bytes but received -1/],
    [{ wasm: { memoryLimit: '1e9' } }, /memoryLimit to be a number of bytes but received "1e9"/],
    [{ wasm: { binary: 7 } }, /wasm\.binary to be bytes, .* but received a number/],
  ])('%j', async (options, words) => {
    for (const given of options !== null && typeof options === 'object' && !('backend' in options)
      ? [options, { backend: 'cpu', ...options }, { backend: 'wasm', ...options }]
      : [options]) {
      const opening = describeBackend(given as never)
      await expect(opening).rejects.toThrow(ArgumentError)
      await expect(opening).rejects.toThrow(words)
    }
  })

  test('what belongs to the model is passed along', async () => {
    const model = { dtype: 'float32', seed: 3, threads: 1, backend: 'cpu', wasm: undefined } as const
    const backend = await openBackend(model)
    expect(backend.description).toMatchObject({ backend: 'cpu', threads: 1 })
    backend.close()
  })

  test('a model with an option that is none is refused when it opens', async () => {
    using model = tinyClassifier({}, { thread: 1 })
    await expect(model.forward({ inputIds: [[1]] })).rejects.toThrow(/no option 'thread'/)
  })

  test
    .skipIf(process.platform === 'win32')
    .each(['file://host/x.wasm', new URL('file://host/x.wasm'), 'file:///a%2Fb.wasm'])(
    'a URL of no local file: %s',
    async (url) => {
      const loading = loadGiven(url)
      await expect(loading).rejects.toThrow(ArgumentError)
      await expect(loading).rejects.toThrow(/Expected wasm\.binary to be the URL of a local file but received file:/)
    },
  )
})
