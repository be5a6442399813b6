// npm run release [-- --only STEP,...]: everything of a release but its last act. Builds TypeScript, WebAssembly and the addon for every
// platform, tests, packs, writes checksums and a bill of materials, and lets npm try to publish (--dry-run). What is to be published
// lies in out/packages then. Nothing is uploaded: .github/workflows/release.yml does this again for a tag, and then publishes.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { main, npm, root, run, Stop } from './command.mjs'
import { MAIN, PLATFORMS, packageOf, tarballOf } from './platforms.mjs'
import { findZig } from './zig.mjs'

const out = path.join(root, 'out', 'packages')
const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))

/** Runs a program of the checkout, shown as it runs. */
const show = (program, args = [], env = {}) =>
  run([process.execPath, program, ...args], { stdio: 'inherit', env: { ...process.env, ...env } })

/** The platforms' packages, and then the one that names them. */
const tarballs = () => [
  ...Object.keys(PLATFORMS).map((name) => tarballOf(packageOf(name), version)),
  tarballOf(MAIN, version),
]

function check() {
  const dirty = run(['git', 'status', '--porcelain']).trim()
  if (dirty) throw new Stop(`expected a clean checkout, but these files differ:\n${dirty}`)
  show('scripts/check-version.mjs', [`v${version}`])
}

function build() {
  show('scripts/run.mjs', ['build'])
  show('scripts/build-wasm.mjs')
  show('scripts/prebuild.mjs')
}

function test() {
  show('scripts/run.mjs', ['test'])
  show('scripts/check-musl.mjs')
  // nothing may be skipped, but what needs reference data that is not there
  show('test/packages/run.mjs', [], { BERTKIT_REQUIRE_PACKAGES: 'all' })
}

function pack() {
  show('scripts/pack.mjs')
  const missing = Object.keys(PLATFORMS).filter((name) => !fs.existsSync(path.join(out, packageOf(name))))
  if (missing.length > 0) throw new Stop(`no addon was built for ${missing.join(', ')}`)
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
    run([
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
  const ofZig = `of zig ${zig ? run([...zig, 'version']).trim() : 'unknown'}`
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
      name: 'mingw-w64',
      version: ofZig,
      description: 'The runtime of mingw-w64, linked into the addons for Windows',
      licenses: [{ license: { id: 'ZPL-2.1' } }],
    },
    {
      type: 'library',
      name: 'libc++',
      version: ofZig,
      description: "LLVM's C++ library with libc++abi, libunwind and compiler-rt, linked into the addons",
      licenses: [{ expression: 'Apache-2.0 WITH LLVM-exception' }],
    },
  )
  fs.writeFileSync(path.join(out, 'sbom.cdx.json'), `${JSON.stringify(bill, null, 2)}\n`)
}

const tryPublish = () => show('scripts/publish.mjs', [out, '--dry-run'])

const STEPS = { check, build, test, pack, sbom, publish: tryPublish }

main('release', () => {
  const { values } = parseArgs({ options: { only: { type: 'string' } } })
  const names = values.only?.split(',') ?? Object.keys(STEPS)
  const unknown = names.find((name) => !STEPS[name])
  if (unknown !== undefined)
    throw new Stop(`expected steps of ${Object.keys(STEPS).join(', ')} but received ${unknown}`)
  for (const name of names) {
    console.log(`\n== ${name}`)
    STEPS[name]()
  }
  const files = fs.readdirSync(out, { withFileTypes: true }).filter((entry) => entry.isFile())
  console.log(`\nIn ${path.relative(root, out)}: ${files.map(({ name }) => name).join(', ')}. Nothing was published.`)
})
