// Whether the class that tokenizer_config.json names tokenizes as BertTokenizer does: any other would load, and give wrong ids.
import type { DataError } from '../../errors.ts'
import { isJsonObject, type JsonValue } from '../../json.ts'
import type { Fields } from './json-fields.ts'
import type { NormalizerOptions } from './normalizer.ts'

/** Classes of Transformers that are BertTokenizer with another name. The older ones end in Fast, too. */
const BERT_CLASSES: ReadonlySet<string> = new Set(
  [
    'Bert',
    'ConvBert',
    'DistilBert',
    'DPRContextEncoder',
    'DPRQuestionEncoder',
    'Electra',
    'LayoutLM',
    'Lxmert',
    'MobileBert',
    'Realm',
    'RetriBert',
    'SqueezeBert',
  ].map((name) => `${name}Tokenizer`),
)

/** Classes that are whatever tokenizer.json says. */
const GENERIC_CLASSES: ReadonlySet<string> = new Set(['PreTrainedTokenizer', 'TokenizersBackend'])

const EXPECTED = 'BertTokenizer or one like it'

/**
 * Whether the class is a generic one, so that tokenizer.json has to be looked at. A folder that names none is BERT's.
 * @throws DataError for a class that tokenizes in another way.
 */
export function isGenericClass(config: Fields): boolean {
  const name = config.values.tokenizer_class === null ? undefined : config.string('tokenizer_class')
  const words = config.values.word_tokenizer_type ?? 'basic'
  // older folders of this class name it in config.json alone
  if (name === 'BertJapaneseTokenizer' || (name === undefined && words !== 'basic')) throw japanese(config)
  if (name === undefined) return false
  const plain = name.replace(/Fast$/, '')
  if (GENERIC_CLASSES.has(plain)) return true
  if (!BERT_CLASSES.has(plain)) throw config.fail('tokenizer_class', EXPECTED)
  return false
}

const japanese = (config: Fields): DataError =>
  config.fail(
    config.values.tokenizer_class === 'BertJapaneseTokenizer' ? 'tokenizer_class' : 'word_tokenizer_type',
    `that of ${EXPECTED}, as bertkit has no MeCab, which Japanese words need,`,
  )

/** What normalises nothing, which tokenizer.json has null for. */
const NO_NORMALIZER = { cleanText: false, tokenizeChineseChars: false, stripAccents: false, doLowerCase: false }

/**
 * Holds the parts of tokenizer.json to those of BERT, for a generic class. The options of its normaliser are returned: such a class
 * does not look at those of tokenizer_config.json.
 * @throws DataError that names the part.
 */
export function checkGenericTokenizer(json: Fields, cls: string, sep: string): Partial<NormalizerOptions> {
  const pieces = json.object('pre_tokenizer')
  if (pieces?.values.type !== 'BertPreTokenizer') throw wrongPart(json, 'pre_tokenizer', 'a BertPreTokenizer')
  const frame = `${cls} A ${sep} B ${sep}`
  if (!isBertFrame(json.values.post_processor, cls, sep)) {
    throw wrongPart(json, 'post_processor', `BERT's, which makes ${frame},`)
  }
  const normalizer = json.object('normalizer')
  if (normalizer === null) return NO_NORMALIZER
  if (normalizer.values.type !== 'BertNormalizer') throw wrongPart(json, 'normalizer', 'a BertNormalizer')
  return {
    cleanText: normalizer.boolean('clean_text'),
    tokenizeChineseChars: normalizer.boolean('handle_chinese_chars'),
    stripAccents: normalizer.booleanOrNull('strip_accents'),
    doLowerCase: normalizer.boolean('lowercase'),
  }
}

function wrongPart(json: Fields, key: string, expected: string): DataError {
  const part = json.object(key)
  return typeof part?.values.type === 'string' && key !== 'post_processor'
    ? part.fail('type', `that of ${expected}`)
    : json.fail(key, expected)
}

function isBertFrame(part: JsonValue | undefined, cls: string, sep: string): boolean {
  if (!isJsonObject(part)) return false
  if (part.type === 'BertProcessing') return firstOf(part.cls) === cls && firstOf(part.sep) === sep
  if (part.type !== 'TemplateProcessing') return false
  const single = `${cls}:0 $A:0 ${sep}:0`
  return template(part.single) === single && template(part.pair) === `${single} $B:1 ${sep}:1`
}

const firstOf = (value: JsonValue | undefined) => (Array.isArray(value) ? value[0] : undefined)

/** A template as Transformers writes it: [CLS]:0 $A:0 [SEP]:0. */
function template(value: JsonValue | undefined): string | undefined {
  if (!Array.isArray(value)) return undefined
  const part = (piece: JsonValue, kind: string, mark: string) => {
    const found = isJsonObject(piece) ? piece[kind] : undefined
    return isJsonObject(found) ? [`${mark}${found.id}:${found.type_id}`] : []
  }
  return value.flatMap((piece) => [...part(piece, 'SpecialToken', ''), ...part(piece, 'Sequence', '$')]).join(' ')
}
