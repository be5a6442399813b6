// The reader of .conll, and of .conllu.
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { type RowFormat, readRows } from '../../src/data/readers/rows.ts'
import { tokenRows } from '../../src/data/token-classification.ts'
import { listOf, piecesOf, put, refuses as refusesReading, rowReader } from './reading.ts'

const ALL: readonly RowFormat[] = ['conll']
const tabbed = (...cells: string[]): string => cells.join('\t')
const { read, refuses } = rowReader(ALL)

describe('conll', () => {
  it('has the token first and the tag last, between tabs or spaces', async () => {
    const text =
      '\ufeff-DOCSTART- -X- -X- O\r\n\r\nEU NNP B-NP B-ORG\r\nrejects  VBZ B-VP  O \r\n\t\r\nNew York\tx\tB-LOC\r\n' +
      '\n \n# O\n-DOCSTART-\n\u3000 O\n\u00a0 O\na\u00a0b E-X\n'
    expect(await read('.conll', text)).toEqual([
      [3, { tokens: ['EU', 'rejects'], tags: ['B-ORG', 'O'] }],
      [6, { tokens: ['New York'], tags: ['B-LOC'] }],
      [9, { tokens: ['#'], tags: ['O'] }],
      [11, { tokens: ['\u3000', '\u00a0', 'a\u00a0b'], tags: ['O', 'O', 'E-X'] }],
    ])
  })

  it('needs no tags where none are asked for', async () => {
    expect(await read('.conll', 'a\nb O\n\nc\tx\tO', { tagged: false })).toEqual([
      [1, { tokens: ['a', 'b'] }],
      [4, { tokens: ['c'] }],
    ])
    await refuses('.conll', 'a O\nb\n', 2, /expected a token and its tag, .* but found "b"/)
    await refuses('.conll', 'a O\nb\t\n', 2, /but found "b\\t"/)
    await refuses('.conll', 'a\tO\n\n\tO\n', 3, /expected a token in the first column, but it is empty/)
  })

  it('has the columns that are named, of which some are skipped and the rest ignored', async () => {
    const columns = ['_', 'tokens', 'pos', '_', 'tags']
    const text = '1 EU NNP x B-ORG\n2\trejects\tVBZ\tx\tO\tmore\n\n1 New __proto__ x O \n'
    for (const header of [true, false, undefined])
      expect(await read('.conll', text, { columns, header })).toEqual([
        [1, { tokens: ['EU', 'rejects'], pos: ['NNP', 'VBZ'], tags: ['B-ORG', 'O'] }],
        [4, { tokens: ['New'], pos: ['__proto__'], tags: ['O'] }],
      ])
    const message = /expected 5 columns, but found 4/
    for (const tagged of [true, false])
      await refuses('.conll', '1 EU NNP x O\n2 is VBZ x\n', 2, message, { columns, tagged })
    const required = ['tokens', 'tags']
    const empty = '1\tEU\t\tx\tO\n2\t\tVBZ\tx\tO\n'
    await refuses('.conll', empty, 2, /expected something in the column "tokens", but it is empty/, {
      columns,
      required,
    })
    expect((await read('.conll', empty, { columns })).length).toBe(1)
    await expect(read('.conll', text, { columns: ['a', 'a'] })).rejects.toThrow(/"a" is named twice/)
    await expect(read('.conll', text, { columns, required: ['ner'] })).rejects.toThrow(/expected "ner" among them/)
  })

  it('has comments at the start of sentences', async () => {
    const rows = async (text: string, tagged = true, columns?: string[]) =>
      (await read('.conll', text, { tagged, columns })).map(([line, fields]) => [
        line,
        (Object(fields).tokens as string[]).join(' '),
      ])
    // MultiCoNER, Universal NER, GermEval
    expect(await rows('# id 1f5f\tdomain=en\nthe _ _ O\nshow _ _ B-X\n\n# id 77\tdomain=en\na _ _ O\n')).toEqual([
      [2, 'the show'],
      [6, 'a'],
    ])
    const ids = ['_', 'tokens', 'tags']
    // one of the block has as many words as there are columns
    expect(await rows('# sent_id = 1\n# text = One two\n1\tOne\tO\t-\t-\n2\ttwo\tO\t-\t-\n', true, ids)).toEqual([
      [3, 'One two'],
    ])
    expect(await rows('#\thttp://x.org [2009]\n1\tAuf\tO\tO\n')).toEqual([[2, '1']])
    // a comment of as many words as there are columns, but without their tabs
    expect(await rows('# x\na\tO\n')).toEqual([[2, 'a']])
    expect(await rows('# text = a\na\n', false)).toEqual([[2, 'a']])
    // in the middle of a sentence, or without a blank, "#" begins a token
    expect(await rows('# x y\na O\n# O\n#b O\n')).toEqual([[2, 'a # #b']])
    expect(await rows('# O\n# O\n\n#a O\n##b O\n## O\n')).toEqual([
      [1, '# #'],
      [4, '#a ##b ##'],
    ])
    // a head of the file, whose lines are not alike
    expect(await rows('# made by x\n# in 2020\n\n#a O\n')).toEqual([[4, '#a']])
  })

  it('takes lines that begin with # for tokens where they have the columns of tokens', async () => {
    const sentences = '# O\n# B-X\na O\n\n# O\n'
    expect(await read('.conll', sentences)).toEqual([
      [1, { tokens: ['#', '#', 'a'], tags: ['O', 'B-X', 'O'] }],
      [5, { tokens: ['#'], tags: ['O'] }],
    ])
    // a sentence of nothing else is as those before it, whatever the pieces
    for (const size of [1, 3, 100]) {
      const source = { bytes: piecesOf('a O\n\n# newdoc id = x\n\n# I-X\n\n# end of x', size), name: 'x' }
      const rows = await listOf(readRows(source, { format: 'conll', formats: ALL }))
      expect(rows.map(({ line, fields }) => [line, fields.tokens])).toEqual([
        [1, ['a']],
        [5, ['#']],
      ])
    }
    // with nothing to compare it to, it is tokens
    await refuses('.conll', '# \n\na O\n', 1, /expected a token and its tag/)
    const columns = ['tokens', 'pos', 'tags']
    expect(await read('.conll', '# a comment of words\na x O\n\n# x O\n', { columns })).toEqual([
      [2, { tokens: ['a'], pos: ['x'], tags: ['O'] }],
      [4, { tokens: ['#'], pos: ['x'], tags: ['O'] }],
    ])
  })

  it('does not gather lines that begin with # for ever', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield Buffer.from('# x\n'.repeat(10_000))
    }
    await refusesReading(
      readRows({ bytes: endless(), name: 'x' }, { format: 'conll', formats: ALL }),
      'x',
      2 ** 20 + 1,
      /begins in line 1 has more than 1048576 tokens/,
    )
  })

  it('refuses what it cannot read', async () => {
    await refuses('.conll', Buffer.of(0x61, 0x20, 0x4f, 0x0a, 0xff), 2, /not valid UTF-8/)
    await refuses('.conll', '\n \n-DOCSTART- O\n', undefined, /at least one row/)
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield Buffer.from('a O\n'.repeat(10_000))
    }
    const source = { bytes: endless(), name: 'x' }
    await refusesReading(
      readRows(source, { format: 'conll', formats: ALL }),
      'x',
      2 ** 20 + 1,
      /begins in line 1 has more than 1048576 tokens/,
    )
  })

  it('goes on over the borders of blocks', async () => {
    const sentence = 'token\tB-X\nother\tI-X\n\n'
    const whole = sentence.repeat(20_000)
    for (const size of [7, 60_001, whole.length]) {
      const source = { bytes: piecesOf(whole, size), name: 'x' }
      const rows = await listOf(readRows(source, { format: 'conll', formats: ALL }))
      expect(rows.map(({ line }) => line)).toEqual(Array.from({ length: 20_000 }, (_, i) => 3 * i + 1))
      expect(new Set(rows.map(({ fields }) => JSON.stringify(fields))).size).toBe(1)
    }
  })

  it('tells the comments of KLUE-NER from tokens, with as many tabs as those', async () => {
    const head = ['토큰, 레이블 구분자 : \\t', '문장 구분자 : \\n\\n', '주석 : ##', '컬럼명 : CHAR\tNE_TAG']
    const comments = head.map((line) => `## ${line}\n`).join('')
    const first = '## klue-ner-v1_dev_00000-wikitree\t<경찰:OG>은 또\n경\tB-OG\n찰\tI-OG\n은\tO\n \tO\n또\tO\n'
    // sentences that begin with "#", of which no line is lost, and a word in pieces
    const others = '## klue-ner-v1_dev_00001-nsmc\t#1\n#\tO\n1\tB-QT\n\n##\tO\n##막\tO\n#tag\tO\n'
    expect(await read('.conll', `${comments}${first}\n${others}`)).toEqual([
      [6, { tokens: ['경', '찰', '은', ' ', '또'], tags: ['B-OG', 'I-OG', 'O', 'O', 'O'] }],
      [13, { tokens: ['#', '1'], tags: ['O', 'B-QT'] }],
      [16, { tokens: ['##', '##막', '#tag'], tags: ['O', 'O', 'O'] }],
    ])
  })

  it('skips the borders of documents of OntoNotes', async () => {
    // with as many words as there are columns
    const text = '#begin document (bn/abc/0001); part 000\nx 0 EU NNP B-ORG\nx 1 is VBZ O\n\n#end document\n'
    const columns = ['_', '_', 'tokens', 'pos', 'tags']
    const row = { tokens: ['EU', 'is'], pos: ['NNP', 'VBZ'], tags: ['B-ORG', 'O'] }
    expect(await read('.conll', text.repeat(2), { columns })).toEqual([
      [2, row],
      [7, row],
    ])
    expect(await read('.conll', '#begin O\n#end document O\n#begin_document O\n')).toEqual([
      [1, { tokens: ['#begin'], tags: ['O'] }],
      [3, { tokens: ['#begin_document'], tags: ['O'] }],
    ])
  })

  it('takes the last column for the tag only where no line has more than the first', async () => {
    const message = /expected at most 2 columns, as line 2 has, but found 3; is a separator within a cell\?/
    await refuses('.conll', '\na O\nb O\n\nNew York B-LOC\n', 5, message)
    await refuses('.conll', '\na\tO\nb\tx\tO\n', 3, message)
    // fewer are read, and where no tag is read there may be more
    expect((await read('.conll', 'a x O\nb O\n')).length).toBe(1)
    expect((await read('.conll', 'a O\nNew York B-LOC\n', { tagged: false })).length).toBe(1)
    expect(await read('.conll', 'en:Den\tO\nen:Haag\tB-LOC\n')).toEqual([
      [1, { tokens: ['en:Den', 'en:Haag'], tags: ['O', 'B-LOC'] }],
    ])
  })
})

