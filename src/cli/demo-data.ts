import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { brotliDecompress } from 'node:zlib'
import { guarded } from '../formats/files.ts'

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

/** The package's assets/, which is equally deep under src/ and dist/. */
const assetFile = (name: string): string => fileURLToPath(new URL(`../../assets/${name}`, import.meta.url))

async function readAsset(name: string): Promise<string> {
  const file = assetFile(name)
  const bytes = await guarded('read', file, () => readFile(file))
  return (await promisify(brotliDecompress)(bytes)).toString('utf8')
}

/** Throws FileError where the package is incomplete. */
export async function readDemoData(): Promise<DemoData> {
  const data: Omit<DemoData, 'vocabulary'> = JSON.parse(await readAsset('banking77.json.br'))
  const vocabulary = (await readAsset('demo-vocab.txt.br')).trimEnd().split('\n')
  return { ...data, vocabulary }
}
