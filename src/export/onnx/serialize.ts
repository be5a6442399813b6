// The bytes of an ONNX model, a piece at a time: no more than one parameter is in memory, where one message would hold all of them.
import { create, toBinary } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import type { GraphBuilder } from './graph.ts'
import {
  TensorProto_DataLocation as DataLocation,
  TensorProto_DataType as DataType,
  GraphProtoSchema,
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from './onnx_pb.ts'

/** A protobuf message has at most so many bytes. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1

// Readers map external data into memory, which wants tensors at the borders of pages.
const PAGE_BYTES = 4096
// Smaller tensors stay in the model, as ONNX's own writer (onnx.save_model) leaves them by default.
const MIN_EXTERNAL_BYTES = 1024

/** The values of a parameter by its name. */
export type ReadParameter = (name: string) => Promise<Float32Array>

export interface ModelFields {
  readonly graph: GraphBuilder
  readonly name: string
  readonly opset: number
  readonly irVersion: number
}

type Chunks = AsyncGenerator<Uint8Array>

interface Parameter {
  readonly name: string
  readonly bytes: number
  /** All of it but its values. */
  readonly tensor: TensorProto
}

function parametersOf({ parameters }: GraphBuilder): Parameter[] {
  return Array.from(parameters, ([name, shape]) => ({
    name,
    bytes: shape.reduce((product, size) => product * size, 4),
    tensor: create(TensorProtoSchema, { name, dims: shape.map(BigInt), dataType: DataType.FLOAT }),
  }))
}

/** What stands before a field of `length` bytes: its number and its length. */
const frame = (field: number, length: number): Uint8Array<ArrayBuffer> =>
  new BinaryWriter().tag(field, WireType.LengthDelimited).uint32(length).finish()

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

/** The model around its graph. */
const modelProto = ({ opset, irVersion }: ModelFields) =>
  create(ModelProtoSchema, {
    irVersion: BigInt(irVersion),
    producerName: 'bertkit',
    opsetImport: [{ domain: '', version: BigInt(opset) }],
  })

/**
 * A model with all parameters inside: its size, and its bytes. `chunks` must not be asked for when the size is beyond
 * MAX_MODEL_BYTES: lengths would not fit their fields.
 */
export function inlineModel(fields: ModelFields): { size: number; chunks(read: ReadParameter): Chunks } {
  const head = toBinary(ModelProtoSchema, modelProto(fields))
  const skeleton = toBinary(GraphProtoSchema, fields.graph.toProto(fields.name))
  const { field: tensorFields } = TensorProtoSchema
  const tensors = parametersOf(fields.graph).map(({ name, bytes, tensor }) => {
    const known = toBinary(TensorProtoSchema, tensor)
    const values = frame(tensorFields.rawData.number, Math.min(bytes, MAX_MODEL_BYTES))
    return { name, bytes, known, values, size: known.length + values.length + bytes }
  })
  const initializer = (size: number): Uint8Array =>
    frame(GraphProtoSchema.field.initializer.number, Math.min(size, MAX_MODEL_BYTES))
  const graphSize = tensors.reduce((sum, { size }) => sum + initializer(size).length + size, skeleton.length)
  const graphFrame = frame(ModelProtoSchema.field.graph.number, Math.min(graphSize, MAX_MODEL_BYTES))

  async function* chunks(read: ReadParameter): Chunks {
    yield head
    yield graphFrame
    yield skeleton
    for (const { name, known, values, size } of tensors) {
      yield initializer(size)
      yield known
      yield values
      yield bytesOf(await read(name))
    }
  }
  return { size: head.length + graphFrame.length + graphSize, chunks }
}

/** A model whose larger parameters are in another file of the same folder: the bytes of both. Small ones are read here. */
export async function externalModel(
  fields: ModelFields,
  dataFile: string,
  read: ReadParameter,
): Promise<{ model: Uint8Array; chunks(): Chunks }> {
  const graph = fields.graph.toProto(fields.name)
  const places: { name: string; gap: number }[] = []
  let end = 0
  for (const { name, bytes, tensor } of parametersOf(fields.graph)) {
    graph.initializer.push(tensor)
    if (bytes < MIN_EXTERNAL_BYTES) {
      tensor.rawData = Uint8Array.from(bytesOf(await read(name)))
      continue
    }
    const offset = Math.ceil(end / PAGE_BYTES) * PAGE_BYTES
    const entries = { location: dataFile, offset, length: bytes }
    tensor.dataLocation = DataLocation.EXTERNAL
    tensor.externalData = Object.entries(entries).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value: String(value) }),
    )
    places.push({ name, gap: offset - end })
    end = offset + bytes
  }
  const proto = modelProto(fields)
  proto.graph = graph

  async function* chunks(): Chunks {
    for (const { name, gap } of places) {
      if (gap > 0) yield new Uint8Array(gap)
      yield bytesOf(await read(name))
    }
  }
  return { model: toBinary(ModelProtoSchema, proto), chunks }
}
