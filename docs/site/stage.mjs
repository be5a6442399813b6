// Lays the pages out as VitePress reads them, with their links turned from those of the repository into those of the site.
import fs from 'node:fs'
import path from 'node:path'
import { isExternal, mapLinks } from './markdown.mjs'
import { PAGES_OUTSIDE, pageOf } from './pages.mjs'

/** Where files that are no pages, such as programs, lie on the site when a page links to them. */
const SOURCES = 'source'

const filesBelow = (root, folder) =>
  fs
    .readdirSync(path.join(root, folder), { withFileTypes: true })
    .filter(({ name }) => name !== 'site')
    .flatMap((entry) => {
      const file = path.posix.join(folder, entry.name)
      return entry.isDirectory() ? filesBelow(root, file) : [file]
    })

export function stage(root, pages) {
  const copy = (file, to) => {
    fs.mkdirSync(path.dirname(path.join(pages, to)), { recursive: true })
    fs.copyFileSync(path.join(root, file), path.join(pages, to))
  }

  /** The target of a link on the site. Throws for a file that is not there; VitePress and links.mjs check the pages. */
  function onSite(target, file, page) {
    if (isExternal(target) || target.startsWith('#')) return target
    const [name, anchor] = target.split('#')
    const wanted = path.posix.join(path.posix.dirname(file), name)
    const found = pageOf(wanted)
    if (!fs.existsSync(path.join(root, wanted))) throw new Error(`${file} links to ${target}, which is not there`)
    let place = found
    if (found === undefined && /\.(svg|png)$/.test(wanted) && wanted.startsWith('docs/')) {
      place = wanted.slice('docs/'.length)
      copy(wanted, place)
    } else if (found === undefined) {
      const isFolder = fs.statSync(path.join(root, wanted)).isDirectory()
      if (isFolder) throw new Error(`${file} links to the folder ${target}: name a file in it`)
      // a browser shows text, whatever the file is
      place = `${SOURCES}/${wanted}.txt`
      copy(wanted, `public/${place}`)
    }
    const relative = path.posix.relative(path.posix.dirname(page), place)
    return (relative.startsWith('.') ? relative : `./${relative}`) + (anchor === undefined ? '' : `#${anchor}`)
  }

  const files = [...filesBelow(root, 'docs'), ...PAGES_OUTSIDE].filter((file) => pageOf(file) !== undefined)
  for (const file of files) {
    const page = pageOf(file)
    const text = fs.readFileSync(path.join(root, file), 'utf8')
    fs.mkdirSync(path.dirname(path.join(pages, page)), { recursive: true })
    fs.writeFileSync(
      path.join(pages, page),
      mapLinks(text, (target) => onSite(target, file, page)),
    )
  }
  return files.length
}
