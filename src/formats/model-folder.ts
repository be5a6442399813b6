import { exists, joinPath } from './files.ts'
import { readModules } from './sentence-transformers.ts'

/** Transformers' name and Google's, in the order in which they are looked for. */
const CONFIG_NAMES = ['config.json', 'bert_config.json']

/** The config file of a folder, or undefined where it has none. */
async function findConfig(folder: string): Promise<string | undefined> {
  for (const name of CONFIG_NAMES) if (await exists(joinPath(folder, name))) return joinPath(folder, name)
  return undefined
}

/**
 * The folder that holds config and weights: `root` itself, or, in a folder of sentence-transformers whose root has no
 * config, that of its transformer. Throws WeightsError where modules.json is malformed.
 */
export async function modelFolder(root: string): Promise<string> {
  if ((await findConfig(root)) !== undefined) return root
  const transformer = (await readModules(root))?.find(({ type }) => type === 'Transformer')
  return transformer === undefined || transformer.path === '' ? root : joinPath(root, transformer.path)
}

/** config.json of a model folder, or Google's bert_config.json; the former where there is neither, for the error to name. */
export async function configFile(root: string): Promise<string> {
  const folder = await modelFolder(root)
  return (await findConfig(folder)) ?? joinPath(folder, CONFIG_NAMES[0])
}
