// Node, Deno and Bun: folders, the Hub's cache, the environment and the addon. Imported for its effect by src/index.ts.
import { openCuda } from './backend/cuda.ts'
import { pathOfUrl } from './backend/here.ts'
import { openSharedNative } from './backend/native.ts'
import { nodeWasm } from './backend/wasm/node.ts'
import { openWasm } from './backend/wasm/open.ts'
import { checkFolder } from './formats/files.ts'
import { FolderFiles } from './formats/folder-files.ts'
import { resolveModelFolder } from './formats/hub.ts'
import { saveFolder } from './formats/save.ts'
import { isAddress, openUrl } from './formats/web-model.ts'
import { type Platform, registerPlatform } from './platform.ts'

async function openFolder(folder: string): Promise<FolderFiles> {
  await checkFolder(folder)
  return new FolderFiles(folder)
}

export const nodePlatform: Platform = {
  env: (name) => process.env[name],
  backends: [
    { name: 'cuda', open: openCuda },
    { name: 'cpu', open: ({ isa, threads }) => openSharedNative({ isa, threads }) },
    { name: 'wasm', open: (options) => openWasm(nodeWasm, options) },
  ],
  async openModel(source, part, options) {
    if (/^file:/i.test(String(source))) return openFolder(pathOfUrl(source, 'the URL of a local folder'))
    if (typeof source !== 'string' || isAddress(source)) return openUrl(source, undefined, options)
    return openFolder(await resolveModelFolder(source, part, options))
  },
  saveModel: saveFolder,
}

registerPlatform(nodePlatform)
