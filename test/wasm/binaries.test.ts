// What the binaries are from outside: small, self-contained, and native/api.h.
import fs from 'node:fs'
import path from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { webAssembly } from '../../src/backend/wasm/host.ts'
import { BINARIES, fileOf, missing } from './binaries.ts'

const header = fs.readFileSync(path.join(import.meta.dirname, '..', '..', 'native', 'api.h'), 'utf8')
const declared = [...header.matchAll(/^BK_EXPORT [^(]*?(\bbk_\w+)\(/gm)].map(([, name]) => name).sort()

interface Descriptor {
  readonly module?: string
  readonly name: string
  readonly kind: string
}

for (const binary of BINARIES) {
  const reason = missing(binary)
  describe.skipIf(reason)(`${binary}.wasm${reason ? ` (${reason})` : ''}`, () => {
    const bytes = reason ? new Uint8Array() : fs.readFileSync(fileOf(binary))
    const { Module } = webAssembly() as unknown as {
      Module: { new (bytes: Uint8Array): object; imports(m: object): Descriptor[]; exports(m: object): Descriptor[] }
    }
    const shared = binary.includes('threads')

    test('exports the functions of api.h, and its memory unless that is given to it', () => {
      const exports = Module.exports(new Module(bytes))
      expect(
        exports
          .filter(({ kind }) => kind === 'function')
          .map(({ name }) => name)
          .sort(),
      ).toEqual(declared)
      const others = exports.filter(({ kind }) => kind !== 'function').map(({ name }) => name)
      expect(others).toEqual(shared ? [] : ['memory'])
    })

    test('imports a clock, and a shared memory where there are threads', () => {
      const imports = Module.imports(new Module(bytes)).map(({ module, name }) => `${module}.${name}`)
      expect(imports.sort()).toEqual(shared ? ['env.memory', 'env.now'] : ['env.now'])
    })

    test('is below 350 KB, and 120 KB compressed', () => {
      expect(bytes.length).toBeLessThan(350_000)
      expect(gzipSync(bytes, { level: 9 }).length).toBeLessThan(120_000)
      expect(brotliCompressSync(bytes).length).toBeLessThan(120_000)
    })
  })
}
