// What is in the packages: their files, sizes, what they say about themselves, and that two builds are the same.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { before, describe, test } from 'node:test'
import { MAIN, PLATFORMS, packageOf } from '../../scripts/platforms.mjs'
import { installed } from './programs.mjs'
import { pack } from './stage.mjs'
import { packages, readJson, root, run, tarball, unlessPrebuilt, version } from './support.mjs'

const MEGABYTE = 1e6
const platforms = Object.keys(PLATFORMS)
const sha256 = (file) => createHash('sha256').update(fs.readFileSync(file)).digest('hex')

/** Of each tarball: its files, and the bytes that they unpack to. */
const contents = {}
before(async () => {
  const tarballs = [MAIN, ...platforms.map(packageOf)].map(tarball)
  const { stdout } = await run(['npm', 'pack', '--json', '--dry-run', ...tarballs])
  for (const { name, files, unpackedSize } of Object.values(JSON.parse(stdout)))
    contents[name] = { files: files.map((file) => file.path).sort(), unpackedSize }
})

describe('bertkit', () => {
  const manifest = readJson(packages, 'bertkit', 'package.json')

  test('has the files of files.txt (node test/packages/files.mjs writes it anew)', () => {
    const frozen = fs
      .readFileSync(path.join(import.meta.dirname, 'files.txt'), 'utf8')
      .trim()
      .split('\n')
    assert.deepEqual(contents[MAIN].files, frozen)
  })

  test('unpacks to less than 4 MB', () => {
    const { unpackedSize } = contents[MAIN]
    assert.ok(unpackedSize < 4 * MEGABYTE, `${unpackedSize}`)
  })

  test('needs no package at run time, and takes exactly its own version of each addon', () => {
    assert.equal(manifest.dependencies, undefined)
    assert.deepEqual(
      manifest.optionalDependencies,
      Object.fromEntries(platforms.map((platform) => [packageOf(platform), version])),
    )
    for (const name of Object.keys(manifest.peerDependencies ?? {}))
      assert.equal(manifest.peerDependenciesMeta[name]?.optional, true, name)
  })

  test('runs nothing when it is installed, and has nothing that only its development needs', () => {
    assert.equal(manifest.gypfile, false)
    for (const name of ['scripts', 'devDependencies', 'private', 'bundleDependencies'])
      assert.equal(manifest[name], undefined, name)
    assert.deepEqual(manifest.publishConfig, { access: 'public', provenance: true })
  })

  test('names the sha256 of each addon', async () => {
    const expected = platforms.map((platform) => [
      platform,
      sha256(path.join(packages, packageOf(platform), 'bertkit.node')),
    ])
    const { RELEASE } = await import(path.join(packages, 'bertkit', 'dist', 'backend', 'prebuilt.js'))
    assert.deepEqual(RELEASE, { version, sums: Object.fromEntries(expected) })
  })

  test('has no reference to a source map or a source that is not there', () => {
    for (const file of contents[MAIN].files.filter((name) => /\.(js|cjs|ts)$/.test(name))) {
      const text = fs.readFileSync(path.join(packages, 'bertkit', file), 'utf8')
      assert.doesNotMatch(text, /^\/\/# sourceMappingURL/m, file)
    }
  })

  test('carries the licences of what is inside it', () => {
    const vendor = path.join(packages, 'bertkit', 'dist', 'vendor')
    const expected = { 'commander.cjs': /Permission is hereby granted/, 'protobuf.cjs': /Neither the name of Google/ }
    assert.deepEqual(fs.readdirSync(vendor).sort(), Object.keys(expected))
    for (const [file, licence] of Object.entries(expected))
      assert.match(fs.readFileSync(path.join(vendor, file), 'utf8'), licence)
  })
})

describe('addons:', () => {
  test('carry the licences of what is linked into them', () => {
    const words = (text) => text.trim().split(/\s+/).join(' ')
    const notice = words(fs.readFileSync(path.join(packages, packageOf('win32-x64'), 'NOTICE'), 'utf8'))
    const addonApi = fs.readFileSync(path.join(root, 'node_modules', 'node-addon-api', 'LICENSE.md'), 'utf8')
    assert.ok(notice.includes(words(addonApi.slice(addonApi.indexOf('Permission is hereby granted')))))
    for (const name of ['node-addon-api', 'libc++', 'libunwind', 'compiler-rt', 'mingw-w64'])
      assert.ok(notice.includes(name), name)
  })

  for (const platform of platforms) {
    const name = packageOf(platform)

    test(`${name} has the addon and says where it fits`, () => {
      assert.deepEqual(contents[name].files, ['LICENSE', 'NOTICE', 'README.md', 'bertkit.node', 'package.json'])
      const manifest = readJson(packages, name, 'package.json')
      const { os, cpu, libc } = PLATFORMS[platform]
      assert.deepEqual([manifest.name, manifest.version], [name, version])
      assert.deepEqual([manifest.os, manifest.cpu, manifest.libc], [[os], [cpu], libc && [libc]])
      const main = readJson(packages, 'bertkit', 'package.json')
      for (const field of ['engines', 'license', 'repository', 'publishConfig'])
        assert.deepEqual(manifest[field], main[field], field)
      assert.equal(manifest.main, 'bertkit.node')
      for (const field of ['dependencies', 'scripts']) assert.equal(manifest[field], undefined, field)
    })

    test(`${name} unpacks to less than 3 MB`, { skip: unlessPrebuilt(platform) }, () => {
      const { unpackedSize } = contents[name]
      assert.ok(unpackedSize < 3 * MEGABYTE, `${unpackedSize}`)
    })
  }
})

describe('checked by others:', () => {
  const publint = async (name) => {
    const program = installed('publint', 'src', 'cli.js')
    const { stdout } = await run([process.execPath, program, tarball(name), '--strict'])
    assert.match(stdout, /All good!/)
  }
  test('publint finds nothing in bertkit', () => publint(MAIN))
  test('publint finds nothing in a platform package', () => publint(packageOf('linux-x64')))

  // node16: without node10, which knows no exports and so no bertkit/edge. cjs-resolves-to-esm: there is one build, of ES modules, and
  // require() of it works on every Node that bertkit supports; attw's rule is older than that.
  test('attw finds the types of every entry right', async () => {
    const program = installed('@arethetypeswrong/cli', 'dist', 'index.js')
    const options = ['--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm', '--format', 'json']
    const { stdout } = await run([process.execPath, program, tarball(MAIN), ...options])
    const { analysis } = JSON.parse(stdout)
    const entries = Object.keys(readJson(packages, 'bertkit', 'package.json').exports)
    assert.deepEqual(Object.keys(analysis.entrypoints).sort(), entries.sort())
    assert.equal(analysis.types.kind, 'included')
  })
})

test('a second build gives the same bytes', () => {
  const again = pack('again')
  const tarballs = (folder) => fs.readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  assert.deepEqual(tarballs(again), tarballs(packages))
  // beside that of CUDA, where its library was built
  assert.equal(tarballs(again).filter((name) => !name.includes('cuda')).length, 1 + platforms.length)
  for (const name of tarballs(again))
    assert.equal(sha256(path.join(again, name)), sha256(path.join(packages, name)), name)
  fs.rmSync(again, { recursive: true })
})

test('the sources in bertkit are those of the checkout', () => {
  for (const file of ['CMakeLists.txt', 'native/ops.def', 'native/addon.cc', 'NOTICE', 'LICENSE', 'README.md'])
    assert.equal(sha256(path.join(packages, 'bertkit', file)), sha256(path.join(root, file)), file)
  assert.equal(sha256(path.join(packages, 'bertkit', 'native', 'binding.gyp')), sha256(path.join(root, 'binding.gyp')))
})

test('there is no binding.gyp in the root of any package, which npm would build', () => {
  for (const { files } of Object.values(contents)) assert.ok(!files.includes('binding.gyp'))
})
