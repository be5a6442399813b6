// What the reader of multiple choice makes of rows.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ChoiceOptions, choiceRows } from '../../src/data/multiple-choice.ts'
import { jsonl, listOf, reader } from './reading.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

describe('multiple choice', () => {
  const { read, refuses } = reader<ChoiceOptions>(choiceRows)
  const choices = ['x', 'y', 'z']

  it('reads a list of choices', async () => {
    expect(
      await read(
        '.jsonl',
        jsonl({ context: 'c', question: 'q', choices, label: 2 }, { context: '', choices, label: '0' }),
      ),
    ).toEqual([
      { context: 'c', question: 'q', choices, label: 2, line: 1 },
      { context: '', choices, label: 0, line: 2 },
    ])
    expect(await read('.jsonl', jsonl({ context: 'c', choices, label: -1 }), { labels: 'ignored' })).toEqual([
      { context: 'c', choices, line: 1 },
    ])
    const names = { textColumn: 'article', textPairColumn: 'why', labelColumn: 'answer' }
    expect(await read('.json', JSON.stringify([{ article: 'c', why: 'q', choices, answer: 1 }]), names)).toEqual([
      { context: 'c', question: 'q', choices, label: 1, line: 1 },
    ])
  })

  it("reads HellaSwag's endings, and options, of which some are numbers", async () => {
    const read1 = (row: object) => read('.jsonl', jsonl({ context: 'c', label: 1, ...row }))
    const example = { context: 'c', label: 1, line: 1 }
    expect(await read1({ endings: choices })).toEqual([{ ...example, choices }])
    expect(await read1({ options: [1, 2.5, 'x'] })).toEqual([{ ...example, choices: ['1', '2.5', 'x'] }])
    expect(await read1({ choices: null, endings: choices, options: ['A', 'B'] })).toEqual([{ ...example, choices }])
    expect(await read1({ options: 'none', ending0: 'x', ending1: 7 })).toEqual([{ ...example, choices: ['x', '7'] }])
  })

  it("reads SWAG's and COPA's columns", async () => {
    expect(await read('.csv', 'sent1,sent2,ending0,ending1,label\na,b,"x, y",z,1\n')).toEqual([
      { context: 'a', question: 'b', choices: ['x, y', 'z'], label: 1, line: 2 },
    ])
    const columns = ['_', 'sent1', 'ending0', 'ending1', 'ending2', 'label']
    expect(await read('.tsv', 'i\ta\tx\ty\tz\t2\n', { columns, header: false })).toEqual([
      { context: 'a', choices, label: 2, line: 1 },
    ])
    expect(
      await read('.jsonl', jsonl({ premise: 'a', choice1: 'x', choice2: 'y', question: 'cause', label: 1 })),
    ).toEqual([{ context: 'a', question: 'cause', choices: ['x', 'y'], label: 1, line: 1 }])
    // as the classes of its label are called
    expect(await read('.csv', 'premise,choice1,choice2,label\na,x,y,choice2\n')).toMatchObject([{ label: 1 }])
    // a row where a header is expected, as CODAH has it
    const rows = 'i\ta\tx\ty\t0\ni\tb\tx\ty\t1\n'
    const header =
      /expected a header line with "context" or "sent1" or .*, but found "i", "a", .*or name them all with --columns and --no-header if this line is a row/
    await refuses('.tsv', rows, 1, header)
    await refuses('.csv', rows, 1, /; columns are separated by commas in csv and by tabs in tsv/)
    await refuses('.csv', 'premise,choice1,choice2,label\na,x,y,choice3\n', 2, /"label" to be the number of a choice/)
    const many = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`ending${i}`, `${i}`]))
    expect(await read('.jsonl', jsonl({ sent1: 'a', sent2: null, ...many, ending12: null, label: 11 }))).toEqual([
      { context: 'a', choices: Object.values(many), label: 11, line: 1 },
    ])
  })

  it('takes a question alone for the context, once', async () => {
    const row = { question: 'q', choices, label: 1 }
    const example = { context: 'q', choices, label: 1, line: 1 }
    expect(await read('.jsonl', jsonl(row))).toEqual([example])
    expect(await read('.jsonl', jsonl(row), { textColumn: 'question' })).toEqual([example])
    expect(await read('.jsonl', jsonl({ ...row, context: null }))).toEqual([example])
    expect(await read('.jsonl', jsonl(row), { labels: 'ignored' })).toEqual([{ context: 'q', choices, line: 1 }])
    // of JCommonsenseQA
    const table = 'q_id,question,choice0,choice1,choice2,label\n7,q,x,y,z,1\n'
    expect(await read('.csv', table)).toEqual([{ ...example, line: 2 }])
    expect(await read('.csv', table, { textColumn: 'question' })).toEqual([{ ...example, line: 2 }])
    // what is named stays, and another question stays one
    const both = { textColumn: 'question', textPairColumn: 'question' }
    expect(await read('.jsonl', jsonl(row), both)).toEqual([{ ...example, question: 'q' }])
    expect(await read('.jsonl', jsonl({ ...row, sent2: 's' }))).toEqual([{ ...example, question: 's' }])
    expect(await read('.jsonl', jsonl({ ...row, context: 'c' }))).toEqual([{ ...example, context: 'c', question: 'q' }])
  })

  it('reads choices with labels of their own: CommonsenseQA, ARC and OpenBookQA', async () => {
    const lists = { label: ['A', 'B', 'C'], text: choices }
    const pairs = choices.map((text, i) => ({ label: 'ABC'[i], text }))
    const example = { context: 'q', choices, label: 1, line: 1 }
    for (const row of [
      { question: 'q', choices: lists, answerKey: 'B' },
      { question: 'q', choices: pairs, answerKey: 'B' },
      { question: { stem: 'q', choices: pairs, question_concept: 'k' }, answerKey: 'B', id: 'i' },
      { question_stem: 'q', choices: lists, answerKey: ' B ' },
      { question: 'q', choices: { text: choices }, answerKey: 'B' },
      { question: 'q', choices: { text: choices, label: null }, label: 1 },
      { question: 'q', choices: lists, label: 1 },
    ])
      expect(await read('.jsonl', jsonl(row)), JSON.stringify(row)).toEqual([example])
    // numbers from 1, as some rows of ARC have them, and any other order
    const numbered = { label: ['1', '2', '3'], text: choices }
    expect(await read('.jsonl', jsonl({ question: 'q', choices: numbered, answerKey: '2' }))).toEqual([example])
    expect(await read('.jsonl', jsonl({ question: 'q', choices: numbered, answerKey: 2 }))).toEqual([example])
    const turned = { label: ['C', 'A', 'B'], text: choices }
    expect(await read('.jsonl', jsonl({ question: 'q', choices: turned, answerKey: 'C' }))).toMatchObject([
      { label: 0 },
    ])
    // of the test sets
    const unknown = jsonl({ question: 'q', choices: lists, answerKey: '' })
    expect(await read('.jsonl', unknown, { labels: 'ignored' })).toEqual([{ context: 'q', choices, line: 1 }])
    await refuses('.jsonl', unknown, 1, /"answerKey" to be the label of a choice, one of \["A","B","C"\], but it is ""/)
    const beyond = jsonl({ question: 'q', choices: numbered, answerKey: '0' })
    await refuses('.jsonl', beyond, 1, /"answerKey" to be the label of a choice, one of \["1","2","3"\], but it is "0"/)
    const short = jsonl({ question: 'q', choices: { label: ['A'], text: choices }, answerKey: 'A' })
    await refuses('.jsonl', short, 1, /a label for each of 3 choices, but found \["A"\]/)
    const half = jsonl({ question: 'q', choices: [pairs[0], { text: 'y' }], answerKey: 'A' })
    await refuses('.jsonl', half, 1, /a label for each of 2 choices, but found \["A"\]/)
    const textless = jsonl({ question: 'q', choices: [pairs[0], { label: 'B' }], answerKey: 'A' })
    await refuses('.jsonl', textless, 1, /choice 1 to be a string, but it is null/)
    const object = jsonl({ question: { stem: 7 }, choices, answerKey: 'A' })
    await refuses('.jsonl', object, 1, /"question" to be a string, but it is an object/)
  })

  it("reads letters, RACE's article, HellaSwag's, PIQA's and CosmosQA's names", async () => {
    const race = { example_id: 'e', article: 'c', question: 'q', options: choices, answer: 'C' }
    expect(await read('.jsonl', jsonl(race))).toEqual([{ context: 'c', question: 'q', choices, label: 2, line: 1 }])
    expect(await read('.jsonl', jsonl({ ctx: 'c', ctx_a: 'a', endings: choices, label: '2' }))).toEqual([
      { context: 'c', choices, label: 2, line: 1 },
    ])
    expect(await read('.csv', 'goal,sol1,sol2,label\nc,x,y,0\n')).toEqual([
      { context: 'c', choices: ['x', 'y'], label: 0, line: 2 },
    ])
    expect(await read('.csv', 'context,question,answer0,answer1,label\nc,q,x,y,1.0\n')).toEqual([
      { context: 'c', question: 'q', choices: ['x', 'y'], label: 1, line: 2 },
    ])
    const many = Array.from({ length: 27 }, (_, i) => `${i}`)
    const of = (label: unknown) => read('.jsonl', jsonl({ context: 'c', choices: many, label }))
    expect(await of('Z')).toMatchObject([{ label: 25 }])
    expect(await of(26)).toMatchObject([{ label: 26 }])
    await expect(of('[')).rejects.toThrow('from 0 to 26, or its letter, but it is "["')
  })

  it('takes empty cells after the last choice for none', async () => {
    const table = 'sent1,ending0,ending1,ending2,ending3,label\na,x,y,z,w,3\nb,x,y,,,1\nc,x,y,z, ,0\n'
    expect(await read('.csv', table)).toMatchObject([
      { choices: ['x', 'y', 'z', 'w'] },
      { choices: ['x', 'y'] },
      { choices: ['x', 'y', 'z'] },
    ])
    const copa = 'premise\tchoice1\tchoice2\tchoice3\tlabel\na\tx\ty\t\t1\n'
    expect(await read('.tsv', copa)).toEqual([{ context: 'a', choices: ['x', 'y'], label: 1, line: 2 }])
    await refuses(
      '.csv',
      'sent1,ending0,ending1,ending2,label\na,x,y,z,1\nb,x,y,,2\n',
      3,
      /a choice, from 0 to 1, or its letter, but/,
    )
    await refuses('.csv', 'sent1,ending0,ending1,ending2,label\nb,x,,,0\n', 2, /at least two choices, but found 1/)
    await refuses('.csv', 'sent1,ending0,ending1,label\nb,,,0\n', 2, /expected the choices in a list/)
  })

  it('refuses gaps between choices', async () => {
    const expected = 'expected the choices one after another, but found'
    for (const [content, message] of [
      ['sent1,ending0,ending1,ending2,label\na,x,,z,1\n', '"ending2", and "ending1" is empty'],
      ['sent1,ending0,ending1,ending2,label\na,,y,z,1\n', '"ending1", and "ending0" is empty'],
      ['sent1,ending0,ending1,ending3,label\na,x,y,z,1\n', '"ending3", and "ending2" is missing'],
      ['sent1,choice2,choice3,label\na,x,y,1\n', '"choice2", and "choice1" is missing'],
    ])
      await refuses('.csv', content, 2, new RegExp(`${expected} ${message}$`))
    const row = { context: 'a', ending0: 'x', ending1: null, ending2: 'z', label: 0 }
    await refuses('.jsonl', jsonl(row), 1, /found "ending2", and "ending1" is empty$/)
  })

  it('names the line of what is wrong', async () => {
    const good = { context: 'c', choices, label: 0 }
    for (const label of [3, -1, 0.5, '', 'D', 'a', 'AB', null, [0], '0x1', true]) {
      const message = /expected "label" to be the number of a choice, from 0 to 2, or its letter, but it is/
      await refuses('.jsonl', jsonl(good, { ...good, label }), 2, message)
    }
    await refuses('.jsonl', jsonl({ context: 'c', choices }), 1, /a field "label" or "answerKey" or "answer", but/)
    await refuses('.jsonl', jsonl({ context: 'c', choices }), 1, /a field "gold", but/, { labelColumn: 'gold' })
    await refuses('.jsonl', jsonl({ choices, label: 0 }), 1, /expected a field "context" or "sent1" or "premise"/)
    await refuses(
      '.jsonl',
      jsonl({ context: 'c', label: 0 }),
      1,
      /the choices in a list "choices", "endings" or "options", or in fields "ending0", .* but found "context", "label"$/,
    )
    await refuses('.jsonl', jsonl({ ...good, choices: ['x'] }), 1, /expected at least two choices, but found 1/)
    await refuses('.jsonl', jsonl({ ...good, choices: [] }), 1, /expected at least two choices, but found 0/)
    await refuses('.jsonl', jsonl({ ...good, choices: 'x' }), 1, /"choices" to be a list, but it is a string/)
    await refuses('.jsonl', jsonl({ ...good, choices: ['x', [1]] }), 1, /choice 1 to be a string, but it is a list/)
    await refuses('.csv', 'sent1,ending0,ending1\na,x,y\n', 2, /a field "label" or .* but found "sent1", "ending0"/)
    await refuses('.csv', 'sent1,ending0,ending1\n', 1, /a header line with "gold"/, { labelColumn: 'gold' })
  })
})

describe(`real data${needsReference}`, () => {
  const data = (name: string): string => join(reference ?? '', 'data', name)

  it.skipIf(!reference)('codah, xcopa and the sample of SWAG', async () => {
    const columns = ['_', 'sent1', 'ending0', 'ending1', 'ending2', 'ending3', 'label']
    const codah = await listOf(choiceRows(data('codah/full_data.tsv'), { columns, header: false }))
    expect([codah.length, new Set(codah.map(({ choices }) => choices.length))]).toEqual([2776, new Set([4])])
    expect((await listOf(choiceRows(data('xcopa_zh/test.zh.jsonl')))).length).toBe(500)
    expect((await listOf(choiceRows(data('hf_tests_samples/swag/sample.json'))))[0]).toEqual({
      context: 'Members of the procession walk down the street holding small horn brass instruments.',
      question: 'A drum line',
      choices: [
        'passes by walking down the street playing their instruments.',
        'has heard approaching them.',
        "arrives and they're outside dancing and asleep.",
        'turns the lead singer watches the performance.',
      ],
      label: 0,
      line: 1,
    })
  })
})
