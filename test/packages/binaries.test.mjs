// The prebuilt addons as files: scripts/binaries.mjs finds nothing wrong with them, and finds what is wrong with others.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { problemsOf } from '../../scripts/binaries.mjs'
import { PLATFORMS } from '../../scripts/platforms.mjs'
import { findZig } from '../../scripts/zig.mjs'
import { prebuilt } from './stage.mjs'
import { Project, root, skipBecause, unlessPrebuilt } from './support.mjs'

const noTools = ['llvm-readobj', 'llvm-nm', 'llvm-objdump'].every((tool) => spawnSync(tool, ['--version']).status === 0)
  ? undefined
  : "LLVM's tools are missing (Debian: llvm)"

for (const [name, platform] of Object.entries(PLATFORMS)) {
  const file = prebuilt(name)
  describe(name, { skip: unlessPrebuilt(name) || skipBecause(noTools) }, () => {
    test('is what a prebuilt addon may be', () => assert.deepEqual(problemsOf(file, platform), []))

    test('takes less than 3 MB', () => assert.ok(fs.statSync(file).size < 2.9e6))

    test('is that of no other platform', () => {
      const others = Object.entries(PLATFORMS).filter(([other]) => other !== name)
      for (const [other, about] of others) assert.notDeepEqual(problemsOf(file, about), [], other)
    })
  })
}

const zig = findZig()
/** A build takes minutes: one where time is short, and one of each system for a release, which requires all. */
const REBUILT =
  process.env.BERTKIT_REQUIRE_PACKAGES === 'all' ? ['darwin-arm64', 'linux-x64', 'win32-x64'] : ['darwin-arm64']
test(`two builds, in two folders, give the same bytes (${REBUILT.join(', ')})`, {
  skip: REBUILT.map(unlessPrebuilt).find(Boolean) || skipBecause(noTools ?? (zig ? undefined : 'needs zig')),
}, () => {
  const project = new Project()
  for (const name of ['native', 'scripts', 'CMakeLists.txt', 'package.json'])
    fs.cpSync(path.join(root, name), project.at('checkout', name), { recursive: true })
  fs.symlinkSync(path.join(root, 'node_modules'), project.at('checkout', 'node_modules'))
  const options = { cwd: project.at('checkout'), encoding: 'utf8' }
  const { status, stderr } = spawnSync(process.execPath, ['scripts/prebuild.mjs', ...REBUILT], options)
  assert.equal(status, 0, stderr)
  for (const name of REBUILT) {
    const again = fs.readFileSync(project.at('checkout', 'prebuilds', name, 'bertkit.node'))
    assert.ok(again.equals(fs.readFileSync(prebuilt(name))), name)
  }
})

describe('a library that is no addon', {
  skip: skipBecause(noTools ?? (process.platform === 'linux' ? undefined : 'needs g++')),
}, () => {
  test('is told from one: exports, libraries of C++', () => {
    const project = new Project()
    const source = project.write(
      'library.cc',
      '#include <string>\nstd::string exported() { return std::string("x") + "y"; }\nint main() { return 0; }\n',
    )
    const file = project.at('library.node')
    const { status, stderr } = spawnSync('g++', ['-shared', '-fPIC', source, '-o', file], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
    const problems = problemsOf(file, PLATFORMS[`linux-${process.arch}`]).join('\n')
    assert.match(problems, /needs .*libstdc\+\+\.so\.6/)
    assert.match(problems, /does not export napi_register_module_v1/)
    assert.match(problems, /exports .*exported/)
  })
})
