import type { Command } from 'commander'
import { pipeline } from '../pipelines/pipeline.ts'
import { hubOptions } from './hub.ts'
import { type Io, writeJsonLine } from './io.ts'
import { addModelOptions, addRevision, integerOption, type ModelOptions } from './options.ts'
import { textsOf } from './texts.ts'

interface FillMaskCommand extends ModelOptions {
  readonly model: string
  readonly topK: number
}

async function fillMask(given: readonly string[], { topK, model, ...options }: FillMaskCommand, io: Io): Promise<void> {
  const { backend, dtype, threads } = options
  using fill = await pipeline('fill-mask', model, { backend, dtype, threads, ...hubOptions(options, io) })
  for await (const text of textsOf(given, io)) {
    // one list of words for each mask
    const [filled] = await fill([text], { topK, signal: io.signal })
    const masks = (Array.isArray(filled[0]) ? filled : [filled]) as { score: number; tokenStr: string }[][]
    if (options.json) writeJsonLine(io.stdout, { text, masks: filled })
    else
      for (const [mask, words] of masks.entries()) {
        const title = masks.length > 1 ? `${text} (mask ${mask + 1})` : text
        io.stdout.write(
          `${title}\n${words.map(({ score, tokenStr }) => `  ${score.toFixed(3)}  ${tokenStr}\n`).join('')}`,
        )
      }
  }
}

export function addFillMask(program: Command, io: Io): void {
  const command = program
    .command('fill-mask')
    .description('show the likely words for [MASK] in texts')
    .argument('[texts...]', 'texts with [MASK] (default: lines of standard input)')
    .requiredOption('--model <name>', 'folder or Hub id of a masked language model')
    .option('--top-k <integer>', 'words for each mask', integerOption('--top-k', 1), 5)
  addModelOptions(addRevision(command)).action((texts: string[], options: FillMaskCommand) =>
    fillMask(texts, options, io),
  )
}
