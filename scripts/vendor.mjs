// Puts the packages that bertkit uses at run time into its own dist: dist/vendor/NAME.cjs, made by esbuild, of what dist imports of them.
// So an installed bertkit has no dependencies: the core needs none of them, and of @bufbuild/protobuf's 3 MB an export to ONNX uses a twentieth.
import fs from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'

/** By the name of the file in dist/vendor: the package, and the text that its licence wants to be kept. */
const VENDORED = {
  commander: { package: 'commander', notice: (folder) => fs.readFileSync(path.join(folder, 'LICENSE'), 'utf8') },
  protobuf: {
    package: '@bufbuild/protobuf',
    // Apache-2.0 by Buf, and BSD-3-Clause by Google for one file: each file carries its own
    notice: (folder) =>
      ['index.js', 'wire/varint.js'].map((file) => leadingComment(path.join(folder, 'dist', 'esm', file))).join('\n\n'),
  },
}
/** Packages that stay imports: optional peers, loaded when they are called for. */
const PEERS = ['@huggingface/hub']

function leadingComment(file) {
  const lines = fs.readFileSync(file, 'utf8').split('\n')
  const comment = lines.slice(
    0,
    lines.findIndex((line) => !line.startsWith('//')),
  )
  if (!comment.some((line) => line.includes('Copyright'))) throw new Error(`${file} does not begin with its licence`)
  return comment.map((line) => line.replace(/^\/\/ ?/, '')).join('\n')
}

/** Of each module of `files`, the packages that it imports. */
async function packagesIn(folder, files) {
  const { metafile } = await build({
    absWorkingDir: folder,
    entryPoints: files,
    outdir: 'unused',
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    metafile: true,
    logLevel: 'error',
  })
  return Object.fromEntries(
    Object.entries(metafile.inputs).map(([file, { imports }]) => [
      file,
      imports.flatMap(({ path: name, external }) => (external && !name.startsWith('node:') ? [name] : [])),
    ]),
  )
}

const within = (name) => (specifier) => specifier === name || specifier.startsWith(`${name}/`)

/** Vendors into `folder`, a dist; `root` is where the packages are installed. Returns their names and versions. */
export async function vendor(folder, root) {
  const files = fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.js'))
    .map((file) => file.split(path.sep).join('/'))
  const found = await packagesIn(folder, files)
  const wanted = Object.keys(VENDORED).map((name) => ({ name, ...VENDORED[name], imports: new Map() }))
  for (const [file, specifiers] of Object.entries(found)) {
    let text = fs.readFileSync(path.join(folder, file), 'utf8')
    for (const specifier of new Set(specifiers)) {
      if (PEERS.includes(specifier)) continue
      const entry = wanted.find((one) => within(one.package)(specifier))
      const statement = new RegExp(`^import \\{([^}]*)\\} from (['"])${specifier}\\2;$`, 'm')
      const [, names] = statement.exec(text) ?? []
      if (!entry || !names)
        throw new Error(`${file} imports ${specifier}, and scripts/vendor.mjs does not know how to do without it`)
      const known = entry.imports.get(specifier) ?? new Set()
      for (const name of names.split(',')) known.add(name.trim())
      entry.imports.set(specifier, known)
      const target = path.posix.relative(path.posix.dirname(file), `vendor/${entry.name}.cjs`)
      text = text.replace(statement, `import {${names}} from '${target.startsWith('.') ? target : `./${target}`}';`)
    }
    fs.writeFileSync(path.join(folder, file), text)
  }
  const vendored = await Promise.all(
    wanted.map(async ({ name, package: packageName, notice, imports }) => {
      const installed = path.join(root, 'node_modules', packageName)
      const { version } = JSON.parse(fs.readFileSync(path.join(installed, 'package.json'), 'utf8'))
      const lines = [...imports]
        .sort()
        .map(([from, names]) => `export { ${[...names].sort().join(', ')} } from '${from}'`)
      await build({
        stdin: { contents: lines.join('\n'), resolveDir: root },
        outfile: path.join(folder, 'vendor', `${name}.cjs`),
        bundle: true,
        platform: 'node',
        format: 'cjs',
        target: 'node20',
        banner: { js: `/*!\n${packageName} ${version}\n\n${notice(installed).trim()}\n*/` },
      })
      return `${packageName} ${version}`
    }),
  )
  // a second statement with the same package in a file would still be there
  const left = Object.entries(await packagesIn(folder, files)).flatMap(([file, specifiers]) =>
    specifiers.filter((name) => !PEERS.includes(name)).map((name) => `${file} still imports ${name}`),
  )
  if (left.length > 0) throw new Error(`scripts/vendor.mjs: ${left.join(', ')}`)
  return vendored
}
