// Links between the pages of the repository, as GitHub shows them; docs/site/build.mjs follows those of the built site.
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { anchorsOf, isExternal, linksOf, slugOf } from '../../docs/site/markdown.mjs'
import { PAGES_OUTSIDE, pageOf, SIDEBAR } from '../../docs/site/pages.mjs'
import { pages, read, root } from './blocks.mjs'

test('every link leads to a file that is there, and to a heading that it has', () => {
  const wrong: string[] = []
  let count = 0
  for (const file of pages())
    for (const { line, target } of linksOf(read(file))) {
      if (isExternal(target)) continue
      count++
      const [name, anchor] = target.split('#')
      const wanted = name === '' ? file : path.posix.join(path.posix.dirname(file), name)
      const exists = fs.existsSync(path.join(root, wanted))
      if (!exists || (anchor !== undefined && !anchorsOf(read(wanted)).has(anchor)))
        wrong.push(`${file}:${line} ${target}`)
    }
  expect(wrong).toEqual([])
  expect(count).toBeGreaterThan(50)
})

test('headings have the anchors that GitHub gives them', () => {
  expect(slugOf('Where does `bertkit` run? (Node, Deno & Bun)')).toBe('where-does-bertkit-run-node-deno--bun')
  expect([...anchorsOf('# A b\n## A b\n```sh\n# no heading\n```\n### [x](y) z')]).toEqual(['a-b', 'a-b-1', 'x-z'])
})

test('every page of the site is in its sidebar, and the sidebar has no other', () => {
  const made = ['api/', 'reference/command-line', 'reference/training-arguments']
  const wanted = [...pages().filter((file) => file.startsWith('docs/')), ...PAGES_OUTSIDE]
    .map((file) => String(pageOf(file)).replace(/(^|\/)index\.md$|\.md$/, '$1'))
    .filter((page) => page !== '')
  const listed = SIDEBAR.flatMap(({ items }) => items.map(([, link]) => link))
  expect(listed.filter((page) => !made.includes(page)).sort()).toEqual(wanted.sort())
})
