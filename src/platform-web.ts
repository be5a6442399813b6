// Browsers and edge workers: URLs and the Hub instead of folders. Imported for its effect by src/edge.ts.
import { openWasm } from './backend/wasm/open.ts'
import { webWasm } from './backend/wasm/web.ts'
import { ArgumentError } from './errors.ts'
import { openWebModel } from './formats/web-model.ts'
import { hasPlatform, type Platform, registerPlatform } from './platform.ts'

export const webPlatform: Platform = {
  env: () => undefined,
  backends: [{ name: 'wasm', open: (options) => openWasm(webWasm, options) }],
  async openModel(source, _part, options) {
    return openWebModel(source, options)
  },
  async saveModel() {
    throw new ArgumentError(
      'There are no folders here: savePretrained() without one returns Blobs, and with an object that has write() streams to it',
    )
  },
}

// where both entries are imported, Node's knows more
if (!hasPlatform()) registerPlatform(webPlatform)
