import { createRequire } from 'node:module'

/** The package's version. dist/cli and src/cli are equally deep, so the path holds in both. */
export function version(): string {
  const json: { version: string } = createRequire(import.meta.url)('../../package.json')
  return json.version
}
