import fs from 'node:fs'
import { describe, it } from 'vitest'
import { openInline } from '../src/backend/wasm/inline.ts'
import { loadWasm } from '../src/backend/wasm/load.ts'
import { Row } from '../src/graph/op-table.ts'
import { attention } from './conformance/attention.ts'
import { gemm } from './conformance/gemm.ts'
import { expectSame, Random, runRecord } from './conformance/harness.ts'
import { packedWeight } from './conformance/packed-weight.ts'
import { conformance } from './conformance.ts'
import { fileOf, missing } from './wasm/binaries.ts'

for (const binary of ['bertkit', 'bertkit-relaxed'] as const) {
  const reason = missing(binary)
  if (reason) {
    it.skip(`wasm ${binary} (${reason})`)
    continue
  }
  const module = await loadWasm(fs.readFileSync(fileOf(binary)))
  const [low, tall] = [false, true].map((tallStrips) => () => openInline(module, { tallStrips }))
  conformance(`wasm ${binary}`, low)
  if (binary === 'bertkit') continue // it has no taller ones
  describe(`wasm ${binary}, tall strips`, () => {
    for (const part of [gemm, attention, packedWeight]) part(tall)

    it('give the bits of lower ones', async () => {
      const random = new Random(12)
      const [N, K] = [41, 300]
      const [x, w] = [random.reals(103 * K), random.reals(N * K)]
      const linear = (open: typeof low, rows: number) =>
        runRecord(open(), {
          op: 'linear',
          operands: { x: x.subarray(0, rows * K), w },
          attributes: { rows: Row.tokens, K, N, act: 'linear' },
          rows: { tokens: rows },
        })
      const gradient = (open: typeof low, rows: number) =>
        runRecord(open(), {
          op: 'linearBackwardWeight',
          operands: { dy: x.subarray(0, K * rows), x: w },
          attributes: { rows: Row.tokens, K: N, N: rows, T: rows, first: 0, accumulate: false },
          rows: { tokens: K },
        })
      for (const rows of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 95, 96, 97, 103]) {
        expectSame(`${rows} rows`, (await linear(tall, rows)).y, (await linear(low, rows)).y)
        const [one, other] = [await gradient(tall, rows), await gradient(low, rows)]
        expectSame(`weight gradient of ${rows} rows`, one.dw, other.dw)
        expectSame(`bias gradient of ${rows} rows`, one.dbias, other.dbias)
      }
    })
  })
}
