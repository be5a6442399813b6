// Node, Deno and Bun: folders, the Hub's cache, the environment and the addon. Imported for its effect by src/index.ts.
import { fileURLToPath } from 'node:url'
import { openCuda } from './backend/cuda.ts'
import { openSharedNative } from './backend/native.ts'
import { nodeWasm } from './backend/wasm/node.ts'
import { openWasm } from './backend/wasm/open.ts'
import { ArgumentError } from './errors.ts'
import { FolderFiles } from './formats/folder-files.ts'
import { resolveModelFolder } from './formats/hub.ts'
import { saveFolder } from './formats/save.ts'
import { isAddress, openUrl } from './formats/web-model.ts'
import { quote } from './json.ts'
import { type Platform, registerPlatform } from './platform.ts'

export const nodePlatform: Platform = {
  env: (name) => process.env[name],
  backends: [
    { name: 'cuda', open: openCuda },
    { name: 'cpu', open: ({ isa, threads }) => openSharedNative({ isa, threads }) },
    { name: 'wasm', open: (options) => openWasm(nodeWasm, options) },
  ],
  async openModel(source, part, options) {
    if (/^file:/i.test(String(source))) return new FolderFiles(folderOf(source))
    if (typeof source !== 'string' || isAddress(source)) return openUrl(source, undefined, options)
    return new FolderFiles(await resolveModelFolder(source, part, options))
  },
  saveModel: saveFolder,
}

/** The folder of a file: URL. */
function folderOf(url: string | URL): string {
  try {
    return fileURLToPath(url)
  } catch (error) {
    const reason = error instanceof Error ? error.message : error
    throw new ArgumentError(`expected the URL of a local folder, but found ${quote(String(url))}: ${reason}`)
  }
}

registerPlatform(nodePlatform)
