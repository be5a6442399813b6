// A zip archive whose entries are stored as they are: weights do not compress. PKWARE's APPNOTE.TXT 6.3.10, without zip64.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  return crc
})

/** The checksum of what came before, continued. */
function checksum(bytes, before) {
  let crc = ~before
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 0xff]
  return ~crc >>> 0
}

const UTF8_NAMES = 0x0800
const VERSION = 20
/** 1 January 1980, the first day that zip knows: the same model is the same archive. */
const DATE = 0x0021

/** Numbers of 2 or 4 bytes, little-endian. */
function record(...fields) {
  const bytes = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)))
  let at = 0
  for (const [size, value] of fields) {
    if (size === 2) bytes.setUint16(at, value, true)
    else bytes.setUint32(at, value, true)
    at += size
  }
  return new Uint8Array(bytes.buffer)
}

/** A sink for `savePretrained`: takes files as streams, in pieces that the browser may keep outside of memory. */
export class Zip {
  #folder
  #parts = []
  #directory = []
  #offset = 0

  /** `folder`: where the files lie in the archive. */
  constructor(folder) {
    this.#folder = folder
  }

  write(file, size) {
    const name = new TextEncoder().encode(`${this.#folder}/${file}`)
    const content = []
    let crc = 0
    return new WritableStream({
      write: (piece) => {
        crc = checksum(piece, crc)
        content.push(new Blob([piece]))
      },
      close: () => {
        // what the header of an entry and its line of the directory have in common
        const entry = [
          [2, VERSION],
          [2, UTF8_NAMES],
          [2, 0], // stored
          [2, 0], // midnight
          [2, DATE],
          [4, crc],
          [4, size],
          [4, size],
          [2, name.length],
          [2, 0], // no extra field
        ]
        const header = record([4, 0x04034b50], ...entry)
        this.#parts.push(header, name, ...content)
        // no comment, the first disk, no attributes, and where the header is
        const place = [
          [2, 0],
          [2, 0],
          [2, 0],
          [4, 0],
          [4, this.#offset],
        ]
        this.#directory.push(record([4, 0x02014b50], [2, VERSION], ...entry, ...place), name)
        this.#offset += header.length + name.length + size
      },
    })
  }

  blob() {
    const size = this.#directory.reduce((sum, { length }) => sum + length, 0)
    const count = this.#directory.length / 2
    const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, this.#offset], [2, 0])
    return new Blob([...this.#parts, ...this.#directory, end], { type: 'application/zip' })
  }
}
