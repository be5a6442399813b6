// The platforms that have a prebuilt addon, by the name of their package @bertkit/NAME.

/** The oldest glibc that a prebuilt addon must run with. */
export const GLIBC = '2.28'

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
