// A vocabulary that a command line names: vocab.txt of any name, or the folder of a tokenizer.
import { dirname } from 'node:path'
import { BertTokenizer, type TokenizerOptions } from '../data/tokenizer/tokenizer.ts'
import { readBytes } from '../formats/files.ts'
import { FolderFiles } from '../formats/folder-files.ts'

/** A vocabulary and the settings beside it. A tokenizer.json there, which has a vocabulary of its own, is not what was named. */
class VocabularyFiles extends FolderFiles {
  constructor(readonly file: string) {
    super(dirname(file))
  }

  override pathOf(name: string): string {
    return name === 'vocab.txt' ? this.file : super.pathOf(name)
  }

  protected override async load(name: string): Promise<Uint8Array | undefined> {
    if (name === 'tokenizer.json') return undefined
    return name === 'vocab.txt' ? readBytes(this.file) : super.load(name)
  }
}

/** `options` go before what a tokenizer_config.json beside the vocabulary says. */
export const readVocabulary = (file: string, options: TokenizerOptions = {}): Promise<BertTokenizer> =>
  BertTokenizer.fromPretrained(/\.txt$/i.test(file) ? new VocabularyFiles(file) : file, options)
