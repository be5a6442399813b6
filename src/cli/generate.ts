import { type Command, Option } from 'commander'
import { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { UsageError } from '../errors.ts'
import { resolveModelFolder } from '../formats/hub.ts'
import type { GenerateOptions } from '../generation/options.ts'
import { BertConfig } from '../model/config.ts'
import { BertLMHeadModel } from '../session/models.ts'
import { hubOptions } from './hub.ts'
import { type Io, writeJsonLine } from './io.ts'
import { addModelOptions, addRevision, integerOption, type ModelOptions, numberOption } from './options.ts'
import { textsOf } from './texts.ts'

interface GenerateCommand extends ModelOptions, GenerateOptions {
  readonly model: string
}

async function generate(given: readonly string[], options: GenerateCommand, io: Io): Promise<void> {
  const { backend, dtype, model: nameOrFolder, threads } = options
  const hub = hubOptions(options, io)
  const tokenizer = await BertTokenizer.fromPretrained(nameOrFolder, hub)
  const settings = { ...hub, backend, dtype, threads, isDecoder: true }
  const { architectures } = await BertConfig.fromPretrained(await resolveModelFolder(nameOrFolder, 'model', hub))
  if (architectures !== null && !architectures.includes('BertLMHeadModel'))
    throw new UsageError(
      `Expected --model to be a causal language model (BertLMHeadModel) but ${nameOrFolder} is a ${architectures.join(', ')}; train one with bertkit train --task causal-lm`,
    )
  using model = await BertLMHeadModel.fromPretrained(nameOrFolder, settings)
  const { doSample, maxNewTokens, numBeams, repetitionPenalty, seed, temperature, topK, topP } = options
  // where the model does not say what ends a text, it has learnt to end it as its tokenizer does
  const eosTokenId = model.generationConfig.eosTokenId === null ? tokenizer.sepTokenId : undefined
  const how = { doSample, eosTokenId, maxNewTokens, numBeams, repetitionPenalty, seed, temperature, topK, topP }
  for await (const text of textsOf(given, io)) {
    // the prompt ends without [SEP]: it is to be continued
    const prompt = tokenizer.encode(text, { truncation: false }).inputIds.slice(0, -1)
    const { sequences } = await model.generate({ inputIds: [prompt] }, { ...how, signal: io.signal })
    const generated = tokenizer.decode(sequences[0], { skipSpecialTokens: true })
    if (options.json) writeJsonLine(io.stdout, { text: generated })
    else io.stdout.write(`${generated}\n`)
  }
}

export function addGenerate(program: Command, io: Io): void {
  const command = program
    .command('generate')
    .description('continue texts with a causal language model')
    .argument('[texts...]', 'texts to continue (default: lines of standard input)')
    .requiredOption('--model <name>', 'folder or Hub id of a causal language model')
  const integer = (flag: string, help: string, least = 1) =>
    command.addOption(new Option(`${flag} <integer>`, help).argParser(integerOption(flag, least)))
  const number = (flag: string, help: string) =>
    command.addOption(
      new Option(`${flag} <number>`, help).argParser(
        numberOption(flag, 'a number of at least 0', (value) => value >= 0),
      ),
    )
  integer('--max-new-tokens', 'most tokens to add (default: as generation_config.json says, or 20)')
  integer('--num-beams', 'sequences that beam search keeps (default: 1, no beam search)')
  command.option('--do-sample', 'draw words by chance')
  number('--temperature', 'with --do-sample: above 1 more daring, below 1 less')
  integer('--top-k', 'with --do-sample: among the most probable words (default: 50)', 0)
  number('--top-p', 'with --do-sample: among the words that together are as probable (default: 1)')
  number('--repetition-penalty', 'above 1: repeat less (default: 1)')
  integer('--seed', 'of the draws (default: another in each run)', 0)
  addModelOptions(addRevision(command)).action((texts: string[], options: GenerateCommand) =>
    generate(texts, options, io),
  )
}
