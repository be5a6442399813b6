// The platforms that have a prebuilt addon, and the names of what is published. A fork has its own: `name` in package.json, and SCOPE
// here and in src/backend/prebuilt.ts.
import fs from 'node:fs'

/** The main package. */
export const MAIN = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8')).name
/** The scope of the packages with an addon. */
export const SCOPE = '@bertkit'

/** The package with the addon of a platform. */
export const packageOf = (platform) => `${SCOPE}/${platform}`
/** What npm pack calls a package's file. */
export const tarballOf = (name, version) => `${name.replace('@', '').replace('/', '-')}-${version}.tgz`

/** The platform of this machine. */
export function hostPlatform() {
  // Node is linked against musl where its report has no version of glibc. Deno and Bun have no such report: for them, and so in what is
  // published, src/backend/host-platform.ts looks at the program
  const isMusl = process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime
  return `${process.platform}-${process.arch}${isMusl ? '-musl' : ''}`
}

/** The oldest glibc that a prebuilt addon must run with. */
export const GLIBC = '2.28'

/** The package that nothing depends on: who has a GPU installs it. Its library is scripts/cuda.mjs's. */
export const CUDA = {
  name: 'cuda-linux-x64',
  title: 'NVIDIA GPUs, Linux (glibc) on x64',
  os: 'linux',
  cpu: 'x64',
  libc: 'glibc',
}

/** `os`, `cpu`, `libc`: what npm compares with a machine. `target`: what zig compiles for. */
export const PLATFORMS = {
  'linux-x64': {
    title: 'Linux (glibc) on x64',
    os: 'linux',
    cpu: 'x64',
    libc: 'glibc',
    target: `x86_64-linux-gnu.${GLIBC}`,
  },
  'linux-arm64': {
    title: 'Linux (glibc) on arm64',
    os: 'linux',
    cpu: 'arm64',
    libc: 'glibc',
    target: `aarch64-linux-gnu.${GLIBC}`,
  },
  'linux-x64-musl': {
    title: 'Linux (musl) on x64',
    os: 'linux',
    cpu: 'x64',
    libc: 'musl',
    target: 'x86_64-linux-musl',
  },
  'linux-arm64-musl': {
    title: 'Linux (musl) on arm64',
    os: 'linux',
    cpu: 'arm64',
    libc: 'musl',
    target: 'aarch64-linux-musl',
  },
  'darwin-arm64': { title: 'macOS on arm64', os: 'darwin', cpu: 'arm64', target: 'aarch64-macos.11.0' },
  'darwin-x64': { title: 'macOS on x64', os: 'darwin', cpu: 'x64', target: 'x86_64-macos.11.0' },
  'win32-x64': { title: 'Windows on x64', os: 'win32', cpu: 'x64', target: 'x86_64-windows-gnu' },
  'win32-arm64': { title: 'Windows on arm64', os: 'win32', cpu: 'arm64', target: 'aarch64-windows-gnu' },
}
