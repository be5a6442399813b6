// Builds the documentation: docs/ and the pages made from the code, into out/docs/site. A link that leads nowhere is an error.
//   npm run docs:build [-- --serve]      --serve: then serves it at http://localhost:4173
// BERTKIT_DOCS_BASE: the path that the site is served below; default /.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { installModules } from '../../scripts/command.mjs'
import { checkLinks } from './links.mjs'
import { writeReference } from './reference.mjs'
import { stage } from './stage.mjs'

const here = import.meta.dirname
const root = path.join(here, '..', '..')
const pages = path.join(root, 'out', 'docs', 'pages')
const site = path.join(root, 'out', 'docs', 'site')
const base = process.env.BERTKIT_DOCS_BASE ?? '/'

function run(what, command, args, options) {
  const { error, status } = spawnSync(command, args, { cwd: here, stdio: ['ignore', 2, 2], ...options })
  if (status === 0) return
  console.error(`${what} failed${error ? `: ${error.message}` : ''}`)
  process.exit(1)
}
const program = (name, ...file) => path.join(here, 'node_modules', name, ...file)

if (!/^\/(.*\/)?$/.test(base)) {
  console.error(`Expected BERTKIT_DOCS_BASE to begin and end with / but received ${base}`)
  process.exit(1)
}
if (!fs.existsSync(path.join(root, 'dist', 'cli', 'main.js'))) {
  console.error('dist/ is not there: run npm run build first')
  process.exit(1)
}
installModules(here)

fs.rmSync(path.join(root, 'out', 'docs'), { recursive: true, force: true })
console.error(`${stage(root, pages)} pages`)
// the modules of a page are looked for from where it lies
fs.symlinkSync(path.join(here, 'node_modules'), path.join(root, 'out', 'docs', 'node_modules'), 'junction')
await writeReference(root, pages)
run('typedoc', process.execPath, [program('typedoc', 'bin', 'typedoc'), '--out', path.join(pages, 'api')])
run('vitepress', process.execPath, [program('vitepress', 'bin', 'vitepress.js'), 'build', '.'])

const { count, wrong } = checkLinks(site, base)
for (const line of wrong) console.error(line)
console.log(`${path.relative(process.cwd(), site)}: ${count} links, ${wrong.length} of them wrong`)
if (wrong.length > 0) process.exit(1)
if (process.argv.includes('--serve'))
  run('vitepress', process.execPath, [program('vitepress', 'bin', 'vitepress.js'), 'preview', '.'], {
    stdio: 'inherit',
  })
