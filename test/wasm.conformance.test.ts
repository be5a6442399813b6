import fs from 'node:fs'
import { it } from 'vitest'
import { openInline } from '../src/backend/wasm/inline.ts'
import { loadWasm } from '../src/backend/wasm/load.ts'
import { conformance } from './conformance.ts'
import { fileOf, missing } from './wasm/binaries.ts'

for (const binary of ['bertkit', 'bertkit-relaxed'] as const) {
  const reason = missing(binary)
  if (reason) it.skip(`wasm ${binary} (${reason})`)
  else {
    const module = await loadWasm(fs.readFileSync(fileOf(binary)))
    conformance(`wasm ${binary}`, () => openInline(module))
  }
}
