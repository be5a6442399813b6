// The tests of this folder: bertkit in other runtimes than Node. Installs what they need, here, and runs every *.test.mjs.
// BERTKIT_REFERENCE_DIR: the reference data. With BERTKIT_REQUIRE_RUNTIMES=1 a runtime that is missing is an error, not skipped.
import fs from 'node:fs'
import path from 'node:path'
import { main, root, Stop } from '../../scripts/command.mjs'
import { runFolder } from '../run-folder.mjs'

main('test:runtimes', () => {
  const missing = ['dist/edge.js', 'dist/wasm/bertkit.wasm'].filter((file) => !fs.existsSync(path.join(root, file)))
  if (missing.length > 0)
    throw new Stop(`${missing.join(' and ')} is not there: run npm run build and npm run build:wasm first`)
  return runFolder(import.meta.dirname, process.argv.slice(2))
})