describe('a first column that counts the words', () => {
  const counting = ['#\thttp://de.wikipedia.org/wiki/X', '1\tBoris\tB-PER\tO', '2\tsagte\tO\tO', ''].join('\n')

  it('is not taken for the token', async () => {
    const message = /in every sentence it counts 1, 2, 3, \.\.\.; name the columns .*--columns _,tokens,tags, or/
    await refuses('.conll', `${counting}\n`.repeat(3), 2, message)
    await refuses('.conll', counting, 2, message)
    await refuses('.conll', '1 New\n2 York\n', 1, /such as --columns _,tokens$/, { tagged: false })
    const columns = ['_', 'tokens', 'tags']
    expect(await read('.conll', counting, { columns })).toEqual([
      [2, { tokens: ['Boris', 'sagte'], tags: ['B-PER', 'O'] }],
    ])
  })

  it.each([
    ['one sentence of several does not', `${counting}\n7\tTore\tO\tO\n8\t.\tO\tO\n`],
    ['its sentences have a word each', '1 x O\n\n1 x O\n\n1 x O\n\n1 x O\n'],
    ['nothing is between it and the tag', '1 O\n2 O\n3 O\n'],
  ])('is one of tokens where %s', async (_, text) => {
    expect((await read('.conll', text)).length).toBeGreaterThan(0)
  })
})

