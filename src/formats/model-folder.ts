import type { ModelFiles } from './model-files.ts'
import { readModules } from './sentence-transformers.ts'

/** Transformers' name and Google's, in the order in which they are looked for. */
const CONFIG_NAMES = ['config.json', 'bert_config.json']
export const GENERATION_CONFIG_NAME = 'generation_config.json'

interface ConfigFile {
  /** As errors name it. */
  readonly file: string
  readonly text: string
}

async function findConfig(files: ModelFiles): Promise<ConfigFile | undefined> {
  for (const name of CONFIG_NAMES) {
    const text = await files.readText(name)
    if (text !== undefined) return { file: files.pathOf(name), text }
  }
  return undefined
}

/**
 * The folder that holds config and weights: `root` itself, or, in a folder of sentence-transformers whose root has no
 * config, that of its transformer. Throws WeightsError where modules.json is malformed.
 */
export async function modelFolder(root: ModelFiles): Promise<ModelFiles> {
  if ((await findConfig(root)) !== undefined) return root
  const transformer = (await readModules(root))?.find(({ type }) => type === 'Transformer')
  return root.folder(transformer?.path ?? '')
}

/** config.json of a model, or Google's bert_config.json. Where there is neither, the error is about the former. */
export async function readConfigFile(root: ModelFiles): Promise<ConfigFile> {
  const files = await modelFolder(root)
  const found = await findConfig(files)
  if (found === undefined) throw files.absence(CONFIG_NAMES[0])
  return found
}

/** generation_config.json beside the config, of a model that has one. */
export async function readGenerationConfigFile(root: ModelFiles): Promise<ConfigFile | undefined> {
  const files = await modelFolder(root)
  const text = await files.readText(GENERATION_CONFIG_NAME)
  return text === undefined ? undefined : { file: files.pathOf(GENERATION_CONFIG_NAME), text }
}
