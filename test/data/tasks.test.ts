// What the readers of the tasks make of rows: sentences with tags, passages; choices are in multiple-choice.test.ts, questions in question-answering.test.ts.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { classificationRows } from '../../src/data/classification.ts'
import { type PassageOptions, passageRows } from '../../src/data/passages.ts'
import { type QuestionFault, questionRows } from '../../src/data/question-answering.ts'
import { type TokenOptions, tokenRows } from '../../src/data/token-classification.ts'
import { ArgumentError } from '../../src/errors.ts'
import { jsonl, listOf, put, reader, refuses as refusesReading } from './reading.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'
const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', `${name}.parquet`)
describe('classification', () => {
  it('streams: the rows before a fault come before its error', async () => {
    const file = await put('.jsonl', jsonl({ text: 'a', label: 1 }, { text: 'b', text_pair: 'c', label: 'x' }, {}))
    const rows = classificationRows(file)
    expect((await rows.next()).value).toEqual({ text: 'a', label: '1', line: 1 })
    expect((await rows.next()).value).toEqual({ text: 'b', textPair: 'c', label: 'x', line: 2 })
    await expect(rows.next()).rejects.toThrow(`${file}:3: expected a field "text", but found none`)
  })

  it('reads json and parquet', async () => {
    const { read } = reader(classificationRows)
    expect(await read('.json', '{"data":[{"text":"a",\n"label":true},\n{"text":2010,"label":0}]}')).toEqual([
      { text: 'a', label: 'true', line: 1 },
      { text: '2010', label: '0', line: 3 },
    ])
    const options = { textColumn: 'question', textPairColumn: 'context', labelColumn: 'category' }
    expect(await listOf(classificationRows(fixture('kinds'), options))).toEqual([
      { text: 'who?', textPair: 'the 😀 cat sat', label: 'pos', line: 1 },
      { text: 'what?', textPair: 'nothing', label: 'neg', line: 2 },
    ])
    await refusesReading(
      classificationRows(fixture('none')),
      fixture('none'),
      7,
      /"text" to be a string, but it is null/,
    )
    await refusesReading(classificationRows(fixture('kinds')), fixture('kinds'), undefined, /expected "text", "label"/)
  })
})

