import type { Graph, Value } from '../graph/graph.ts'
import { Scalar } from '../graph/op-table.ts'
import { rowsOf } from './op.ts'

/** A loss under construction: terms add up in one number that the caller reads after the run. */
export class Loss {
  readonly value: Value
  private terms = 0

  constructor(private readonly graph: Graph) {
    this.value = graph.keep(graph.statistic('loss', undefined, 1))
  }

  /** The next term: the scalar that holds its denominator, and whether it adds to the terms before. */
  private term(): { denominator: number; add: boolean } {
    const denominators = Scalar.denominator3 - Scalar.denominator0 + 1
    if (this.terms === denominators) throw new RangeError(`A loss has at most ${denominators} terms`)
    const index = this.terms++
    return { denominator: Scalar.denominator0 + index, add: index > 0 }
  }

  /**
   * -log softmax(logits [rows, C])[labels [rows]], rows labelled -100 left out. torch.nn.CrossEntropyLoss. `smooth`: with the label
   * smoothing that the run brings, as Transformers' LabelSmoother.
   */
  crossEntropy(logits: Value, labels: Value, smooth = false): void {
    const { graph, value: loss } = this
    const rows = rowsOf(logits)
    const C = logits.width
    const { denominator, add } = this.term()
    const lse = graph.statistic('lse', rows, 2)
    graph.emit('crossEntropy', { logits, labels, lse, loss }, { rows, C, denominator, add, smooth })
    this.onBackward(logits, (dlogits) =>
      graph.emit('crossEntropyBackward', { logits, labels, lse, dlogits }, { rows, C, denominator, smooth }),
    )
  }

  /**
   * The rows of a segment are the classes: -log softmax of column c of logits [rows, C] over rows cuSegments[g] .. cuSegments[g + 1],
   * at row positions[c][g] of the segment; -100 leaves it out. One term for each column; `smooth` as in crossEntropy.
   */
  segmentCrossEntropy(logits: Value, cuSegments: Value, positions: readonly Value[], smooth = false): void {
    const { graph, value: loss } = this
    const rows = rowsOf(logits)
    const segments = rowsOf(positions[0])
    const columns = positions.map((targets, column) => {
      const { denominator, add } = this.term()
      const lse = graph.statistic('lse', segments, 2)
      const attributes = { rows, segments, C: logits.width, column, denominator, smooth }
      graph.emit('segmentCrossEntropy', { logits, cuSegments, positions: targets, lse, loss }, { ...attributes, add })
      return { operands: { logits, cuSegments, positions: targets, lse }, attributes }
    })
    if (columns.length !== logits.width)
      throw new TypeError(`${logits.name} has ${logits.width} columns, ${columns.length} of which have a loss`)
    this.onBackward(logits, (dlogits) => {
      for (const { operands, attributes } of columns)
        graph.emit('segmentCrossEntropyBackward', { ...operands, dlogits }, attributes)
    })
  }

  /** (logits - targets)^2 over [rows, C]. torch.nn.MSELoss. */
  meanSquaredError(logits: Value, targets: Value): void {
    const { graph, value: loss } = this
    const { denominator, add } = this.term()
    const shape = { rows: rowsOf(logits), C: logits.width, denominator }
    graph.emit('meanSquaredError', { logits, targets, loss }, { ...shape, add })
    this.onBackward(logits, (dlogits) => graph.emit('meanSquaredErrorBackward', { logits, targets, dlogits }, shape))
  }

  /** Binary cross-entropy of sigmoid(logits) over [rows, C]. torch.nn.BCEWithLogitsLoss. */
  binaryCrossEntropy(logits: Value, targets: Value): void {
    const { graph, value: loss } = this
    const { denominator, add } = this.term()
    const shape = { rows: rowsOf(logits), C: logits.width, denominator }
    graph.emit('binaryCrossEntropy', { logits, targets, loss }, { ...shape, add })
    this.onBackward(logits, (dlogits) => graph.emit('binaryCrossEntropyBackward', { logits, targets, dlogits }, shape))
  }

  private onBackward(logits: Value, append: (dlogits: Value) => void): void {
    if (!logits.requiresGrad) return
    this.graph.onBackward(() => {
      const target = this.graph.gradientTarget(logits)
      if (target?.add) throw new TypeError(`${logits.name} is read by another op as well as a loss`)
      if (target) append(target.value)
    })
  }
}
