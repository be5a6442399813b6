// Serves the page of this folder, and of the checkout only what the page loads. Plain Node, for this machine alone.
//   node examples/browser/serve.mjs [port]
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** What the page needs, by the beginning of its address. */
export const FOLDERS = Object.fromEntries(
  ['dist/', 'examples/browser/'].map((name) => [`/${name}`, path.join(root, name)]),
)

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.csv': 'text/csv; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
}

/** With these a page is cross-origin isolated: it may share memory between threads. */
const ISOLATION = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

/** The file behind an address; undefined where there is none. */
function fileAt(folders, pathname) {
  const prefix = Object.keys(folders).find((name) => pathname.startsWith(name))
  if (!prefix) return undefined
  const file = path.join(folders[prefix], pathname.slice(prefix.length) || 'index.html')
  const inside = file.startsWith(path.join(folders[prefix], path.sep))
  return inside && fs.statSync(file, { throwIfNoEntry: false })?.isFile() ? file : undefined
}

async function answer(request, response, { folders, isolated }) {
  const { pathname } = new URL(request.url, 'http://localhost')
  if (pathname === '/') return response.writeHead(302, { location: '/examples/browser/' }).end()
  const file = fileAt(folders, decodeURIComponent(pathname))
  if (!file) return response.writeHead(404, { 'content-type': 'text/plain' }).end('There is no such file')
  response.writeHead(200, {
    'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream',
    'content-length': fs.statSync(file).size,
    'cache-control': 'no-store',
    ...(isolated && ISOLATION),
  })
  await pipeline(fs.createReadStream(file), response)
}

/** Listens on this machine; `folders` as FOLDERS, port 0 for any free one. */
export async function serve({ folders = FOLDERS, isolated = true, port = 0 } = {}) {
  const server = http.createServer((request, response) => {
    answer(request, response, { folders, isolated }).catch(() => {
      if (response.headersSent) response.destroy()
      else response.writeHead(400).end()
    })
  })
  await new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return server
}

export const addressOf = (server) => `http://localhost:${server.address().port}`

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const missing = ['dist/edge.js', 'dist/wasm/bertkit.wasm'].filter((file) => !fs.existsSync(path.join(root, file)))
  if (missing.length > 0) {
    console.error(`${missing.join(' and ')} is not there: run npm run build and npm run build:wasm first`)
    process.exit(1)
  }
  const port = Number(process.argv[2] ?? 8080)
  try {
    console.log(`${addressOf(await serve({ port }))}/examples/browser/  (Ctrl-C ends it)`)
  } catch (error) {
    console.error(`Cannot listen on port ${port}: ${error.message}. Another one: node examples/browser/serve.mjs 8081`)
    process.exitCode = 1
  }
}
