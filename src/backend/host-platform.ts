// What this machine is, as in the name of its package of native kernels.
import { closeSync, openSync, readSync } from 'node:fs'

/** The loader that starts a 64-bit ELF program: the segment PT_INTERP (ELF specification, 2-3 and 2-13). */
function interpreterOf(program: string): string {
  const file = openSync(program, 'r')
  const at = (offset: number, bytes: number) => {
    const buffer = Buffer.alloc(bytes)
    return buffer.subarray(0, readSync(file, buffer, 0, bytes, offset))
  }
  try {
    const header = at(0, 64)
    const [entry, count] = [header.readUInt16LE(54), header.readUInt16LE(56)]
    const table = at(Number(header.readBigUInt64LE(32)), entry * count)
    for (let offset = 0; offset < table.length; offset += entry)
      if (table.readUInt32LE(offset) === 3)
        return at(Number(table.readBigUInt64LE(offset + 8)), Number(table.readBigUInt64LE(offset + 32))).toString()
    return ''
  } finally {
    closeSync(file)
  }
}

function isMusl(): boolean {
  try {
    return interpreterOf(process.execPath).includes('/ld-musl-')
  } catch {
    return false // a program that cannot be read is taken for one of glibc's, as most are
  }
}

/** Such as linux-x64, linux-x64-musl or win32-arm64. */
export function hostPlatform(): string {
  return `${process.platform}-${process.arch}${process.platform === 'linux' && isMusl() ? '-musl' : ''}`
}
