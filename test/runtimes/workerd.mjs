// workerd, through miniflare: module workers that esbuild bundles as wrangler does, with .wasm imported as modules.
import fs from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'

export const COMPATIBILITY_DATE = '2026-04-01'

/** The modules of a worker: the bundle of `entry`, and the .wasm that it imports; `file` is that one where the import is of none. */
export async function modulesOf(entry, file) {
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
        setup: ({ onResolve, resolve }) =>
          onResolve({ filter: /\.wasm$/ }, async ({ path: name, pluginData, ...from }) => {
            if (pluginData === 'resolve') return
            const found = file ?? (await resolve(name, { ...from, pluginData: 'resolve' })).path
            binaries.set(path.basename(name), found)
            return { path: `./${path.basename(name)}`, external: true }
          }),
      },
    ],
  })
  return [
    { type: 'ESModule', path: 'worker.mjs', contents: outputFiles[0].text },
    ...[...binaries].map(([name, found]) => ({ type: 'CompiledWasm', path: name, contents: fs.readFileSync(found) })),
  ]
}

/** A running worker; `dispose` ends it. */
export const start = (modules, more = {}) => new Miniflare({ modules, compatibilityDate: COMPATIBILITY_DATE, ...more })
