// Writes the files of a tokenizer folder, which files.ts reads.
import type { FilesToSave } from '../../formats/save-files.ts'
import { SPECIAL_KEYS, type SpecialTokens } from './files.ts'
import type { TokenizerSpec } from './pipeline.ts'
import type { TruncationSide } from './truncation.ts'

/** The text of a tokenizer.json that `tokenizers` and Transformers load. */
function tokenizerJson(spec: TokenizerSpec, special: SpecialTokens, ids: ReadonlyMap<string, number>): string {
  const piece = (kind: 'SpecialToken' | 'Sequence', id: string, type: number) => ({ [kind]: { id, type_id: type } })
  const { clsToken, sepToken } = special
  const single = [piece('SpecialToken', clsToken, 0), piece('Sequence', 'A', 0), piece('SpecialToken', sepToken, 0)]
  const pair = [...single, piece('Sequence', 'B', 1), piece('SpecialToken', sepToken, 1)]
  const named = (token: string) => ({ id: token, ids: [ids.get(token)], tokens: [token] })
  const frame = JSON.stringify(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [...spec.addedTokens]
        .sort((a, b) => a.id - b.id)
        .map(({ id, singleWord, ...token }) => ({ id, single_word: singleWord, ...token })),
      normalizer: {
        type: 'BertNormalizer',
        clean_text: spec.normalizer.cleanText,
        handle_chinese_chars: spec.normalizer.tokenizeChineseChars,
        strip_accents: spec.normalizer.stripAccents,
        lowercase: spec.normalizer.doLowerCase,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: {
        type: 'TemplateProcessing',
        single,
        pair,
        special_tokens: { [clsToken]: named(clsToken), [sepToken]: named(sepToken) },
      },
      decoder: { type: 'WordPiece', prefix: spec.continuingSubwordPrefix, cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: spec.unkToken,
        continuing_subword_prefix: spec.continuingSubwordPrefix,
        max_input_chars_per_word: spec.maxInputCharsPerWord,
        vocab: {},
      },
    },
    null,
    2,
  )
  // Written by hand because an object would move tokens that look like numbers to the front.
  const entries = [...spec.vocabulary]
    .sort((a, b) => a[1] - b[1])
    .map(([token, id]) => `      ${JSON.stringify(token)}: ${id}`)
  const hole = frame.lastIndexOf('{}')
  return `${frame.slice(0, hole)}{\n${entries.join(',\n')}\n    }${frame.slice(hole + 2)}\n`
}

/** The lines of vocab.txt, ids that no token has left empty; null if a token cannot be a line. */
function vocabularyText(vocabulary: Map<string, number>): string | null {
  const lines: string[] = []
  for (const [token, id] of vocabulary) {
    if (token.includes('\n') || token.endsWith('\r')) return null
    lines[id] = token
  }
  return `${Array.from(lines, (line) => line ?? '').join('\n')}\n`
}

/** What a tokenizer has beside its spec. */
interface Settings extends SpecialTokens {
  modelMaxLength: number
  cleanUpTokenizationSpaces: boolean
  truncationSide: TruncationSide
}

/** The files of a tokenizer: tokenizer.json, tokenizer_config.json and, unless a token holds a line break, vocab.txt. */
export function tokenizerFiles(spec: TokenizerSpec, settings: Settings, ids: ReadonlyMap<string, number>): FilesToSave {
  const { modelMaxLength } = settings
  const names = Object.entries(SPECIAL_KEYS).map(([name, key]) => [key, settings[name as keyof SpecialTokens]])
  const config = {
    tokenizer_class: 'BertTokenizer',
    do_lower_case: spec.normalizer.doLowerCase,
    strip_accents: spec.normalizer.stripAccents,
    tokenize_chinese_chars: spec.normalizer.tokenizeChineseChars,
    split_special_tokens: spec.splitSpecialTokens,
    truncation_side: settings.truncationSide,
    clean_up_tokenization_spaces: settings.cleanUpTokenizationSpaces,
    ...(Number.isFinite(modelMaxLength) ? { model_max_length: modelMaxLength } : {}),
    ...Object.fromEntries(names),
    ...Object.fromEntries(spec.namedTokens),
    added_tokens_decoder: Object.fromEntries(
      spec.addedTokens.map(({ id, singleWord, ...token }) => [id, { ...token, single_word: singleWord }]),
    ),
  }
  const vocabulary = vocabularyText(spec.vocabulary)
  return {
    texts: [
      ...(vocabulary === null ? [] : [['vocab.txt', vocabulary] as const]),
      ['tokenizer.json', tokenizerJson(spec, settings, ids)],
      ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
    ],
  }
}
