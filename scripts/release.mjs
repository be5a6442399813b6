// npm run release [-- --only STEP,...]: everything of a release but its last act. Builds TypeScript, WebAssembly and the addon for every
// platform, tests, packs, writes checksums and a bill of materials, and lets npm try to publish (--dry-run). What is to be published
// lies in out/packages then. Nothing is uploaded: .github/workflows/release.yml does this again for a tag, and then publishes.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { PLATFORMS } from './platforms.mjs'
import { findZig } from './zig.mjs'

const root = path.join(import.meta.dirname, '..')
const out = path.join(root, 'out', 'packages')
const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))

/** A reason to stop that has been explained: no stack. */
class Stop extends Error {}

const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm']

/** Runs a command, shown as it runs. */
function run([command, ...args], options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options })
  if (status !== 0)
    throw new Stop(`release: ${[command, ...args].join(' ')} failed${error ? `: ${error.message}` : ''}`)
}

/** What a command prints. */
function output([command, ...args], options = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  })
  if (status !== 0) throw new Stop(`release: ${[command, ...args].join(' ')} failed\n${stderr}`)
  return stdout
}

/** The platforms' packages, and then the one that names them. */
const tarballs = () => [
  ...Object.keys(PLATFORMS).map((name) => `bertkit-${name}-${version}.tgz`),
  `bertkit-${version}.tgz`,
]

function check() {
  const dirty = output(['git', 'status', '--porcelain']).trim()
  if (dirty) throw new Stop(`release: expected a clean checkout, but these files differ:\n${dirty}`)
  run([process.execPath, 'scripts/check-version.mjs', `v${version}`])
}

function build() {
  run([process.execPath, 'scripts/run.mjs', 'build'])
  run([process.execPath, 'scripts/build-wasm.mjs'])
  run([process.execPath, 'scripts/prebuild.mjs'])
}

function test() {
  run([process.execPath, 'scripts/run.mjs', 'test'])
  run([process.execPath, 'test/packages/run.mjs'])
}

function pack() {
  run([process.execPath, 'scripts/pack.mjs'])
  const missing = Object.keys(PLATFORMS).filter((name) => !fs.existsSync(path.join(out, '@bertkit', name)))
  if (missing.length > 0) throw new Stop(`release: no addon was built for ${missing.join(', ')}`)
  const lines = tarballs().map((file) => {
    const sum = createHash('sha256')
      .update(fs.readFileSync(path.join(out, file)))
      .digest('hex')
    return `${sum}  ${file}\n`
  })
  fs.writeFileSync(path.join(out, 'SHA256SUMS'), lines.join(''))
}

/** What is in the packages beside bertkit: the packages in dist/vendor, which npm knows, and what is linked into the addons. */
function sbom() {
  const bill = JSON.parse(
    output([
      ...npm,
      'sbom',
      '--sbom-format=cyclonedx',
      '--sbom-type=library',
      '--omit=dev',
      '--omit=optional',
      '--omit=peer',
      '--package-lock-only',
    ]),
  )
  const installed = (name) => JSON.parse(fs.readFileSync(path.join(root, 'node_modules', name, 'package.json'), 'utf8'))
  const addonApi = installed('node-addon-api')
  const zig = findZig()
  bill.components.push(
    {
      type: 'library',
      name: 'node-addon-api',
      version: addonApi.version,
      purl: `pkg:npm/node-addon-api@${addonApi.version}`,
      licenses: [{ license: { id: addonApi.license } }],
    },
    {
      type: 'library',
      name: 'libc++',
      version: `of zig ${zig ? output([...zig, 'version']).trim() : 'unknown'}`,
      description: "LLVM's C++ library with libc++abi, libunwind and compiler-rt, linked into the addons",
      licenses: [{ expression: 'Apache-2.0 WITH LLVM-exception' }],
    },
  )
  fs.writeFileSync(path.join(out, 'sbom.cdx.json'), `${JSON.stringify(bill, null, 2)}\n`)
}

const tryPublish = () => run([process.execPath, 'scripts/publish.mjs', out, '--dry-run'])

const STEPS = { check, build, test, pack, sbom, publish: tryPublish }

try {
  const { values } = parseArgs({ options: { only: { type: 'string' } } })
  const names = values.only?.split(',') ?? Object.keys(STEPS)
  const unknown = names.find((name) => !STEPS[name])
  if (unknown !== undefined)
    throw new Stop(`release: expected steps of ${Object.keys(STEPS).join(', ')} but received ${unknown}`)
  for (const name of names) {
    console.log(`\n== ${name}`)
    STEPS[name]()
  }
  console.log(
    `\nIn ${path.relative(root, out)}: ${fs
      .readdirSync(out)
      .filter((name) => name.includes('.'))
      .join(', ')}. Nothing was published.`,
  )
} catch (error) {
  if (!(error instanceof Stop)) throw error
  console.error(error.message)
  process.exitCode = 1
}
