import type { Graph, Value } from '../graph/graph.ts'
import { int8Values } from './linear-int8.ts'
import { defineOp, rowsOf } from './op.ts'

export interface EmbeddingInputs {
  readonly ids: Value
  readonly typeIds: Value
  readonly positionIds: Value
}

export interface EmbeddingTables {
  readonly word: Value
  readonly type: Value
  readonly position: Value
}

/**
 * y = word[ids] + type[typeIds] + position[positionIds]: three tables [V | Y | P, H] -> [rows, H].
 * A word table that is kept as int8 is read as such, without a backward.
 * `paddingIdx`: this word's row gets no gradient (torch.nn.Embedding's padding_idx); -1: none.
 */
export const embedding = defineOp({
  record(
    graph: Graph,
    { ids, typeIds, positionIds }: EmbeddingInputs,
    tables: EmbeddingTables,
    H: number,
    _paddingIdx: number,
  ) {
    const { word, type, position } = tables
    const requiresGrad = word.requiresGrad || type.requiresGrad || position.requiresGrad
    const y = graph.value('output', ids.rows, H, requiresGrad)
    const int8 = int8Values(word)
    const shape = { rows: rowsOf(ids), H, V: word.width / H, Y: type.width / H, P: position.width / H }
    if (int8) {
      const { words, scales: scale } = int8
      graph.emit('embeddingInt8', { ids, typeIds, positionIds, word: words, scale, type, position, y }, shape)
      return { y }
    }
    graph.emit('embedding', { ids, typeIds, positionIds, word, type, position, y }, shape)
    return { y }
  },
  backward(graph, dy, _state, inputs, tables, H, paddingIdx) {
    const table = (ids: Value, weights: Value, skip: number) => {
      const target = graph.gradientTarget(weights)
      if (target)
        graph.emit(
          'embeddingBackward',
          { ids, dy, dtable: target.value },
          { rows: rowsOf(ids), H, V: weights.width / H, paddingIdx: skip, accumulate: target.add },
        )
    }
    table(inputs.ids, tables.word, paddingIdx)
    table(inputs.typeIds, tables.type, -1)
    table(inputs.positionIds, tables.position, -1)
  },
})
