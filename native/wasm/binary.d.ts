// The type of `import binary from 'bertkit/wasm/….wasm'`. What that gives is the bundler's choice: the address of the file, its bytes,
// or a compiled module. All of them are what the option wasm.binary takes. npm run build:wasm puts this file beside the binaries.
import type { WasmSource } from '../backend/wasm/load.js'

declare const binary: WasmSource
export default binary
