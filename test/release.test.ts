// What a release rests on: the names of packages, what is published and what is not, what may be skipped, what is built anew.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as prebuilt from '../src/backend/prebuilt.ts'

const root = path.join(import.meta.dirname, '..')
const at = (...parts: string[]) => path.join(root, ...parts)
const read = (file: string) => fs.readFileSync(at(file), 'utf8')
const load = <T>(file: string): Promise<T> => import(pathToFileURL(at(file)).href)

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true })
})
function temporary(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-release-'))
  folders.push(folder)
  return folder
}

test('the names of the packages stand in two files, where a fork changes them', async () => {
  const { MAIN, SCOPE } = await load<{ MAIN: string; SCOPE: string }>('scripts/platforms.mjs')
  expect(prebuilt).toMatchObject({ MAIN, SCOPE })
  const holders = ['scripts', 'src'].flatMap((folder) =>
    fs
      .readdirSync(at(folder), { recursive: true, encoding: 'utf8' })
      .map((file) => `${folder}/${file.replaceAll(path.sep, '/')}`)
      .filter((file) => fs.statSync(at(file)).isFile() && read(file).includes(SCOPE)),
  )
  expect(holders).toEqual(['scripts/platforms.mjs', 'src/backend/prebuilt.ts'])
})

const script = (...args: string[]) => spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' })

describe('scripts/publish.mjs', () => {
  /** What the registry has, by name: the integrity of each version, or the status that it answers with. */
  const registry: Record<string, Record<string, string> | number> = {}
  const server = http.createServer((request, response) => {
    const name = decodeURIComponent(request.url ?? '').slice(1)
    const found = registry[name] ?? 404
    response.writeHead(typeof found === 'number' ? found : 200, { 'content-type': 'application/json' })
    const versions = Object.entries(found).map(([version, integrity]) => [
      version,
      { name, version, dist: { integrity, tarball: `http://127.0.0.1/${name}.tgz` } },
    ])
    const latest = versions.at(-1)?.[0]
    response.end(JSON.stringify({ name, 'dist-tags': { latest }, versions: Object.fromEntries(versions) }))
  })
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
  afterAll(() => {
    server.close()
  })

  /** Packs packages and their sums; the integrity of each by its name. */
  function packed(folder: string, manifests: Record<string, unknown>[]) {
    const sums: string[] = []
    const integrity: Record<string, string> = {}
    for (const [i, manifest] of manifests.entries()) {
      fs.mkdirSync(path.join(folder, 'package'), { recursive: true })
      fs.writeFileSync(path.join(folder, 'package', 'package.json'), JSON.stringify(manifest))
      const file = path.join(folder, `${i}.tgz`)
      spawnSync('tar', ['-czf', file, '-C', folder, 'package'])
      const bytes = fs.readFileSync(file)
      const hash = (name: string, encoding: 'hex' | 'base64') => createHash(name).update(bytes).digest(encoding)
      sums.push(`${hash('sha256', 'hex')}  ${i}.tgz\n`)
      integrity[`${manifest.name}`] = `sha512-${hash('sha512', 'base64')}`
    }
    fs.writeFileSync(path.join(folder, 'SHA256SUMS'), sums.join(''))
    return integrity
  }

  async function publish(folder: string, ...flags: string[]) {
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const { npm_execpath: _, ...kept } = process.env
    const env = {
      ...kept,
      npm_config_registry: address,
      npm_config_cache: path.join(folder, 'cache'),
      npm_config_fetch_retries: '0',
    }
    const child = spawn(process.execPath, [at('scripts', 'publish.mjs'), folder, ...flags], { env })
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text
      })
    const status = await new Promise((resolve) => child.once('close', resolve))
    return { status, ...output }
  }

  const addon = { name: '@scope/one', version: '1.0.0-beta.1' }
  const main = { name: 'main', version: addon.version, optionalDependencies: { [addon.name]: addon.version } }

  test('publishes addons first, and a prerelease under the tag next', async () => {
    const folder = temporary()
    packed(folder, [main, addon])
    const { status, stdout, stderr } = await publish(folder, '--dry-run')
    expect(status, stderr).toBe(0)
    expect(stdout.match(/^\S+ would be published.*$/gm)).toEqual(
      [addon, main].map(({ name, version }) => `${name}@${version} would be published under the tag next`),
    )
    expect(stderr).toMatch(/with tag next/)
  })

  test('leaves out the same bytes, and stops at other bytes and at what it cannot know', async () => {
    const folder = temporary()
    const integrity = packed(folder, [addon])
    registry[addon.name] = { [addon.version]: integrity[addon.name] }
    const same = await publish(folder)
    expect([same.status, same.stdout]).toEqual([0, `${addon.name}@${addon.version} is published already\n`])

    registry[addon.name] = { [addon.version]: `sha512-${Buffer.alloc(64).toString('base64')}` }
    fs.rmSync(path.join(folder, 'cache'), { recursive: true })
    const other = await publish(folder)
    expect([other.status, other.stdout]).toEqual([1, ''])
    expect(other.stderr).toContain(`publish: ${addon.name}@${addon.version} is published already with other bytes`)

    registry[addon.name] = 500
    fs.rmSync(path.join(folder, 'cache'), { recursive: true })
    const unknown = await publish(folder)
    expect([unknown.status, unknown.stdout]).toEqual([1, ''])
    expect(unknown.stderr).toContain('so it is not known whether it is published')
    delete registry[addon.name]
  })

  test('a version that is not among those of a package is absent', async () => {
    const folder = temporary()
    const integrity = packed(folder, [addon])
    registry[addon.name] = { '0.9.0': integrity[addon.name] }
    const { status, stdout, stderr } = await publish(folder, '--dry-run')
    expect(status, stderr).toBe(0)
    expect(stdout).toContain('would be published')
    delete registry[addon.name]
  })

  test('stops where a file of SHA256SUMS is missing, or a package that another names', async () => {
    const folder = temporary()
    packed(folder, [addon, main])
    fs.rmSync(path.join(folder, '0.tgz'))
    expect(await publish(folder, '--dry-run')).toMatchObject({
      status: 1,
      stderr: `publish: 0.tgz of SHA256SUMS is not in ${folder}\n`,
    })
    const alone = temporary()
    packed(alone, [main])
    expect((await publish(alone, '--dry-run')).stderr).toContain(`Expected ${addon.name}@${addon.version} among`)
  })
})