describe('conllu', () => {
  const NAMES = ['id', 'form', 'lemma', 'upos', 'xpos', 'feats', 'head', 'deprel', 'deps', 'misc']
  const wordOf = (id: string, form: string, upos: string, xpos: string): string =>
    tabbed(id, form, form, upos, xpos, '_', '0', 'dep', '_', 'SpaceAfter=No')
  const SENTENCES = [
    '# sent_id = fr-1',
    '#text = du pain 3-4',
    wordOf('1-2', 'du', '_', '_'),
    wordOf('1', 'de', 'ADP', 'P'),
    wordOf('2', 'le', 'DET', 'D'),
    wordOf('3', 'pain', 'NOUN', 'N'),
    wordOf('3.1', 'mange', 'VERB', 'V'),
    wordOf('4', '3-4', 'NUM', 'M'),
    '',
    '# text = 10 000',
    wordOf('0.1', 'il', 'PRON', 'X'),
    wordOf('1', '10 000', 'NUM', 'M'),
  ].join('\n')
  const tokens = [['de', 'le', 'pain', '3-4'], ['10 000']]
  const upos = [['ADP', 'DET', 'NOUN', 'NUM'], ['NUM']]

  it('has FORM as tokens and UPOS as tags; lines of other ids and comments are skipped', async () => {
    const expected = [
      [4, { tokens: tokens[0], tags: upos[0] }],
      [12, { tokens: tokens[1], tags: upos[1] }],
    ]
    expect(await read('.conllu', SENTENCES)).toEqual(expected)
    // of another name the first line tells, before which comments have a blank
    expect(await read('.conll', SENTENCES.replace('#text', '# text'))).toEqual(expected)
    expect(await read('.CONLLU.gz', gzipSync(SENTENCES))).toEqual(expected)
    expect(await read('.conllu', SENTENCES, { format: 'conll', tagged: false })).toEqual([
      [4, { tokens: tokens[0] }],
      [12, { tokens: tokens[1] }],
    ])
  })

  it('has the columns that are named, whatever the file is called', async () => {
    const options = { columns: NAMES, textColumn: 'form', labelColumn: 'xpos', format: 'conll' } as const
    // of another name the first line tells, before which comments have a blank
    const texts = [SENTENCES.replace('#text', '# text'), SENTENCES.slice(SENTENCES.indexOf('1-2'))]
    const files = [await put('.conllu', SENTENCES), await put('.txt', texts[0]), await put('.txt', texts[1])]
    for (const file of files) {
      const rows = await listOf(tokenRows(file, options))
      expect(rows.map((row) => [row.tokens, row.tags])).toEqual([
        [tokens[0], ['P', 'D', 'N', 'M']],
        [tokens[1], ['M']],
      ])
      const untagged = await listOf(tokenRows(file, { ...options, labels: 'ignored' }))
      expect(untagged.map((row) => row.tokens)).toEqual(tokens)
      const short = await listOf(tokenRows(file, { columns: ['_', 'tokens', '_', 'tags'], format: 'conll' }))
      expect(short.map((row) => [row.tokens, row.tags])).toEqual(tokens.map((each, i) => [each, upos[i]]))
    }
  })

  it('has names of its own for the other columns', async () => {
    const file = await put('.conllu', SENTENCES)
    const rows = await listOf(tokenRows(file, { labelColumn: 'xpos', textColumn: 'lemma' }))
    expect(rows.map((row) => [row.tokens, row.tags])).toEqual([
      [tokens[0], ['P', 'D', 'N', 'M']],
      [tokens[1], ['M']],
    ])
    await expect(listOf(tokenRows(file, { labelColumn: 'ner' }))).rejects.toThrow(
      'columns: expected "ner" among them, but they are "id", "tokens", "lemma", "tags", "xpos"',
    )
  })

  it('is not what begins with tokens, or has other columns or ids', async () => {
    // tokens that look like ids
    const columns = ['tokens', 'tags']
    const required = columns
    expect(await read('.conllu', '1\tO\n3-4\tO\n2.5\tO\n', { columns, required })).toEqual([
      [1, { tokens: ['1', '3-4', '2.5'], tags: ['O', 'O', 'O'] }],
    ])
    const ten = (token: string): string => tabbed(token, ...'bcdefghi', 'O')
    for (const options of [{}, { columns, required }])
      expect((await read('.conll', `${ten('1')}\n${ten('3-4')}\n`, options))[0][1].tokens).toEqual(['1', '3-4'])
    // WebAnno's ids are of sentence and token
    const ids = { columns: ['_', 'tokens'] }
    for (const text of [
      `${ten('1-1')}\n${ten('1-2')}\n`,
      '1\ta\n1-2\ta\n',
      `${ten('1').replaceAll('\t', ' ')}\n1-2 b\n`,
    ])
      expect((await read('.conll', text, ids))[0][1].tokens).toHaveLength(2)
  })

  it('names the line of what is wrong', async () => {
    const empty = `${wordOf('1', 'a', 'X', '_')}\n${wordOf('2', '', 'X', '_')}\n`
    await refuses('.conllu', empty, 2, /expected something in the column "tokens", but it is empty/)
    await refuses('.conllu', '# text = a\na\tb\n', 2, /expected 10 columns, but found 2/)
    await refuses('.conllu', `# text\n${wordOf('1-2', 'du', '_', '_')}\n`, undefined, /at least one row/)
  })
})
