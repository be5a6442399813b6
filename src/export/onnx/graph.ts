// A small builder of ONNX graphs: https://github.com/onnx/onnx, docs/IR.md.
import { create } from '@bufbuild/protobuf'
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  type GraphProto,
  GraphProtoSchema,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './onnx_pb.ts'

/** A tensor of the graph. Its name may still change when it becomes an output. */
export interface Value {
  name: string
}

/** An axis of an input or output: its size, or the name of a size that each run decides. */
export type Axis = number | string

/** By attribute: a number is a float, a bigint an integer. */
export type Attributes = Readonly<Record<string, number | bigint | readonly bigint[]>>

interface Node {
  readonly type: string
  readonly name: string
  readonly inputs: readonly Value[]
  readonly output: Value
  readonly attributes: Attributes
}

function attributeProto(name: string, value: number | bigint | readonly bigint[]): AttributeProto {
  if (typeof value === 'number') return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value })
  if (typeof value === 'bigint') return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: value })
  return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: [...value] })
}

function valueInfo(name: string, elemType: DataType, axes: readonly Axis[]): ValueInfoProto {
  const dim = axes.map((axis) =>
    typeof axis === 'string'
      ? { value: { case: 'dimParam' as const, value: axis } }
      : { value: { case: 'dimValue' as const, value: BigInt(axis) } },
  )
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: 'tensorType', value: { elemType, shape: { dim } } } },
  })
}

/**
 * Collects nodes, constants and the parameters that the graph wants. The parameters' values are not here: `toProto` leaves them out,
 * and whoever writes the file adds them.
 */
export class GraphBuilder {
  /** Shapes of the parameters by Hugging Face name, in the order of their first use. */
  readonly parameters = new Map<string, readonly number[]>()
  readonly #parameters = new Map<string, Value>()
  readonly #constants = new Map<string, { value: Value; tensor: TensorProto }>()
  readonly #nodes: Node[] = []
  readonly #names = new Map<string, number>()
  readonly #inputs: ValueInfoProto[] = []
  readonly #outputs: { value: Value; axes: readonly Axis[] }[] = []
  readonly #path: string[] = []

  /** Runs `body` inside a module: names of parameters and nodes begin with its path. */
  scope<Result>(module: string, body: () => Result): Result {
    this.#path.push(module)
    try {
      return body()
    } finally {
      this.#path.pop()
    }
  }

  /** Adds a node with one output. */
  apply(type: string, inputs: readonly Value[], attributes: Attributes = {}): Value {
    const stem = ['', ...this.#path, type].join('/')
    const uses = this.#names.get(stem) ?? 0
    this.#names.set(stem, uses + 1)
    const name = uses === 0 ? stem : `${stem}_${uses}`
    const output = { name: `${name}_output_0` }
    this.#nodes.push({ type, name, inputs, output, attributes })
    return output
  }

  /** A float32 parameter of the current module. */
  parameter(name: string, shape: readonly number[]): Value {
    return this.sharedParameter([...this.#path, name].join('.'), shape)
  }

  /** A float32 parameter by its full name; the second use is the same tensor. */
  sharedParameter(name: string, shape: readonly number[]): Value {
    const found = this.#parameters.get(name)
    if (found !== undefined) return found
    const value = { name }
    this.#parameters.set(name, value)
    this.parameters.set(name, shape)
    return value
  }

  /** A list of integers, int64 [values.length]. */
  ints(values: readonly number[]): Value {
    return this.#integers([values.length], values)
  }

  /** An integer, int64 []. */
  int(value: number): Value {
    return this.#integers([], [value])
  }

  /** A number, float32 []. */
  float(value: number): Value {
    const raw = new Uint8Array(new Float32Array([value]).buffer)
    return this.#constant(`float_${value}`, [], DataType.FLOAT, raw)
  }

  #integers(dims: readonly number[], values: readonly number[]): Value {
    const raw = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
    return this.#constant(`${dims.length === 0 ? 'int' : 'ints'}_${values.join('_')}`, dims, DataType.INT64, raw)
  }

  #constant(name: string, dims: readonly number[], dataType: DataType, rawData: Uint8Array<ArrayBuffer>): Value {
    const found = this.#constants.get(name)
    if (found !== undefined) return found.value
    const tensor = create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType, rawData })
    this.#constants.set(name, { value: { name }, tensor })
    return this.#constants.get(name)!.value
  }

  /** An int64 input of the graph. */
  input(name: string, axes: readonly Axis[]): Value {
    this.#inputs.push(valueInfo(name, DataType.INT64, axes))
    return { name }
  }

  /** Makes a float32 value an output of the graph, under a name of its own. */
  output(name: string, value: Value, axes: readonly Axis[]): void {
    value.name = name
    this.#outputs.push({ value, axes })
  }

  /** The graph without the values of its parameters. */
  toProto(name: string): GraphProto {
    return create(GraphProtoSchema, {
      name,
      node: this.#nodes.map((node) =>
        create(NodeProtoSchema, {
          opType: node.type,
          name: node.name,
          input: node.inputs.map((value) => value.name),
          output: [node.output.name],
          attribute: Object.entries(node.attributes).map(([key, value]) => attributeProto(key, value)),
        }),
      ),
      initializer: Array.from(this.#constants.values(), ({ tensor }) => tensor),
      input: this.#inputs,
      output: this.#outputs.map(({ value, axes }) => valueInfo(value.name, DataType.FLOAT, axes)),
    })
  }
}
