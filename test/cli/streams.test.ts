import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { writeWhenReady } from '../../src/cli/io.ts'
import { AbortedError } from '../../src/errors.ts'

test('writing waits for a reader that is slower, and stops with its signal', async () => {
  const stream = new PassThrough({ highWaterMark: 4 })
  let written = false
  const writing = writeWhenReady(stream, 'a long line').then(() => {
    written = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  expect(written).toBe(false)
  expect(String(stream.read())).toBe('a long line')
  await writing
  const controller = new AbortController()
  const stopped = writeWhenReady(stream, 'nobody reads this', controller.signal)
  controller.abort()
  await expect(stopped).rejects.toThrow(AbortedError)
})
