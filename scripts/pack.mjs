// Stages what is published into out/packages, and packs it:
//
//   node scripts/pack.mjs [--prebuilds FOLDER] [--cuda FILE] [--out FOLDER]
//
// bertkit/                 the main package: TypeScript's output with types, WebAssembly, the assets, and the sources that build the addon
// SCOPE/PLATFORM/          an addon and nothing else, for each FOLDER/PLATFORM/bertkit.node (default: prebuilds)
// SCOPE/cuda-linux-x64/    the CUDA library and nothing else, where FILE is there (default: out/cuda/libbertkit_cuda.so)
// *.tgz                    all, as npm packs them; two runs give the same bytes
//
// The package.json of bertkit is the root's without what is for its development, and with the platforms' packages as optional
// dependencies of exactly this version. The root's cannot name them: npm ci would look for packages that are not published yet.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { main, npm, root, run, Stop } from './command.mjs'
import { CUDA, MAIN, PLATFORMS, packageOf } from './platforms.mjs'
import { vendor } from './vendor.mjs'

const at = (...parts) => path.join(root, ...parts)
const WASM = ['bertkit', 'bertkit-threads', 'bertkit-relaxed', 'bertkit-relaxed-threads']

const { values } = parseArgs({
  options: {
    prebuilds: { type: 'string', default: at('prebuilds') },
    cuda: { type: 'string', default: at('out', 'cuda', 'libbertkit_cuda.so') },
    out: { type: 'string', default: at('out', 'packages') },
  },
})
const out = path.resolve(values.out)
const prebuilds = path.resolve(values.prebuilds)
const manifest = JSON.parse(fs.readFileSync(at('package.json'), 'utf8'))
const { version, license, engines, author, homepage, bugs } = manifest
// npm compares the repository that a package names with the one that its provenance is from, and a fork releases from its own
const { GITHUB_SERVER_URL, GITHUB_REPOSITORY } = process.env
const repository = GITHUB_REPOSITORY
  ? { type: 'git', url: `git+${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}.git` }
  : manifest.repository

const writeJson = (file, value) => fs.writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`)

/** All files of a folder, as paths in it with slashes, in order. */
const filesOf = (folder) =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
    .sort()

/** Copies files and folders of the root. */
function copy(target, ...names) {
  for (const name of names) fs.cpSync(at(name), path.join(target, name), { recursive: true })
}

/** An import in a file of types: as a statement, or where a type is written. */
const TYPE_IMPORT = /(?:^(?:import|export)\b(?:[^'";]*?\bfrom)? |\bimport\()['"]([^'"]+)['"]/gm

/** Every file that is published for its types: what the `types` of exports lead to. */
function typesOf(dist) {
  const reached = new Set()
  const visit = (file) => {
    if (reached.has(file)) return
    reached.add(file)
    const text = fs.readFileSync(path.join(dist, file), 'utf8')
    for (const [, specifier] of text.matchAll(TYPE_IMPORT)) {
      if (!specifier.startsWith('.'))
        throw new Stop(`the types of ${file} need ${specifier}, which whoever installs bertkit may not have`)
      visit(path.posix.join(path.posix.dirname(file), specifier).replace(/\.[jt]s$/, '.d.ts'))
    }
  }
  const entries = JSON.stringify(manifest.exports).matchAll(/"types":"\.\/dist\/([^"]+)"/g)
  for (const [, file] of entries) visit(file)
  return reached
}

/** TypeScript's output: no maps, since the sources are not published, and no types that no entry leads to. */
async function stageDist(dist) {
  const flags = ['-p', root, '--outDir', dist, '--sourceMap', 'false', '--declarationMap', 'false']
  run([process.execPath, at('node_modules', 'typescript', 'bin', 'tsc'), ...flags], { what: 'compiling TypeScript' })
  fs.mkdirSync(path.join(dist, 'wasm'))
  for (const file of ['binary.d.ts', ...WASM.map((name) => `${name}.wasm`)]) {
    const source = at('dist', 'wasm', file)
    if (!fs.existsSync(source)) throw new Stop(`there is no ${source}: npm run build:wasm makes it`)
    fs.copyFileSync(source, path.join(dist, 'wasm', file))
  }
  const reached = typesOf(dist)
  for (const file of filesOf(dist)) if (file.endsWith('.d.ts') && !reached.has(file)) fs.rmSync(path.join(dist, file))
  return vendor(dist, root)
}

/** What both kinds of package say about themselves; undefined is left out by JSON. */
const common = { license, author, homepage, bugs, repository, engines }
const publishConfig = { access: 'public', provenance: true }

async function stageMain(folder, addons) {
  fs.mkdirSync(folder, { recursive: true })
  const vendored = await stageDist(path.join(folder, 'dist'))
  // what the addon of each platform is, for the loader to compare
  const sums = Object.fromEntries(addons.map((addon) => [addon.name, addon.sha256]))
  const module = path.join(folder, 'dist', 'backend', 'prebuilt.js')
  const text = fs.readFileSync(module, 'utf8')
  const filled = text.replace('RELEASE = undefined', `RELEASE = ${JSON.stringify({ version, sums }, null, 2)}`)
  if (filled === text) throw new Stop(`pack: ${module} has no RELEASE to fill in`)
  fs.writeFileSync(module, filled)
  const files = manifest.files.filter((name) => name !== 'dist')
  copy(folder, ...files, 'README.md', 'LICENSE')
  fs.rmSync(path.join(folder, 'native', 'cuda'), { recursive: true }) // build-native builds the addon alone
  // npm runs node-gyp for a package with this file in its root, whatever gypfile says, where a lock file is installed
  fs.renameSync(path.join(folder, 'binding.gyp'), path.join(folder, 'native', 'binding.gyp'))
  const { scripts, devDependencies, dependencies, private: _private, ...kept } = manifest
  writeJson(path.join(folder, 'package.json'), {
    ...kept,
    files: kept.files.filter((name) => name !== 'binding.gyp'),
    repository,
    optionalDependencies: Object.fromEntries(Object.keys(PLATFORMS).map((name) => [packageOf(name), version])),
    publishConfig,
  })
  const unknown = Object.keys(dependencies ?? {}).filter((name) => !vendored.some((one) => one.startsWith(`${name} `)))
  if (unknown.length > 0) throw new Stop(`${unknown.join(', ')} would have to be dependencies: vendor them`)
}

/** A package with one file of native kernels, `as` that name. `fits`: how it comes to whoever needs it. */
function stageKernels(folder, { name, file, as, fits, title, os, cpu, libc }) {
  fs.mkdirSync(folder, { recursive: true })
  fs.copyFileSync(file, path.join(folder, as))
  copy(folder, 'LICENSE', 'NOTICE')
  fs.writeFileSync(
    path.join(folder, 'README.md'),
    `# ${packageOf(name)}\n\nThe native kernels of [${MAIN}](https://www.npmjs.com/package/${MAIN}) for ${title}. ${fits}; it is of no use alone.\n`,
  )
  writeJson(path.join(folder, 'package.json'), {
    name: packageOf(name),
    version,
    description: `The native kernels of ${MAIN} for ${title}`,
    ...common,
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    type: 'commonjs',
    main: as,
    files: [as, 'NOTICE'],
    publishConfig,
  })
}

