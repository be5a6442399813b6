// What the reader of questions makes of SQuAD's files and of rows.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type QuestionFault, type QuestionOptions, questionRows } from '../../src/data/question-answering.ts'
import { jsonl, listOf, put, reader } from './reading.ts'

const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', `${name}.parquet`)

describe('question answering', () => {
  const { read, refuses } = reader<QuestionOptions>(questionRows)
  const context = '😀 the cat 漢😀 sat on the mat'
  const squad = (...qas: object[]): string =>
    JSON.stringify({ version: 'v2.0', data: [{ paragraphs: [{ context, qas }] }] })
  const qa = { id: 'a', question: 'q' }

  it('reads SQuAD 1.1 and 2.0, with code points as UTF-16 units', async () => {
    const text = squad(
      {
        ...qa,
        answers: [
          { text: 'the', answer_start: 2 },
          { text: 'the', answer_start: 20 },
        ],
      },
      { ...qa, id: 'b', answers: [{ text: '漢😀 sat', answer_start: 10 }], is_impossible: false },
      { ...qa, id: 7, answers: [], is_impossible: true, plausible_answers: [{ text: 'cat', answer_start: 6 }] },
    )
    const expected = [
      [
        { text: 'the', answerStart: 3 },
        { text: 'the', answerStart: 22 },
      ],
      [{ text: '漢😀 sat', answerStart: 11 }],
      [],
    ]
    const faults: QuestionFault[] = []
    const onFault = (fault: QuestionFault) => faults.push(fault)
    for (const purpose of ['train', 'evaluate'] as const) {
      expect(await read('.json', text, { purpose, onFault })).toEqual(
        expected.map((answers, i) => ({ id: ['a', 'b', '7'][i], question: 'q', context, answers, line: 1 })),
      )
    }
    expect(faults).toEqual([])
    expect(await read('.json', squad(qa), { purpose: 'predict' })).toEqual([{ ...qa, context, line: 1 }])
    const article = { title: 't', paragraphs: [{ context, qas: [{ ...qa, answers: [] }] }] }
    expect(await read('.jsonl', jsonl(article, article.paragraphs[0]))).toEqual(
      [1, 2].map((line) => ({ ...qa, context, answers: [], line })),
    )
  })

  it('reads flat rows', async () => {
    const lists = { text: ['cat', 'mat'], answer_start: [6, 24] }
    const answers = [
      { text: 'cat', answerStart: 7 },
      { text: 'mat', answerStart: 26 },
    ]
    const rows = [
      { ...qa, context, answers: lists },
      {
        question: 'q',
        context,
        answers: [
          { text: 'cat', answer_start: 6 },
          { text: 'mat', answer_start: 24 },
        ],
      },
      { id: 'c', question: 'q', context, answers: { text: [], answer_start: [] } },
    ]
    const expected = [
      { ...qa, context, answers, line: 1 },
      { ...qa, id: '2', context, answers, line: 2 },
      { ...qa, id: 'c', context, answers: [], line: 3 },
    ]
    expect(await read('.jsonl', jsonl(...rows))).toEqual(expected)
    expect(await read('.json', JSON.stringify({ version: 2, data: rows }))).toEqual(
      expected.map((each) => ({ ...each, line: 1 })),
    )
    expect(await read('.json', JSON.stringify(rows[0]))).toEqual([expected[0]])
    expect(await listOf(questionRows(fixture('kinds')))).toEqual([
      {
        id: 'q0',
        question: 'who?',
        context: 'the 😀 cat sat',
        answers: [
          { text: 'cat', answerStart: 7 },
          { text: 'the 😀 cat', answerStart: 0 },
        ],
        line: 1,
      },
      { id: 'q1', question: 'what?', context: 'nothing', answers: [], line: 2 },
    ])
    const names = { textColumn: 'q', textPairColumn: 'c', labelColumn: 'l' }
    expect(await read('.jsonl', jsonl({ q: 'q', c: context, l: lists }), names)).toEqual([{ ...expected[0], id: '1' }])
    expect(await read('.csv', 'id,question,context\n5,q,"c, d"\n', { purpose: 'predict' })).toEqual([
      { id: '5', question: 'q', context: 'c, d', line: 2 },
    ])
  })

  it('reads answers in a cell of a table, in JSON or as Python prints them, and a single one', async () => {
    const answers = [{ text: 'cat', answerStart: 7 }]
    const cells = [
      '{"text": ["cat"], "answer_start": [6]}',
      "{'text': ['cat'], 'answer_start': [6]}",
      "[{'text': 'cat', 'answer_start': 6}]",
      `{"text": 'cat', 'answer_start': 6}`,
    ]
    const table = cells.map((cell, i) => `${i},q,"${context}","${cell.replaceAll('"', '""')}"\n`).join('')
    expect(await read('.csv', `id,question,context,answers\n${table}`)).toEqual(
      cells.map((_, i) => ({ id: `${i}`, question: 'q', context, answers, line: i + 2 })),
    )
    const row = { ...qa, context }
    const single = [
      { ...row, answers: { text: 'cat', answer_start: 6 } },
      { ...row, answers: { text: 'cat' } },
    ]
    expect(await read('.jsonl', jsonl(...single))).toEqual([1, 2].map((line) => ({ ...row, answers, line })))
    const none = [`{'text': [], 'answer_start': []}`, '[]', "{'text': '', 'answer_start': None}"]
    expect(await read('.jsonl', jsonl(...none.map((each) => ({ ...row, answers: each }))))).toMatchObject(
      none.map(() => ({ answers: [] })),
    )
    await refuses(
      '.jsonl',
      jsonl({ ...row, answers: "{'text': ['cat'" }),
      1,
      /"answers" begins like JSON, but is not v/,
    )
    await refuses('.jsonl', jsonl({ ...row, answers: '[6]' }), 1, /an answer to be an object .* it is a number/)
    await refuses('.jsonl', jsonl({ ...row, answers: { text: ['cat'], answer_start: 6 } }), 1, /it is an object/)
    const impossible = `id,question,context,answers,is_impossible\na,q,"${context}","{'text': ['cat']}",True\n`
    expect(await read('.csv', impossible)).toMatchObject([{ answers: [] }])
  })

  it('takes a guid for an id', async () => {
    const row = { question: 'q', context, answers: [] }
    const rows = jsonl({ ...row, guid: 'g' }, { ...row, id: 'i', guid: 'g' }, { ...row, id: null, guid: 7 }, row)
    expect((await read('.jsonl', rows)).map((each) => (each as { id: string }).id)).toEqual(['g', 'i', '7', '4'])
    expect(await read('.json', squad({ guid: 'g', question: 'q', answers: [] }))).toMatchObject([{ id: 'g' }])
  })

  it('moves an answer to where it stands, or leaves it out', async () => {
    const long = 'ab cd ab cd ab'
    const starts = async (text: string, answer_start: number | null | undefined, purpose: 'train' | 'evaluate') => {
      const faults: string[] = []
      const onFault = ({ kind, id, line }: QuestionFault) => faults.push(`${kind} ${id} ${line}`)
      const rows = jsonl({ ...qa, context: long, answers: [{ text, answer_start }] })
      const questions = await listOf(questionRows(await put('.jsonl', rows), { purpose, onFault }))
      return [questions.map(({ answers }) => answers?.map(({ answerStart }) => answerStart)), faults]
    }
    for (const purpose of ['train', 'evaluate'] as const) {
      expect(await starts('ab', 6, purpose)).toEqual([[[6]], []])
      expect(await starts('ab', 1, purpose)).toEqual([[[0]], ['moved a 1']])
      expect(await starts('ab', 4, purpose)).toEqual([[[6]], ['moved a 1']])
      expect(await starts('ab', 9, purpose)).toEqual([[[6]], ['moved a 1']])
      expect(await starts('cd', -1, purpose)).toEqual([[[3]], ['unplaced a 1']])
      expect(await starts('cd', 99, purpose)).toEqual([[[9]], ['moved a 1']])
      expect(await starts('cd', null, purpose)).toEqual([[[3]], ['unplaced a 1']])
      expect(await starts('cd', undefined, purpose)).toEqual([[[3]], ['unplaced a 1']])
      expect(await starts('', -1, purpose)).toEqual([[[]], []])
    }
    expect(await starts('AB', 0, 'train')).toEqual([[], ['missing a 1']])
    expect(await starts('AB', undefined, 'train')).toEqual([[], ['missing a 1']])
    expect(await starts('AB', 0, 'evaluate')).toEqual([[[-1]], ['missing a 1']])
    const both = squad({
      ...qa,
      answers: [
        { text: 'dog', answer_start: 6 },
        { text: 'cat', answer_start: 6 },
      ],
    })
    expect(await read('.json', both)).toMatchObject([{ answers: [{ text: 'cat', answerStart: 7 }] }])
    expect(await read('.json', both, { purpose: 'evaluate' })).toMatchObject([
      {
        answers: [
          { text: 'dog', answerStart: -1 },
          { text: 'cat', answerStart: 7 },
        ],
      },
    ])
  })

  it('gives every question that has the id of another, and counts them for evaluation', async () => {
    const thrice = squad(...[1, 2, 3].map((i) => ({ ...qa, question: `q${i}`, answers: [] })))
    for (const [purpose, repeated] of [['train', 0] as const, ['evaluate', 2] as const, ['predict', 0] as const]) {
      const faults: QuestionFault[] = []
      const questions = await read('.json', thrice, { purpose, onFault: (fault) => faults.push(fault) })
      expect(questions).toMatchObject([1, 2, 3].map((i) => ({ id: 'a', question: `q${i}` })))
      expect(faults).toEqual(Array.from({ length: repeated }, () => ({ kind: 'repeated', id: 'a', line: 1 })))
    }
  })

  it('names what is wrong, and where', async () => {
    // JSON.parse makes them equal
    const message =
      /"id" to be a number of at most 9007199254740991, .* about 12345678901234567000; write it as a string/
    for (const id of ['12345678901234567890', '12345678901234567891'])
      await refuses('.jsonl', `{"id":${id},"question":"q","context":"c","answers":[]}`, 1, message)
    await refuses('.json', squad(qa), 1, /paragraphs\[0\]\.qas\[0\]: expected "answers" to be a list .* it is nothing/)
    await refuses(
      '.json',
      squad({ id: 'a', answers: [] }),
      1,
      /qas\[0\]: expected a field "question", as SQuAD calls it, but found "id", "answers"/,
    )
    await refuses('.json', squad([]), 1, /qas\[0\]: expected an object, but found a list/)
    await refuses(
      '.json',
      '{"data":[{"paragraphs":[{"qas":[]}]}]}',
      1,
      /paragraphs\[0\]: expected a field "context", .* but found "qas"/,
    )
    // CMRC 2018 as it is published
    const cmrc = { context_id: '1', context_text: context, qas: [], title: 'x' }
    await refuses(
      '.json',
      JSON.stringify([cmrc]),
      1,
      /"context", .* found "context_id", "context_text", "qas", "title"$/,
    )
    await refuses('.json', '{"data":[{"paragraphs":[{"context":1,"qas":[]}]}]}', 1, /"context" to be a string/)
    await refuses(
      '.json',
      '{"data":[{"paragraphs":[{"context":""}]}]}',
      1,
      /paragraphs\[0\]: expected a field "qas", .* but found "context"/,
    )
    await refuses('.jsonl', jsonl({ ...qa, context, answers: 'cat' }), 1, /expected "answers" to be a list .* a string/)
    await refuses('.jsonl', jsonl({ ...qa, context, answers: ['cat'] }), 1, /an answer to be an object .* a string/)
    await refuses('.jsonl', jsonl({ ...qa, context, answers: [{ text: 1 }] }), 1, /text of an answer to be a string/)
    await refuses('.jsonl', jsonl({ ...qa, context, answers: [{ text: 'c', answer_start: 0.5 }] }), 1, /a whole number/)
    await refuses('.jsonl', jsonl(qa), 1, /expected a field "context", but found "id", "question"/)
    await refuses('.csv', 'id,question\n', 1, /expected a header line with "context", but found "id", "question"/)
  })
})
