import { promisify } from 'node:util'
import { brotliDecompress } from 'node:zlib'
import { readAsset } from './assets.ts'

export type LabelledText = readonly [text: string, label: number]

/** What the package carries for the demo; assets/README.md says where it comes from. */
export interface DemoData {
  /** Names of the 77 intents. */
  readonly labels: string[]
  readonly train: LabelledText[]
  readonly test: LabelledText[]
  /** Tokens by id. */
  readonly vocabulary: string[]
}

async function readCompressed(name: string): Promise<string> {
  return (await promisify(brotliDecompress)(await readAsset(name))).toString('utf8')
}

/** Throws FileError where the package is incomplete. */
export async function readDemoData(): Promise<DemoData> {
  const data: Omit<DemoData, 'vocabulary'> = JSON.parse(await readCompressed('banking77.json.br'))
  const vocabulary = (await readCompressed('demo-vocab.txt.br')).trimEnd().split('\n')
  return { ...data, vocabulary }
}