describe('token classification', () => {
  const { read, refuses } = reader<TokenOptions>(tokenRows)

  it('reads conll', async () => {
    expect(await read('.conll', '\na x O\nb y B-X\n\nc z O\n')).toEqual([
      { tokens: ['a', 'b'], tags: ['O', 'B-X'], line: 2 },
      { tokens: ['c'], tags: ['O'], line: 5 },
    ])
    expect(await read('.bmes', 'a\nb O\n', { labels: 'ignored', format: 'conll' })).toEqual([
      { tokens: ['a', 'b'], line: 1 },
    ])
    await refuses('.conll', 'a O\nb\n', 2, /expected a token and its tag/)
    await refuses('.tsv', 'a\tO\n', undefined, /expected a \.conll, \.conllu, \.jsonl, \.json or \.parquet file/)
  })

  it('takes a column that is null for none', async () => {
    const words = ['a', 'b']
    expect(await read('.jsonl', jsonl({ tokens: null, words, tags: null, ner_tags: ['O', 'B-X'] }))).toEqual([
      { tokens: words, tags: ['O', 'B-X'], line: 1 },
    ])
    await refuses('.jsonl', jsonl({ words: null, tags: ['O'] }), 1, /expected "words" to be a list, but it is null/)
  })

  it('finds the named columns of conll, and takes no names without them', async () => {
    const text = '1\tEU\tNNP\tB-ORG\n2\tis\tVBZ\tO\n'
    const columns = ['_', 'tokens', '_', 'ner']
    const expected = [{ tokens: ['EU', 'is'], tags: ['B-ORG', 'O'], line: 1 }]
    expect(await read('.conll', text, { columns })).toEqual(expected)
    expect(await read('.conll', text, { columns: ['_', 'form', '_', 'ner'], textColumn: 'form' })).toEqual(expected)
    const parts = { columns: ['_', 'words', 'pos', 'ner'], labelColumn: 'pos', header: false }
    expect(await read('.conll', text, parts)).toEqual([{ tokens: ['EU', 'is'], tags: ['NNP', 'VBZ'], line: 1 }])
    const unnamed = read('.txt', 'a O\n', { format: 'conll', labelColumn: 'tag' })
    await expect(unnamed).rejects.toThrow(
      /columns: expected the names of the columns of .*\.txt, such as _,tokens,tag, with "tag" but received none/,
    )
    expect(await read('.conll', 'a O\n', { labelColumn: 'tag', labels: 'ignored' })).toEqual([
      { tokens: ['a'], line: 1 },
    ])
    const lacks = async (options: TokenOptions) => read('.conll', text, options)
    await expect(lacks({ columns: ['id', 'form'] })).rejects.toThrow(
      new ArgumentError('columns: expected "tokens" or "words" among them, but they are "id", "form"'),
    )
    await expect(lacks({ columns: ['tokens', '_'] })).rejects.toThrow(/expected "tags" or "ner_tags" or "ner" among/)
    await expect(lacks({ columns, labelColumn: 'pos' })).rejects.toThrow(/expected "pos" among them/)
    expect(await read('.conll', text, { columns: ['_', 'tokens'], labels: 'ignored' })).toEqual([
      { tokens: ['EU', 'is'], line: 1 },
    ])
    await refuses('.conll', '1\tEU\tNNP\t\n', 1, /expected 4 columns, but found 3/, { columns })
  })

  it('reads lists of tokens and tags, which may be numbers', async () => {
    expect(await read('.jsonl', jsonl({ tokens: ['in', 2010], tags: ['O', true] }))).toEqual([
      { tokens: ['in', '2010'], tags: ['O', 'true'], line: 1 },
    ])
    expect(await read('.jsonl', jsonl({ tokens: ['a', 'b'], tags: ['B-X', 0] }, { tokens: [], tags: [] }))).toEqual([
      { tokens: ['a', 'b'], tags: ['B-X', '0'], line: 1 },
      { tokens: [], tags: [], line: 2 },
    ])
    expect(await read('.json', '[{"words":["a"],"ner":["O"]}]')).toEqual([{ tokens: ['a'], tags: ['O'], line: 1 }])
    expect(await listOf(tokenRows(fixture('kinds')))).toEqual([
      { tokens: ['a', 'b'], tags: ['0', '3'], line: 1 },
      { tokens: [], tags: [], line: 2 },
    ])
    const row = jsonl({ t: ['a'], l: ['O'], tokens: 1 })
    expect(await read('.jsonl', row, { textColumn: 't', labelColumn: 'l' })).toEqual([
      { tokens: ['a'], tags: ['O'], line: 1 },
    ])
    expect(await read('.jsonl', row, { textColumn: 't', labels: 'ignored' })).toEqual([{ tokens: ['a'], line: 1 }])
  })

  it('names the line of what is wrong', async () => {
    const good = { tokens: ['a'], tags: ['O'] }
    await refuses(
      '.jsonl',
      jsonl(good, { tokens: ['a', 'b'], tags: ['O'] }),
      2,
      /expected 2 tags, one for each token, but found 1/,
    )
    await refuses(
      '.jsonl',
      jsonl({ tokens: ['a', true], tags: ['O', 'O'] }),
      1,
      /token 1 to be a string, but it is a boolean/,
    )
    await refuses('.jsonl', jsonl({ tokens: ['a'], tags: [null] }), 1, /tag 0 to be a name or a number, but it is null/)
    await refuses('.jsonl', jsonl({ tokens: ['a'], tags: [' '] }), 1, /tag 0 to be a name or a number, but it is empty/)
    await refuses('.jsonl', jsonl({ tokens: 'a b', tags: ['O'] }), 1, /"tokens" to be a list, but it is a string/)
    await refuses('.jsonl', jsonl({ text: 'a' }), 1, /expected a field "tokens" or "words", but found "text"/)
    await refuses('.jsonl', jsonl({ tokens: ['a'] }), 1, /expected a field "tags" or "ner_tags" or "ner"/)
  })
})

