import type { HubOptions } from '../formats/hub-options.ts'
import type { Io } from './io.ts'
import type { ModelOptions } from './options.ts'

/** How a model of the Hub is had: the revision, the signal, and a line on standard error for each file that is downloaded. */
export function hubOptions({ json, revision }: ModelOptions, io: Io): HubOptions {
  const announced = new Set<string>()
  const onDownload: HubOptions['onDownload'] = ({ file, size }) => {
    if (json || announced.has(file)) return
    announced.add(file)
    const mebibytes = size === undefined ? '' : ` (${(size / 2 ** 20).toFixed(1)} MiB)`
    io.stderr.write(`downloading ${file}${mebibytes}\n`)
  }
  return { revision, onDownload, signal: io.signal }
}
