// Whether a tag, package.json and CHANGELOG.md name the same version, with a date: what a release begins with.
//   node scripts/check-version.mjs TAG              fails with what does not agree
//   node scripts/check-version.mjs --notes TAG      prints what CHANGELOG.md says about it
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'

const root = path.join(import.meta.dirname, '..')
const { positionals, values } = parseArgs({ options: { notes: { type: 'boolean' } }, allowPositionals: true })
const [tag = ''] = positionals
const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
const changes = fs.readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8').split(/^(?=## )/m)
const section = changes.find((text) => text.startsWith(`## [${version}]`))
const [, date] = /^## \[[^\]]+\] - (\d{4}-\d{2}-\d{2})$/m.exec(section ?? '') ?? []

const wrong = []
if (tag !== `v${version}`) wrong.push(`Expected the tag v${version}, the version of package.json, but received ${tag}`)
if (section === undefined) wrong.push(`Expected CHANGELOG.md to have a section [${version}]`)
else if (date === undefined)
  wrong.push(`Expected the section [${version}] of CHANGELOG.md to have a date, as in ## [${version}] - 2026-01-31`)
if (wrong.length > 0) {
  console.error(wrong.join('\n'))
  process.exit(1)
}
console.log(values.notes ? section.split('\n').slice(1).join('\n').trim() : `${tag}, ${date}`)