/** Packs staged folders and says how large they are. */
function pack(names) {
  // the permissions of files are part of a tarball, and would be those of this machine's umask
  for (const name of names)
    for (const file of filesOf(path.join(out, name))) fs.chmodSync(path.join(out, name, file), 0o644)
  const folders = names.map((name) => `./${name}`)
  const options = ['pack', ...folders, '--json', '--ignore-scripts', '--pack-destination', out]
  const report = JSON.parse(run([...npm, ...options], { what: 'npm pack', cwd: out }))
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`
  for (const { name, filename, size, unpackedSize, entryCount } of Object.values(report))
    console.log(`${name}: ${entryCount} files, ${megabytes(unpackedSize)}, packed ${megabytes(size)} (${filename})`)
}

main('pack', async () => {
  const addons = Object.keys(PLATFORMS)
    .map((name) => ({ name, file: path.join(prebuilds, name, 'bertkit.node') }))
    .filter(({ file }) => fs.existsSync(file))
    .map((addon) => ({ ...addon, sha256: createHash('sha256').update(fs.readFileSync(addon.file)).digest('hex') }))
  if (addons.length < Object.keys(PLATFORMS).length)
    console.error(`pack: addons of ${addons.map(({ name }) => name).join(', ') || 'no platform'} are in ${prebuilds}`)
  fs.rmSync(out, { recursive: true, force: true })
  await stageMain(path.join(out, 'bertkit'), addons)
  const automatic = { as: 'bertkit.node', fits: `npm installs this package with\n${MAIN} where it fits` }
  const chosen = { as: 'libbertkit_cuda.so', fits: `npm install ${packageOf(CUDA.name)}\nadds it` }
  const kernels = [
    ...addons.map((addon) => ({ ...addon, ...automatic, ...PLATFORMS[addon.name] })),
    ...(fs.existsSync(values.cuda) ? [{ ...CUDA, ...chosen, file: values.cuda }] : []),
  ]
  for (const one of kernels) stageKernels(path.join(out, packageOf(one.name)), one)
  pack(['bertkit', ...kernels.map(({ name }) => packageOf(name))])
})
