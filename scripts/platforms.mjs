// The platforms that have a prebuilt addon, by the name of their package @bertkit/NAME, and what npm compares with a machine.
export const PLATFORMS = {
  'linux-x64': { title: 'Linux (glibc) on x64', os: 'linux', cpu: 'x64', libc: 'glibc' },
  'linux-arm64': { title: 'Linux (glibc) on arm64', os: 'linux', cpu: 'arm64', libc: 'glibc' },
  'linux-x64-musl': { title: 'Linux (musl) on x64', os: 'linux', cpu: 'x64', libc: 'musl' },
  'linux-arm64-musl': { title: 'Linux (musl) on arm64', os: 'linux', cpu: 'arm64', libc: 'musl' },
  'darwin-arm64': { title: 'macOS on arm64', os: 'darwin', cpu: 'arm64' },
  'darwin-x64': { title: 'macOS on x64', os: 'darwin', cpu: 'x64' },
  'win32-x64': { title: 'Windows on x64', os: 'win32', cpu: 'x64' },
  'win32-arm64': { title: 'Windows on arm64', os: 'win32', cpu: 'arm64' },
}