test('what a release requires may not be skipped, but for reference data that nobody named', () => {
  const staged = temporary()
  fs.mkdirSync(path.join(staged, 'bertkit'))
  fs.writeFileSync(path.join(staged, 'bertkit', 'package.json'), '{"version":"1.0.0"}')
  const program = `const { noMinilm, skipBecause } = await import(${JSON.stringify(pathToFileURL(at('test/packages/support.mjs')).href)})
console.log(typeof noMinilm)
skipBecause('a tool is missing')`
  const outcome = (more: Record<string, string>) => {
    const { BERTKIT_REFERENCE_DIR: _, BERTKIT_REQUIRE_PACKAGES: __, ...kept } = process.env
    const env = { ...kept, BERTKIT_STAGED: staged, BERTKIT_REGISTRY: 'http://127.0.0.1/', ...more }
    const args = ['--input-type=module', '--eval', program]
    const { status, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' })
    return { status, error: /^Error: (.*), and BERTKIT_REQUIRE_PACKAGES/m.exec(stderr)?.[1] }
  }
  const all = { BERTKIT_REQUIRE_PACKAGES: 'all' }
  expect(outcome({})).toEqual({ status: 0, error: undefined })
  expect(outcome(all)).toEqual({ status: 1, error: 'a tool is missing' })
  expect(outcome({ ...all, BERTKIT_REFERENCE_DIR: staged }).error).toMatch(/^no reference data/)
  expect(read('scripts/release.mjs')).toContain("BERTKIT_REQUIRE_PACKAGES: 'all'")
})

test('packages.yml installs what tests of the packages name as missing', () => {
  const wanted = fs
    .readdirSync(at('test', 'packages'))
    .filter((file) => file.endsWith('.mjs'))
    .flatMap((file) => [...read(`test/packages/${file}`).matchAll(/\(Debian: ([^)]+)\)/g)])
    .flatMap(([, names]) => names.split(/,? and |, /))
  const [, line] = /apt-get install ((?:[^\n]*\\\n)*[^\n]*)/.exec(read('.github/workflows/packages.yml')) ?? []
  const installed = line?.split(/[\s\\]+/)
  expect(wanted).toEqual(expect.arrayContaining(['musl', 'wine', 'llvm', 'qemu-user']))
  expect(wanted.filter((name) => !installed?.includes(name))).toEqual([])
})

