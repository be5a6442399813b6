// Cyclic redundancy checks of 32 bits: zip's, and Castagnoli's, which LevelDB's tables and TensorFlow's files use. RFC 3720, appendix B.4.

const SLICES = 8

/** [256 * k + b]: the checksum of the byte b followed by k zeros. */
function tableOf(polynomial: number): Int32Array {
  const table = new Int32Array(256 * SLICES)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    table[byte] = crc
  }
  for (let i = 256; i < table.length; i++) table[i] = (table[i - 256] >>> 8) ^ table[table[i - 256] & 0xff]
  return table
}

/** Eight bytes a turn. */
function checksum(table: Int32Array, bytes: Uint8Array, before: number): number {
  let crc = ~before
  let i = 0
  for (; i + SLICES <= bytes.length; i += SLICES) {
    crc ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24)
    crc =
      table[1792 + (crc & 0xff)] ^
      table[1536 + ((crc >>> 8) & 0xff)] ^
      table[1280 + ((crc >>> 16) & 0xff)] ^
      table[1024 + (crc >>> 24)] ^
      table[768 + bytes[i + 4]] ^
      table[512 + bytes[i + 5]] ^
      table[256 + bytes[i + 6]] ^
      table[bytes[i + 7]]
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]) & 0xff]
  return ~crc >>> 0
}

const ZIP = tableOf(0xedb88320) // polynomials with their bits reversed
const CASTAGNOLI = tableOf(0x82f63b78)

/** The checksum of `bytes`, continuing from that of what came before them. */
export const crc32 = (bytes: Uint8Array, before = 0): number => checksum(ZIP, bytes, before)
export const crc32c = (bytes: Uint8Array, before = 0): number => checksum(CASTAGNOLI, bytes, before)

/** As stored beside the data: a checksum of data that holds a checksum would be weak (LevelDB, util/crc32c.h, Mask). */
export const maskedCrc32c = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
