// workerd, through miniflare: module workers that esbuild bundles as wrangler does, with .wasm imported as modules.
import fs from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'

export const COMPATIBILITY_DATE = '2026-04-01'

/** The modules of a worker: the bundle of `entry`, and the .wasm files that it imports, by `resolve` of the name it gives them. */
export async function modulesOf(entry, resolve) {
  const binaries = new Map()
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker', 'browser'],
    write: false,
    plugins: [
      {
        name: 'wasm',
        setup: ({ onResolve }) =>
          onResolve({ filter: /\.wasm$/ }, ({ path: name }) => {
            binaries.set(path.basename(name), resolve(name))
            return { path: `./${path.basename(name)}`, external: true }
          }),
      },
    ],
  })
  return [
    { type: 'ESModule', path: 'worker.mjs', contents: outputFiles[0].text },
    ...[...binaries].map(([name, file]) => ({ type: 'CompiledWasm', path: name, contents: fs.readFileSync(file) })),
  ]
}

/** A running worker; `dispose` ends it. */
export const start = (modules, more = {}) => new Miniflare({ modules, compatibilityDate: COMPATIBILITY_DATE, ...more })
