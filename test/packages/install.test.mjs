// What npm makes of the packages: one addon for each platform, nothing that runs, nothing else.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { before, describe, test } from 'node:test'
import { PLATFORMS, packageOf } from '../../scripts/platforms.mjs'
import { runtimes } from './programs.mjs'
import { builtAddon, host } from './stage.mjs'
import { DESCRIBE, Project, registry, sizeOf, skipBecause, version } from './support.mjs'

const node = { command: [process.execPath] }
const noAddon = skipBecause(builtAddon(host) ? undefined : `no addon was built for this machine, ${host}`)

describe('npm install bertkit', () => {
  let project
  before(async () => {
    project = new Project()
    await project.install()
  })

  test(`installs bertkit and the addon of ${host}, from the registry, with nothing to run`, () => {
    const installed = project.installed()
    assert.deepEqual(
      installed.map(({ name }) => name),
      [packageOf(host), 'bertkit'],
    )
    for (const { name, version: found, resolved, hasInstallScript } of installed) {
      assert.equal(found, version, name)
      assert.ok(resolved.startsWith(registry), `${name} came from ${resolved}`)
      assert.equal(hasInstallScript, undefined, name)
    }
  })

  test('takes less than 15 MB', () => {
    const size = sizeOf(project.at('node_modules'))
    assert.ok(size < 15e6, `${size}`)
  })

  test('the addon serves, and nothing is said', { skip: noAddon }, async () => {
    const { stdout, stderr } = await project.program(node, DESCRIBE)
    assert.equal(JSON.parse(stdout).backend, 'cpu')
    assert.equal(stderr, '')
  })

  test('an addon of another release is refused, and WebAssembly serves', { skip: noAddon }, async () => {
    const other = new Project()
    await other.install()
    fs.appendFileSync(other.at('node_modules', packageOf(host), 'bertkit.node'), 'x')
    const { stdout, stderr } = await other.program(node, DESCRIBE)
    assert.equal(JSON.parse(stdout).backend, 'wasm')
    assert.match(stderr, /the file is damaged, or of another version than bertkit/)
  })

  test('npm ci and npm rebuild, from a lock file, build nothing either', async () => {
    const other = new Project()
    other.write('package.json', fs.readFileSync(project.at('package.json'), 'utf8'))
    other.write('package-lock.json', fs.readFileSync(project.at('package-lock.json'), 'utf8'))
    await other.npm('ci', '--ignore-scripts=false')
    await other.npm('rebuild')
    assert.deepEqual(
      other.installed().map(({ name }) => name),
      [`@bertkit/${host}`, 'bertkit'],
    )
    assert.ok(!fs.existsSync(other.at('node_modules', 'bertkit', 'build')))
  })

  test('npx bertkit --version', async () => {
    const { stdout } = await project.npm('exec', '--offline', '--', 'bertkit', '--version')
    assert.equal(stdout.trim(), version)
  })

  for (const { name, command, missing } of runtimes.filter(({ name }) => name.startsWith('Node')))
    test(`bertkit --version in ${name}`, { skip: skipBecause(missing) }, async () => {
      const { stdout } = await project.run([...command, 'node_modules/bertkit/dist/cli/main.js', '--version'])
      assert.equal(stdout.trim(), version)
    })
})

describe('npm install bertkit, as npm does it', () => {
  for (const [platform, { os, cpu, libc }] of Object.entries(PLATFORMS))
    test(`on ${platform}: bertkit and that addon`, async () => {
      const project = new Project()
      await project.install(`--os=${os}`, `--cpu=${cpu}`, ...(libc ? [`--libc=${libc}`] : []))
      assert.deepEqual(
        project.installed().map(({ name }) => name),
        [packageOf(platform), 'bertkit'],
      )
    })

  test('on a platform without an addon: bertkit alone', async () => {
    const project = new Project()
    await project.install('--os=linux', '--cpu=s390x', '--libc=glibc')
    assert.deepEqual(
      project.installed().map(({ name }) => name),
      ['bertkit'],
    )
  })
})

describe('npm install bertkit --omit=optional', () => {
  let project
  before(async () => {
    project = new Project()
    await project.install('--omit=optional')
  })

  test('installs bertkit alone', () =>
    assert.deepEqual(
      project.installed().map(({ name }) => name),
      ['bertkit'],
    ))

  for (const { name, command, missing } of runtimes)
    test(`WebAssembly serves in ${name}, and one line says so`, { skip: skipBecause(missing) }, async () => {
      const { stdout, stderr } = await project.program(
        { command },
        `import { BertConfig, BertModel } from 'bertkit'
const config = new BertConfig({ vocabSize: 30, hiddenSize: 16, numHiddenLayers: 1, numAttentionHeads: 2, intermediateSize: 16 })
for (let i = 0; i < 2; i++) {
  const model = new BertModel(config)
  console.log(JSON.stringify((await model.forward({ inputIds: [[1, 2, 3]] })).lastHiddenState.shape))
  model.dispose()
}`,
      )
      assert.equal(stdout, '[3,16]\n[3,16]\n')
      const lines = stderr.split('\n').filter((line) => line !== '')
      assert.equal(lines.length, 1, stderr)
      assert.match(lines[0], /^bertkit: using the wasm backend\./)
    })
})
