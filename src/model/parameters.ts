import { ArgumentError } from '../errors.ts'
import type { Graph, ParameterSlot, Value } from '../graph/graph.ts'
import { quote } from '../json.ts'
import { elementsOf } from '../tensor.ts'

/** How a new parameter is filled: N(0, initializer_range), 0 or 1 (Transformers' _init_weights), or a number everywhere. */
export type Initializer = 'normal' | 'zeros' | 'ones' | number

/** One tensor as Hugging Face names and shapes it. */
export interface ParameterPart {
  readonly name: string
  readonly shape: readonly number[]
  readonly initializer: Initializer
  /** A row that starts as zeros: torch.nn.Embedding's padding_idx. */
  readonly zeroRow?: number
  /** torch.nn.Buffer: saved and loaded, but no parameter, and never trained. */
  readonly buffer?: true
  /** A matrix of which a model may keep the rows as int8: what products and the lookup of words read. */
  readonly matrix?: true
}

/** A parameter as the kernels see it: one tensor, or several stacked so that one GEMM serves them all. */
export class Parameter {
  /** Set by the session, which gives every parameter its place, before anything is recorded. */
  slot: ParameterSlot | undefined

  constructor(
    readonly name: string,
    readonly parts: readonly ParameterPart[],
  ) {}

  get width(): number {
    return this.parts.reduce((n, part) => n + elementsOf(part.shape), 0)
  }

  value(graph: Graph): Value {
    if (!this.slot) throw new TypeError(`${this.name} has no place yet`)
    return graph.parameter(this.slot)
  }
}

/** Declares parameters under a module path, so that names follow from construction, as in the model's own files. */
export class ParameterScope {
  constructor(
    readonly parameters: Parameter[] = [],
    private readonly prefix = '',
  ) {}

  child(name: string): ParameterScope {
    return new ParameterScope(this.parameters, `${this.prefix}${name}.`)
  }

  declare(name: string, shape: readonly number[], initializer: Initializer, zeroRow?: number): Parameter {
    return this.add(name, [{ name: `${this.prefix}${name}`, shape, initializer, zeroRow }])
  }

  /** A matrix [rows, columns] that products read, or whose rows are looked up by words. */
  declareMatrix(name: string, shape: readonly number[], initializer: Initializer, zeroRow?: number): Parameter {
    return this.add(name, [{ name: `${this.prefix}${name}`, shape, initializer, zeroRow, matrix: true }])
  }

  /** A single number that is stored with the weights and not trained. */
  declareBuffer(name: string, value: number): Parameter {
    return this.add(name, [{ name: `${this.prefix}${name}`, shape: [], initializer: value, buffer: true }])
  }

  /** Several vectors, or matrices, of the same shape in one stretch of memory, in this order. */
  stack(name: string, tensors: readonly string[], shape: readonly number[], initializer: Initializer): Parameter {
    return this.add(
      name,
      tensors.map((tensor) => {
        const part = { name: `${this.prefix}${tensor}`, shape, initializer }
        return shape.length === 2 ? { ...part, matrix: true } : part
      }),
    )
  }

  private add(name: string, parts: readonly ParameterPart[]): Parameter {
    const parameter = new Parameter(`${this.prefix}${name}`, parts)
    this.parameters.push(parameter)
    return parameter
  }
}

/** The names that a pattern matches, a string being a regular expression; an ArgumentError when there are none. */
export function matchingNames(pattern: RegExp | string, names: Iterable<string>): string[] {
  if (typeof pattern !== 'string' && !(pattern instanceof RegExp))
    throw new ArgumentError(`Expected a regular expression or a string but received ${String(pattern)}`)
  let expression: RegExp
  try {
    expression = new RegExp(pattern)
  } catch (cause) {
    throw new ArgumentError(`Expected a regular expression but received ${String(pattern)}`, { cause })
  }
  const all = [...names]
  const found = all.filter((name) => {
    expression.lastIndex = 0
    return expression.test(name)
  })
  if (found.length === 0) {
    const shown = [...new Set([0, all.length >> 1, all.length - 1])].map((i) => all[i]).join(', ')
    const wanted = typeof pattern === 'string' ? quote(pattern) : String(pattern)
    throw new ArgumentError(`No parameter has a name that matches ${wanted}; names are such as ${shown}`)
  }
  return found
}
