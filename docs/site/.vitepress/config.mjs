import fs from 'node:fs'
import path from 'node:path'
import { slugOf } from '../markdown.mjs'
import { SIDEBAR } from '../pages.mjs'

const out = path.join(import.meta.dirname, '..', '..', '..', 'out', 'docs')
const { GITHUB_REPOSITORY, GITHUB_SERVER_URL } = process.env
// a fork's site links to the fork
const repository = GITHUB_REPOSITORY && `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}`

/** The pages that typedoc made, a group for each kind. */
function apiSidebar() {
  const api = path.join(out, 'pages', 'api')
  const kinds = {
    classes: 'Classes',
    functions: 'Functions',
    interfaces: 'Interfaces',
    'type-aliases': 'Types',
    variables: 'Variables',
  }
  const unknown = fs.readdirSync(api).filter((name) => !name.endsWith('.md') && !Object.hasOwn(kinds, name))
  if (unknown.length > 0) throw new Error(`typedoc made pages of a kind that the sidebar lacks: ${unknown.join(', ')}`)
  return Object.entries(kinds)
    .filter(([kind]) => fs.existsSync(path.join(api, kind)))
    .map(([kind, text]) => ({
      text,
      collapsed: kind !== 'classes',
      items: fs
        .readdirSync(path.join(api, kind))
        .map((file) => path.basename(file, '.md'))
        .sort((a, b) => a.localeCompare(b, 'en'))
        .map((name) => ({ text: name, link: `/api/${kind}/${name}` })),
    }))
}

const sidebar = SIDEBAR.map(({ items, text }) => ({
  text,
  items: items.map(([title, link]) => ({ text: title, link: `/${link}` })),
}))

export default {
  srcDir: path.join(out, 'pages'),
  outDir: path.join(out, 'site'),
  cacheDir: path.join(out, 'cache'),
  base: process.env.BERTKIT_DOCS_BASE ?? '/',
  lang: 'en',
  title: 'bertkit',
  description: 'Fine-tune, pre-train and serve BERT from TypeScript',
  cleanUrls: false,
  metaChunk: true,
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  markdown: {
    languageAlias: { conll: 'tsv' },
    anchor: { slugify: slugOf },
    toc: { slugify: slugOf },
    headers: { slugify: slugOf },
  },
  vite: { build: { chunkSizeWarningLimit: 2000 } },
  themeConfig: {
    nav: [
      { text: 'Guide', link: '/getting-started', activeMatch: '^/(?!api/|reference/)' },
      { text: 'API', link: '/api/', activeMatch: '^/api/' },
      { text: 'Command line', link: '/reference/command-line' },
    ],
    sidebar: {
      '/api/': [
        {
          text: 'Reference',
          items: [
            { text: 'All names', link: '/api/' },
            { text: 'Guide', link: '/getting-started' },
          ],
        },
        ...apiSidebar(),
      ],
      '/': sidebar,
    },
    outline: [2, 3],
    search: { provider: 'local' },
    ...(repository && { socialLinks: [{ icon: 'github', link: repository }] }),
  },
}
