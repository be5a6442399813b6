// Chromium, driven by playwright-core. None is downloaded: it is the one of CHROMIUM, or Debian's.
import fs from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'
import { FOLDERS } from '../../examples/browser/serve.mjs'

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
export const reference = process.env.BERTKIT_REFERENCE_DIR

const missing = [
  !fs.existsSync(executablePath) && `there is no ${executablePath} (CHROMIUM names another one)`,
  !reference && 'BERTKIT_REFERENCE_DIR is not set',
].filter(Boolean)

/** Why these tests cannot run here; false where they can, and where they have to. */
export const skip = missing.length > 0 && process.env.BERTKIT_REQUIRE_RUNTIMES !== '1' && missing.join('; ')

/** What `serve` needs: the page's folders, these tests and the reference data. */
export const folders = {
  ...FOLDERS,
  '/test/runtimes/': path.join(import.meta.dirname, path.sep),
  '/shared/': path.join(reference ?? import.meta.dirname, path.sep),
}

/** A browser with a profile of its own, which goes with it. */
export async function launch() {
  if (missing.length > 0) throw new Error(`Chromium's tests cannot run: ${missing.join('; ')}`)
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}
