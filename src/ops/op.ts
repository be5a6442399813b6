import type { GradientTarget, Graph, Value } from '../graph/graph.ts'

/** What an op's record leaves for its backward; `y` is its result. */
export interface Saved {
  readonly y: Value
}

/** An op: how it records itself, and how it records its backward, which cannot be left out. */
export interface Op<Args extends readonly unknown[], State extends Saved> {
  record(graph: Graph, ...args: Args): State
  /** Called with the finished gradient `dy` of `y`; appends the gradients of what the op has read. */
  backward(graph: Graph, dy: Value, state: State, ...args: Args): void
}

/** Makes an op callable: `linear(graph, x, ...)` records it, and its backward when the loss will depend on `y`. */
export function defineOp<Args extends readonly unknown[], State extends Saved>(
  op: Op<Args, State>,
): (graph: Graph, ...args: Args) => Value {
  return (graph, ...args) => {
    const state = op.record(graph, ...args)
    if (state.y.requiresGrad)
      graph.onBackward(() => {
        const dy = graph.gradientOf(state.y)
        if (dy) op.backward(graph, dy, state, ...args)
      })
    return state.y
  }
}

/** The row symbol of a value that must have one. */
export const rowsOf = (value: Value): NonNullable<Value['rows']> => {
  if (value.rows === undefined) throw new TypeError(`${value.name} has no rows`)
  return value.rows
}

type Pair = readonly [GradientTarget | undefined, GradientTarget | undefined]

/**
 * Two parameter gradients that one record can write, as the records that it takes: one where both are wanted and both overwrite or
 * both add, else one each; none for a frozen parameter.
 */
export function pairTargets(a: GradientTarget | undefined, b: GradientTarget | undefined): readonly Pair[] {
  if (a && b && a.add !== b.add)
    return [
      [a, undefined],
      [undefined, b],
    ]
  return a || b ? [[a, b]] : []
}
