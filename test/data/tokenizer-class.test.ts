// tokenizer_class of tokenizer_config.json. The expected ids are those of Transformers 5.18 (AutoTokenizer.from_pretrained of the
// same files).
import { describe, expect, test } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { DataError } from '../../src/errors.ts'

const TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'b', 'e', 'É', '字']
const NORMALIZER = {
  type: 'BertNormalizer',
  clean_text: true,
  handle_chinese_chars: true,
  strip_accents: null,
  lowercase: true,
}
const piece = (id: string, type: number) =>
  id.length === 1 ? { Sequence: { id, type_id: type } } : { SpecialToken: { id, type_id: type } }
const SINGLE = [piece('[CLS]', 0), piece('A', 0), piece('[SEP]', 0)]
const TEMPLATE = {
  type: 'TemplateProcessing',
  single: SINGLE,
  pair: [...SINGLE, piece('B', 1), piece('[SEP]', 1)],
  special_tokens: {},
}
const JSON_PARTS = {
  normalizer: NORMALIZER as object | null,
  pre_tokenizer: { type: 'BertPreTokenizer' } as object | null,
  post_processor: TEMPLATE as object | null,
  model: { type: 'WordPiece', vocab: Object.fromEntries(TOKENS.map((token, i) => [token, i])) },
}

const text = (value: unknown) => new Blob([JSON.stringify(value)])
const fromLines = (config: object) =>
  BertTokenizer.fromPretrained({
    'vocab.txt': new Blob([TOKENS.join('\n')]),
    'tokenizer_config.json': text(config),
  })
const fromParts = (parts: object, config: object = { tokenizer_class: 'PreTrainedTokenizerFast' }) =>
  BertTokenizer.fromPretrained({
    'tokenizer.json': text({ ...JSON_PARTS, ...parts }),
    'tokenizer_config.json': text(config),
  })

async function expectDataError(opened: Promise<unknown>, file: string, message: RegExp): Promise<void> {
  const error = await opened.catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(DataError)
  expect((error as DataError).file).toContain(file)
  expect((error as DataError).message).toMatch(message)
}

describe('tokenizer_class', () => {
  test.each([
    undefined,
    null,
    'BertTokenizer',
    'BertTokenizerFast',
    'DistilBertTokenizer',
    'DistilBertTokenizerFast',
    'ElectraTokenizer',
    'ElectraTokenizerFast',
    'MobileBertTokenizerFast',
    'ConvBertTokenizer',
    'SqueezeBertTokenizer',
    'PreTrainedTokenizerFast',
  ])("%s reads BERT's files", async (name) => {
    const tokenizer = await fromLines({ tokenizer_class: name })
    expect(tokenizer.encode('É a字', 'A b').inputIds).toEqual([2, 7, 5, 9, 3, 5, 6, 3])
    const parts = await fromParts({}, { tokenizer_class: name })
    expect(parts.encode('É a字', 'A b').inputIds).toEqual([2, 7, 5, 9, 3, 5, 6, 3])
  })

  test.each(['RobertaTokenizer', 'MPNetTokenizerFast', 'XLMRobertaTokenizer', 'JinaTokenizer', 'bert', ''])(
    '%j is a DataError that says what was expected',
    (name) =>
      expectDataError(
        fromLines({ tokenizer_class: name }),
        'tokenizer_config.json',
        new RegExp(`Expected tokenizer_class to be BertTokenizer or one like it but received "${name}"`),
      ),
  )

  test('that is no string is a DataError', () =>
    expectDataError(fromLines({ tokenizer_class: 5 }), 'tokenizer_config.json', /tokenizer_class to be a string/))

  test.each<[object, RegExp]>([
    [
      { tokenizer_class: 'BertJapaneseTokenizer', word_tokenizer_type: 'mecab' },
      /Expected tokenizer_class .* MeCab, .* received "BertJapaneseTokenizer"/,
    ],
    [
      { word_tokenizer_type: 'mecab', do_lower_case: false },
      /Expected word_tokenizer_type .* MeCab, .* received "mecab"/,
    ],
  ])('%j needs MeCab', (config, message) => expectDataError(fromLines(config), 'tokenizer_config.json', message))
})

describe('of a generic class', () => {
  test.each<[object, object | null, number[]]>([
    [{}, NORMALIZER, [2, 7, 5, 9, 3, 5, 6, 3]],
    [{ do_lower_case: false }, NORMALIZER, [2, 7, 5, 9, 3, 5, 6, 3]],
    [{ do_lower_case: true }, { ...NORMALIZER, lowercase: false }, [2, 8, 5, 9, 3, 1, 6, 3]],
    [{ strip_accents: false }, { ...NORMALIZER, lowercase: false, strip_accents: true }, [2, 1, 5, 9, 3, 1, 6, 3]],
    [{}, null, [2, 8, 1, 3, 1, 6, 3]],
    [{ do_lower_case: true }, null, [2, 8, 1, 3, 1, 6, 3]],
  ])('the normaliser of tokenizer.json counts alone: %j, %j', async (config, normalizer, ids) => {
    for (const name of ['PreTrainedTokenizerFast', 'TokenizersBackend']) {
      const tokenizer = await fromParts({ normalizer }, { tokenizer_class: name, ...config })
      expect(tokenizer.encode('É a字', 'A b').inputIds).toEqual(ids)
    }
  })

  test('BertProcessing is as good as a template', async () => {
    const post_processor = { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] }
    expect((await fromParts({ post_processor })).encode('a', 'b').inputIds).toEqual([2, 5, 3, 6, 3])
  })

  test.each<[object, RegExp]>([
    [
      { normalizer: { type: 'Sequence', normalizers: [] } },
      /normalizer\.type to be that of a BertNormalizer .*"Sequence"/,
    ],
    [{ pre_tokenizer: { type: 'WhitespaceSplit' } }, /pre_tokenizer\.type to be that of a BertPreT.*"WhitespaceSplit"/],
    [{ pre_tokenizer: null }, /pre_tokenizer to be a BertPreTokenizer but received null/],
    [{ post_processor: null }, /post_processor to be BERT's, which makes \[CLS\] A \[SEP\] B \[SEP\], .* null/],
    [{ post_processor: { type: 'ByteLevel' } }, /post_processor to be BERT's/],
    [{ post_processor: { type: 'RobertaProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] } }, /post_processor/],
    [{ post_processor: { type: 'BertProcessing', sep: ['</s>', 3], cls: ['[CLS]', 2] } }, /post_processor/],
    [{ post_processor: { ...TEMPLATE, pair: [...SINGLE, piece('[SEP]', 1), piece('B', 1)] } }, /post_processor/],
    [{ post_processor: { ...TEMPLATE, single: [piece('A', 0)] } }, /post_processor/],
    [{ post_processor: { ...TEMPLATE, pair: 5 } }, /post_processor/],
  ])('%j is a DataError that names the part', async (parts, message) => {
    await expectDataError(fromParts(parts), 'tokenizer.json', message)
    // BertTokenizer puts its own parts there
    expect((await fromParts(parts, {})).encode('a', 'b').inputIds).toEqual([2, 5, 3, 6, 3])
  })
})
