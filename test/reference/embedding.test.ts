import { describe, expect, it } from 'vitest'
import { embedding, embeddingBackward } from './embedding.ts'
import { dot, expectGradient, integers, uniform } from './numerics.ts'

describe('embedding', () => {
  const [rows, H, V, Y, P] = [13, 5, 7, 2, 11]
  const tables = { word: uniform(V * H, 1), type: uniform(Y * H, 2), position: uniform(P * H, 3) }
  const ids = { ids: integers(rows, V, 4), typeIds: integers(rows, Y, 5), positionIds: integers(rows, P, 6) }
  const dy = uniform(rows * H, 7)
  const f = () => dot(dy, embedding({ ...tables, ...ids, rows, H }).y)

  it('adds the three rows', () => {
    const small = { word: [1, 2, 3, 4], type: [10, 20], position: [100, 200, 300, 400] }
    const [word, type, position] = [small.word, small.type, small.position].map((table) => Float64Array.from(table))
    const { y } = embedding({ ids: [1, 0], typeIds: [0, 0], positionIds: [0, 1], word, type, position, rows: 2, H: 2 })
    expect([...y]).toEqual([113, 224, 311, 422])
  })

  it("backward is each table's slope", () => {
    const of = (index: Int32Array, size: number) => embeddingBackward({ ids: index, dy, rows, H, V: size }).dtable
    expectGradient(of(ids.ids, V), tables.word, f)
    expectGradient(of(ids.typeIds, Y), tables.type, f)
    expectGradient(of(ids.positionIds, P), tables.position, f)
  })

  it('leaves the padding row without a gradient and the others as they are', () => {
    const paddingIdx = ids.ids[0]
    const { dtable: all } = embeddingBackward({ ids: ids.ids, dy, rows, H, V })
    const { dtable } = embeddingBackward({ ids: ids.ids, dy, rows, H, V, paddingIdx })
    const want = all.slice().fill(0, paddingIdx * H, (paddingIdx + 1) * H)
    expect([...dtable]).toEqual([...want])
    expect([...dtable]).not.toEqual([...all])
  })
})
