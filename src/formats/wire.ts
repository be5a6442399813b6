import type { WeightsError } from '../errors.ts'

// Protocol Buffers' encoding, as far as TensorFlow's index of a checkpoint needs it: three flat messages. A library of messages
// would be the core's only run-time dependency, for these forty lines.

/** A reader of varints that never leaves its bytes. */
export class WireReader {
  at = 0
  constructor(
    readonly bytes: Uint8Array,
    private readonly fail: (reason: string) => WeightsError,
  ) {}

  get done(): boolean {
    return this.at >= this.bytes.length
  }

  /** An unsigned varint; beyond 2^53 a number that no file has as a size. */
  varint(): number {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.done) break
      const byte = this.bytes[this.at++]
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw this.fail('a number is cut off or too long')
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw this.fail('it is cut off')
    this.at += length
    return this.bytes.subarray(this.at - length, this.at)
  }

  fixed32(): number {
    const bytes = this.take(4)
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true)
  }
}

/** A field's value: a varint or fixed32 as a number, anything longer as bytes. */
export type WireValue = number | Uint8Array

/** The fields of a message in the order in which they stand. */
export function* messageFields(
  bytes: Uint8Array,
  fail: (reason: string) => WeightsError,
): Generator<[field: number, value: WireValue]> {
  const reader = new WireReader(bytes, fail)
  while (!reader.done) {
    const tag = reader.varint()
    const field = Math.floor(tag / 8)
    switch (tag % 8) {
      case 0:
        yield [field, reader.varint()]
        break
      case 1:
        yield [field, reader.take(8)]
        break
      case 2:
        yield [field, reader.take(reader.varint())]
        break
      case 5:
        yield [field, reader.fixed32()]
        break
      default:
        throw fail('a field has an unknown kind')
    }
  }
}