describe('passages', () => {
  const { read } = reader<PassageOptions>(passageRows)

  it('are lines of documents', async () => {
    expect(await read('.txt', 'a\nb\n\n\nc\n')).toEqual([
      { text: 'a', document: 0, line: 1 },
      { text: 'b', document: 0, line: 2 },
      { text: 'c', document: 1, line: 5 },
    ])
  })

  it('are documents of their own in rows, unless a field says which', async () => {
    const rows = [{ document: 'x' }, { document: 'x' }, { document: 7 }, {}, {}, { document: 'x' }]
    const documents = async (extension: string, content: string) =>
      (await listOf(passageRows(await put(extension, content)))).map(({ document }) => document)
    expect(await documents('.jsonl', jsonl(...rows.map((row) => ({ ...row, text: 't' }))))).toEqual([0, 0, 1, 2, 3, 4])
    expect(await documents('.csv', 'text,document\na,1\nb,1\nc,2\n')).toEqual([0, 0, 1])
    expect(await read('.tsv', 'title\tbody\nx\ty\n', { textColumn: 'body' })).toEqual([
      { text: 'y', document: 0, line: 2 },
    ])
  })
})

describe(`real data${needsReference}`, () => {
  const data = (name: string): string => join(reference ?? '', 'data', name)

  it.skipIf(!reference)('every answer is where it says, or counted', async () => {
    const files: [string, number, number, number][] = [
      ['squad/cs224n-dev-v2.0.json', 6078, 0, 0],
      ['cmrc2018_zh/cmrc2018_dev.json.gz', 3219, 7, 193],
      ['cmrc2018_zh/cmrc2018_trial.json', 1002, 5, 0],
      ['drcd_zh/DRCD_dev.json', 3524, 0, 0],
      ['xquad/xquad.en.json', 1190, 0, 0],
      ['xquad/xquad.zh.json', 1190, 0, 0],
      ['hf_tests_samples/SQUAD/sample.json', 14, 0, 0],
    ]
    for (const [name, count, moved, missing] of files) {
      const faults: string[] = []
      const onFault = ({ kind }: QuestionFault) => faults.push(kind)
      const questions = await listOf(questionRows(data(name), { purpose: 'evaluate', onFault }))
      expect(questions.length, name).toBe(count)
      const counted = ['moved', 'missing'].map((kind) => faults.filter((each) => each === kind).length)
      expect(counted, name).toEqual([moved, missing])
      for (const { context, answers = [] } of questions)
        for (const { text, answerStart } of answers)
          if (answerStart >= 0) expect(context.startsWith(text, answerStart)).toBe(true)
    }
    // the whole file by JSON.parse
    const whole = JSON.parse(gunzipSync(await readFile(data('cmrc2018_zh/cmrc2018_dev.json.gz'))).toString())
    type Article = { paragraphs: { qas: { id: string; question: string }[] }[] }
    const expected = whole.data.flatMap(({ paragraphs }: Article) =>
      paragraphs.flatMap(({ qas }) => qas.map(({ id, question }) => [id, question])),
    )
    const found = await listOf(questionRows(data('cmrc2018_zh/cmrc2018_dev.json.gz'), { purpose: 'predict' }))
    expect(found.map(({ id, question }) => [id, question])).toEqual(expected)
  })

  it.skipIf(!reference)('the tags of resume_ner_zh, and the words of wikitext2', async () => {
    const sentences = await listOf(tokenRows(data('resume_ner_zh/dev.char.bmes'), { format: 'conll' }))
    const types = new Set(sentences.flatMap(({ tags = [] }) => tags.map((tag) => tag.split('-')[0])))
    expect([sentences.length, types]).toEqual([463, new Set(['B', 'M', 'E', 'S', 'O'])])
    const passages = await listOf(passageRows(data('wikitext2/wiki.test.raw'), { format: 'txt' }))
    expect(passages.reduce((sum, { text }) => sum + text.trim().split(/ +/).length, 0)).toBe(241_211)
  })
})