test('the release page has the checksums, and workflows install exact versions', () => {
  const release = read('.github/workflows/release.yml')
  expect(release).toMatch(/gh release create[^\n]*\\\n[^\n]*\*\.tgz [^\n]*SHA256SUMS [^\n]*sbom\.cdx\.json$/m)
  const workflows = release + read('.github/workflows/packages.yml')
  const npms = [...workflows.matchAll(/npm install --global (\S+)/g)].map(([, what]) => what)
  expect(npms.length).toBe(2)
  for (const what of npms) expect(what).toMatch(/^npm@\d+\.\d+\.\d+$/)
  for (const [, what] of workflows.matchAll(/pip install ([^\n]*zig[^\n]*)/g))
    expect(what).toContain('--require-hashes -r scripts/zig-requirements.txt')
})

test('a tree that another toolchain has built is emptied, and only such', async () => {
  const { emptyUnlessOf } = await load<{ emptyUnlessOf(folder: string, toolchain: string): void }>('scripts/zig.mjs')
  const tree = path.join(temporary(), 'tree')
  const object = path.join(tree, 'object.o')
  for (const [toolchain, kept] of [
    ['zig 1', false],
    ['zig 1', true],
    ['zig 2', false],
  ] as const) {
    emptyUnlessOf(tree, toolchain)
    expect(fs.existsSync(object), toolchain).toBe(kept)
    fs.writeFileSync(object, '')
  }
})

test('vendoring leaves no import of a package, also where a file imports it twice', async () => {
  const { vendor } = await load<{ vendor(folder: string, root: string): Promise<string[]> }>('scripts/vendor.mjs')
  const dist = temporary()
  const once = "import { Command } from 'commander';\nexport { Command };\n"
  fs.writeFileSync(path.join(dist, 'a.js'), `${once}import { create } from '@bufbuild/protobuf';\nexport { create };\n`)
  expect((await vendor(dist, root)).length).toBe(2)
  expect(fs.readFileSync(path.join(dist, 'a.js'), 'utf8')).toContain("import { Command } from './vendor/commander.cjs'")
  fs.writeFileSync(path.join(dist, 'b.js'), `${once}import { Option } from 'commander';\nexport { Option };\n`)
  await expect(vendor(dist, root)).rejects.toThrow('b.js still imports commander')
})

test('a tag of another version than package.json is refused', () => {
  const { status, stderr } = script('scripts/check-version.mjs', 'v99.0.0')
  expect(status).toBe(1)
  expect(stderr).toContain(`Expected the tag v${JSON.parse(read('package.json')).version}`)
  expect(stderr).not.toContain('to have a section')
})

test('a package that is not what its checksum says is not published', () => {
  const packed = temporary()
  fs.writeFileSync(path.join(packed, 'bertkit-1.0.0.tgz'), 'something else')
  expect(script('scripts/publish.mjs', packed, '--dry-run').stderr).toContain(
    'Expected a folder with packages and SHA256SUMS',
  )
  fs.writeFileSync(path.join(packed, 'SHA256SUMS'), `${'0'.repeat(64)}  bertkit-1.0.0.tgz\n`)
  const { status, stderr } = script('scripts/publish.mjs', packed, '--dry-run')
  expect(status).toBe(1)
  expect(stderr).toContain('bertkit-1.0.0.tgz is not what SHA256SUMS says')
})
