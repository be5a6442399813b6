// Follows every link of the built site: the page or file has to be there, and the anchor on it.
import fs from 'node:fs'
import path from 'node:path'

const htmlBelow = (folder) =>
  fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.html'))
    .map((name) => name.replaceAll(path.sep, '/'))

const decode = (text) =>
  text
    .replace(/&amp;/g, '&')
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")

/** What is wrong with links, a line each, and how many links there are. `base`: the path that the site is served below. */
export function checkLinks(folder, base) {
  const pages = new Map(
    htmlBelow(folder).map((name) => {
      const html = fs.readFileSync(path.join(folder, name), 'utf8')
      return [name, { html, ids: new Set([...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => decode(id))) }]
    }),
  )
  const wrong = []
  let count = 0
  for (const [name, { html }] of pages)
    for (const [, href] of html.matchAll(/<(?:a|link|img|script)\b[^>]*? (?:href|src)="([^"]*)"/g)) {
      const url = new URL(decode(href), `http://site${base}${name}`)
      if (url.origin !== 'http://site') continue
      count++
      const place = decodeURIComponent(url.pathname.slice(base.length))
      const candidates = [place, `${place}.html`, path.posix.join(place, 'index.html')]
      const found = candidates.find(
        (each) => pages.has(each) || fs.statSync(path.join(folder, each), { throwIfNoEntry: false })?.isFile(),
      )
      const anchor = decodeURIComponent(url.hash.slice(1))
      if (!url.pathname.startsWith(base) || found === undefined) wrong.push(`${name}: ${href} is not there`)
      else if (anchor !== '' && pages.has(found) && !pages.get(found).ids.has(anchor))
        wrong.push(`${name}: ${href}: the page has no such anchor`)
    }
  return { wrong: [...new Set(wrong)], count }
}
