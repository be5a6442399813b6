// Stages and packs for the tests: the real addons that there are, and for every other platform a file that stands for one, so that
// what npm chooses among all eight can be seen.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { hostPlatform, PLATFORMS } from '../../scripts/platforms.mjs'

const root = path.join(import.meta.dirname, '..', '..')
const out = path.join(root, 'out', 'test-packages')

/** The platform of this machine. */
export const host = hostPlatform()

const existing = (...file) => (fs.existsSync(path.join(...file)) ? path.join(...file) : undefined)

/** The addon of a platform as scripts/prebuild.mjs made it; undefined where it did not. */
export const prebuilt = (platform) => existing(root, 'prebuilds', platform, 'bertkit.node')

/** The addon of a platform, for this machine also one that was built here; undefined where there is none. */
export const builtAddon = (platform) =>
  prebuilt(platform) ?? (platform === host ? existing(root, 'build', 'Release', 'bertkit.node') : undefined)

/** Runs scripts/pack.mjs for the tests; the folder with the packages. */
export function pack(name) {
  const prebuilds = path.join(out, 'prebuilds')
  fs.rmSync(prebuilds, { recursive: true, force: true })
  for (const platform of Object.keys(PLATFORMS)) {
    fs.mkdirSync(path.join(prebuilds, platform), { recursive: true })
    const target = path.join(prebuilds, platform, 'bertkit.node')
    const addon = builtAddon(platform)
    if (addon) fs.copyFileSync(addon, target)
    else fs.writeFileSync(target, `no addon was built for ${platform}\n`)
  }
  const target = path.join(out, name)
  const args = [path.join(root, 'scripts', 'pack.mjs'), '--prebuilds', prebuilds, '--out', target]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`scripts/pack.mjs failed\n${stdout}${stderr}`)
  return target
}

export const stage = () => pack('packages')
