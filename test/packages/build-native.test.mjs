// bertkit build-native: the sources in the package make an addon, which then serves instead of a prebuilt one.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { programsFor } from '../docs/blocks.mjs'
import { DESCRIBE, Project, root, skipBecause } from './support.mjs'

const node = { command: [process.execPath] }
const COMMAND = [...node.command, 'node_modules/bertkit/dist/cli/main.js', 'build-native']
const blocks = programsFor('test/packages/build-native.test.mjs')
const printed = blocks.take('docs/installing.md', 'npx bertkit build-native')
const works = (tool) => spawnSync(tool, ['--version']).status === 0
const missing = ['cmake', 'c++'].find((tool) => !works(tool))

/** Gives a project packages of the checkout's, as npm install would from the real registry. */
function link(project, ...names) {
  for (const name of names) {
    const target = path.join(root, 'node_modules', name)
    if (!fs.existsSync(target)) throw new Error(`${name} is not installed in the checkout`)
    fs.symlinkSync(target, project.at('node_modules', name), 'junction')
  }
}

test('every block that names this test is run by it', () => assert.deepEqual(blocks.left(), []))

describe('bertkit build-native', () => {
  test('says what it takes', async () => {
    const project = new Project()
    await project.install('--omit=optional')
    const install = 'npm install --save-dev cmake-js node-addon-api'
    await assert.rejects(project.run(COMMAND), ({ message }) =>
      message.includes(
        `bertkit: Building the native kernels needs the package node-addon-api and there is none. Install what it takes with: ${install}`,
      ),
    )
    link(project, 'node-addon-api')
    await assert.rejects(project.run([...COMMAND, '--tool', 'cmake-js']), ({ message }) =>
      message.includes(
        `bertkit: Building the native kernels needs cmake-js and there is none. Install what it takes with: ${install}`,
      ),
    )
    await assert.rejects(project.run([...COMMAND, '--tool', 'make']), ({ message }) =>
      message.includes('Allowed choices are cmake-js, node-gyp'),
    )
  })

  test('builds as docs/installing.md says', { skip: skipBecause(missing && `needs ${missing}`) }, async () => {
    const project = new Project()
    await project.install('--omit=optional')
    // the registry of the tests has no other packages
    const [, names] = /^npm install --save-dev (.+)$/m.exec(printed)
    link(project, ...names.split(' '))
    const { stdout } = await project.run(['sh', '-eu', '-c', `npm() { :; }\n${printed}`])
    assert.match(stdout, /^The native kernels were built with cmake-js and run on this machine, with \w+\n$/)
    const described = await project.program(node, DESCRIBE)
    assert.equal(JSON.parse(described.stdout).backend, 'cpu')
    assert.equal(described.stderr, '')
  })
})
