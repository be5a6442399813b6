import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  type ClassificationExample,
  type ClassificationOptions,
  classificationRows,
  labelCollector,
  labelEncoder,
} from '../../src/data/classification.ts'
import { inLabelOrder, type LabelSet, labelKey, sortLabels } from '../../src/data/label-names.ts'
import { ArgumentError, DataError } from '../../src/errors.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

/** All rows of a file, and what is asked of them. */
async function readClassificationExamples(file: string, options: ClassificationOptions = {}) {
  const examples: ClassificationExample[] = []
  for await (const row of classificationRows(file, options)) examples.push(row)
  const problemType = options.problemType ?? 'single_label_classification'
  const hasPairs = examples.some(({ textPair }) => textPair !== undefined)
  return { file, problemType, examples, hasPairs, hasLabels: options.labels !== 'ignored' }
}
type Read = Awaited<ReturnType<typeof readClassificationExamples>>

function inferLabels({ examples, file, problemType }: Read): LabelSet {
  const collector = labelCollector(problemType)
  for (const example of examples) collector.add(example)
  return collector.finish(file)
}
const encodeLabels = ({ examples, file }: Pick<Read, 'examples' | 'file'>, labels: LabelSet) =>
  examples.map(labelEncoder(labels, file))

let folder: string
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bertkit-classification-'))
})
async function put(extension: string, content: string): Promise<string> {
  const file = join(folder, `${count++}${extension}`)
  await writeFile(file, content)
  return file
}
const read = async (extension: string, content: string, options?: ClassificationOptions) =>
  readClassificationExamples(await put(extension, content), options)
async function refuses(work: Promise<unknown>, line: number | undefined, message: RegExp): Promise<void> {
  const error: unknown = await work.catch((reason) => reason)
  expect(error).toBeInstanceOf(DataError)
  expect(error).toMatchObject({ line })
  expect(String(error)).toContain(folder)
  expect(String(error)).toMatch(message)
}

describe('readClassificationExamples', () => {
  it('reads texts, pairs and labels', async () => {
    const read1 = await read('.csv', 'label,text,text_pair\nyes,a,b\nno, c ,\n')
    expect(read1).toMatchObject({ problemType: 'single_label_classification', hasPairs: true, hasLabels: true })
    expect(read1.examples).toEqual([
      { text: 'a', textPair: 'b', label: 'yes', line: 2 },
      { text: ' c ', textPair: '', label: 'no', line: 3 },
    ])
    const lines = await read('.jsonl', '{"text":"a","label":1}\n{"text":"b","text_pair":null,"label":"0"}')
    expect(lines.hasPairs).toBe(false)
    expect(lines.examples.map(({ label }) => label)).toEqual(['1', '0'])
  })

  it('follows renamed columns', async () => {
    const options = { textColumn: '#1', textPairColumn: '#2', labelColumn: 'Quality' }
    const { examples } = await read('.tsv', 'Quality\t#1\t#2\n1\ta "b"\tc\n', options)
    expect(examples).toEqual([{ text: 'a "b"', textPair: 'c', label: '1', line: 2 }])
  })

  it('passes over labels where they are not wanted', async () => {
    const { examples, hasLabels } = await read('.csv', 'text\na\n', { labels: 'ignored' })
    expect([examples, hasLabels]).toEqual([[{ text: 'a', line: 2 }], false])
    const withLabels = await read('.csv', 'text,label\na,\n', { labels: 'ignored' })
    expect(withLabels.examples[0].label).toBeUndefined()
  })

  it('does not guess a column', async () => {
    await refuses(
      read('.csv', 'text,category\na,b\n'),
      1,
      /expected a header line with "label", but found "text", "category"; .*--label-column/,
    )
    await refuses(
      read('.jsonl', '{"sentence":"a","label":1}'),
      1,
      /expected a field "text", but found "sentence", "label"/,
    )
    await refuses(read('.jsonl', '{"text":"a"}'), 1, /expected a field "label"/)
    await refuses(read('.csv', 'text,label\na,b\n', { textPairColumn: 'other' }), 1, /with "other"/)
    await expect(read('.csv', 'a,b\n', { columns: ['text', 'x'], header: false })).rejects.toThrow(ArgumentError)
  })

  it('names the line of a wrong value', async () => {
    await refuses(
      read('.jsonl', '{"text":"a","label":1}\n{"text":true,"label":1}'),
      2,
      /"text" to be a string, but it is a boolean/,
    )
    await refuses(read('.jsonl', '{"text":"a","text_pair":["b"],"label":1}'), 1, /"text_pair" to be a string.*a list/)
    await refuses(read('.csv', 'text,label\na,b\nc,\n'), 3, /"label" to be a name or a number, but it is empty/)
    await refuses(
      read('.jsonl', '{"text":"a","label":[1,2]}'),
      1,
      /a name or a number, but it is a list; several labels need --problem-type multi_label_classification \(problemType/,
    )
    const one = { problemType: 'single_label_classification' } as const
    await refuses(read('.jsonl', '{"text":"a","label":[1,2]}', one), 1, /a name or a number, but it is a list$/)
    await refuses(read('.jsonl', '{"text":"a","label":null}'), 1, /a name or a number, but it is null/)
    await refuses(read('.csv', 'text,label\n"a\n",b\nc\n'), 4, /expected 2 columns, but found 1/)
    const regression = { problemType: 'regression' as const }
    await refuses(read('.csv', 'text,label\na,1\nb,high\n', regression), 3, /"label" to be a number, but it is "high"/)
    await refuses(read('.csv', 'text,label\na,\n', regression), 2, /"label" to be a number, but it is empty/)
    await refuses(read('.jsonl', '{"text":"a","label":true}', regression), 1, /to be a number, but it is true/)
    await refuses(read('.csv', 'text,label\na,1e999\n', regression), 2, /to be a number/)
    const multi = { problemType: 'multi_label_classification' as const }
    await refuses(read('.csv', 'text,label\na,[1\n', multi), 2, /begins like a list, but is not valid JSON/)
    await refuses(read('.csv', 'text,label\na,"1,,2"\n', multi), 2, /but it is empty/)
    await refuses(read('.jsonl', '{"text":"a","label":[{}]}', multi), 1, /a name or a number, but it is an object/)
    const large = /to be a number of at most 9007199254740991, .* it is about \S+; write it as a string/
    await refuses(read('.jsonl', '{"text":"a","label":9007199254740993}'), 1, large)
    await refuses(read('.jsonl', '{"text":1e999,"label":1}'), 1, large)
  })

  it('takes true and false for names, and a number for a text', async () => {
    const rows = await read('.jsonl', '{"text":7,"label":true}\n{"text":-0.5,"label":false}')
    expect(rows.examples).toEqual([
      { text: '7', label: 'true', line: 1 },
      { text: '-0.5', label: 'false', line: 2 },
    ])
    expect(encodeLabels(rows, inferLabels(rows))).toEqual([1, 0])
  })

  it('refuses a row of flags for the labels that apply', async () => {
    const multi = { problemType: 'multi_label_classification' as const }
    const message =
      /"label" to be the labels that apply, each once, but found columns of 0 and 1: .*; .* e\.g\. \[0\], or their names, or/
    await refuses(read('.jsonl', '{"text":"a","label":[1,2]}\n{"text":"a","label":[1,0,0]}', multi), 2, message)
    await refuses(read('.csv', 'text,label\na,"0,0"\n', multi), 2, message)
    await refuses(read('.jsonl', '{"text":"a","label":[true,false,true]}', multi), 1, /columns of false and true/)
    const others = await read('.jsonl', '{"text":"a","label":[1,0]}\n{"text":"b","label":[0]}\n', multi)
    expect(others.examples.map(({ label }) => label)).toEqual([['1', '0'], ['0']])
    expect((await read('.csv', 'text,label\na,"x,x"\n', multi)).examples[0].label).toEqual(['x', 'x'])
    await refuses(read('.csv', 'text,label\na,"1.0,0.0,1.0"\n', multi), 2, message)
    await refuses(read('.jsonl', '{"text":"a","label":[true,false]}', multi), 1, /columns of false and true/)
    expect((await read('.jsonl', '{"text":"a","label":[true]}', multi)).examples[0].label).toEqual(['true'])
  })

  it.each(['1 0 1', '0;1', '1|0|0', '1  0'])('refuses %j for several labels', async (label) => {
    const multi = { problemType: 'multi_label_classification' as const }
    await refuses(
      read('.csv', `text,label\na,x\nb,${label}\n`, multi),
      3,
      /with commas between them, but found columns of 0 and 1: ".*"; write the places of those that apply, e\.g\. \[0\]/,
    )
    expect((await read('.csv', `text,label\nb,${label}\n`)).examples[0].label).toBe(label)
  })

  it('counts labels that may be several', async () => {
    const faultsOf = async (extension: string, content: string) => {
      const faults: string[] = []
      const problemType = 'multi_label_classification'
      await read(extension, content, { problemType, onFault: (what) => faults.push(what) })
      return faults
    }
    const fault = expect.stringMatching(/^labels have ";", "\|" or spaces between numbers in them .* are commas$/)
    expect(await faultsOf('.csv', 'text,label\na,x|y\nb,x;z\nc,3 15\nd,"u,v|w"\n')).toEqual([
      fault,
      fault,
      fault,
      fault,
    ])
    const names = 'text,label\na,"in the news,sport"\nb,New York\nc,top 10\nd,"1,0"\ne,\nf,7\n'
    expect(await faultsOf('.csv', names)).toEqual([])
    expect(await faultsOf('.jsonl', '{"text":"a","label":["x|y","1 0"]}\n{"text":"b","label":"[\\"x;y\\"]"}')).toEqual(
      [],
    )
  })
})

describe('labels', () => {
  it('are ordered by value, or else by name', () => {
    expect(sortLabels(['10', '9', '-1', '9'])).toEqual(['-1', '9', '10'])
    expect(sortLabels(['b', '10', '9', 'B'])).toEqual(['10', '9', 'B', 'b'])
  })

  it('of one class each', async () => {
    const examples = await read('.csv', 'text,label\na,2\nb,10\nc,2\n')
    const labels = inferLabels(examples)
    expect(labels).toEqual({ problemType: 'single_label_classification', names: ['2', '10'] })
    expect(encodeLabels(examples, labels)).toEqual([0, 1, 0])
    const named = await read('.csv', 'text,label\na,no\nb,yes\nc,constructor\nd,__proto__\n')
    expect(inferLabels(named).names).toEqual(['__proto__', 'constructor', 'no', 'yes'])
    expect(encodeLabels(named, inferLabels(named))).toEqual([2, 3, 1, 0])
  })

  it('may be ids of a model whose labels are not numbers', async () => {
    const examples = await read('.csv', 'text,label\na,1\nb,LABEL_0\n')
    const problemType = 'single_label_classification'
    expect(encodeLabels(examples, { problemType, names: ['LABEL_0', 'LABEL_1'] })).toEqual([1, 0])
    const unknown = async (names: string[]) => encodeLabels(examples, { problemType, names })
    await refuses(unknown(['LABEL_0', 'x', '7']), 2, /label "1" is not one of "LABEL_0", "x", "7"/)
    await refuses(unknown(['LABEL_0']), 2, /label "1" is not one of "LABEL_0"/)
    await refuses(unknown(['0', '1']), 3, /label "LABEL_0" is not one of "0", "1"/)
    const many = Array.from({ length: 77 }, (_, i) => `intent ${i + 100}`)
    const stranger = await read('.csv', 'text,label\na,intent\n')
    await refuses(
      (async () => encodeLabels(stranger, { problemType, names: many }))(),
      2,
      /"intent 109", \.\.\. \(77 in all\)/,
    )
  })

  it('of several classes', async () => {
    const text = 'text,label\na,"2,0"\nb,\nc,"[10]"\nd,"[""2"", 10]"\n'
    const examples = await read('.csv', text, { problemType: 'multi_label_classification' })
    const labels = inferLabels(examples)
    expect(labels.names).toEqual(['0', '2', '10'])
    expect(encodeLabels(examples, labels)).toEqual([
      [1, 1, 0],
      [0, 0, 0],
      [0, 0, 1],
      [0, 1, 1],
    ])
    const json =
      '{"text":"a","label":["joy","fear, great"]}\n{"text":"b","label":"joy , anger"}\n{"text":"c","label":[]}'
    const named = await read('.jsonl', json, { problemType: 'multi_label_classification' })
    expect(inferLabels(named).names).toEqual(['anger', 'fear, great', 'joy'])
    expect(encodeLabels(named, inferLabels(named))).toEqual([
      [0, 1, 1],
      [1, 0, 1],
      [0, 0, 0],
    ])
  })

  it('of several classes in lists as Python prints them', async () => {
    const text = `text,label\na,"['joy', 'it''s, so']"\nb,"[""it's, so""]"\nc,"[2, None]"\n`
    const multi = { problemType: 'multi_label_classification' as const }
    await refuses(read('.csv', text, multi), 2, /begins like a list, but is not valid JSON/)
    const printed = await read('.csv', `text,label\na,"['joy', ""it's, so""]"\nb,['joy']\nc,[]\nd," [ 'x' ] "\n`, multi)
    expect(printed.examples.map(({ label }) => label)).toEqual([['joy', "it's, so"], ['joy'], [], ['x']])
    await refuses(read('.csv', 'text,label\na,"[2, None]"\n', multi), 2, /a name or a number, but it is null/)
    await refuses(read('.csv', `text,label\na,"['0', '1', '0']"\n`, multi), 2, /found columns of 0 and 1/)
    const numbers = await read('.csv', 'text,label\na,"[1, 2.5]"\n', { problemType: 'regression' })
    expect(numbers.examples[0].label).toEqual([1, 2.5])
  })

  it('that are numbers', async () => {
    const one = await read('.csv', 'text,label\na,5.000\nb, -1e-1\n', { problemType: 'regression' })
    expect(inferLabels(one)).toEqual({ problemType: 'regression', names: ['LABEL_0'] })
    expect(encodeLabels(one, inferLabels(one))).toEqual([5, -0.1])
    const two = await read('.jsonl', '{"text":"a","label":[1,2.5]}\n{"text":"b","label":"3,4"}', {
      problemType: 'regression',
    })
    expect(inferLabels(two).names.length).toBe(2)
    expect(encodeLabels(two, inferLabels(two))).toEqual([
      [1, 2.5],
      [3, 4],
    ])
    const ragged = await read('.csv', 'text,label\na,"1,2"\nb,3\n', { problemType: 'regression' })
    await refuses(
      (async () => encodeLabels(ragged, inferLabels(ragged)))(),
      3,
      /expected 2 numbers as the label, but found 1/,
    )
  })

  it('of two columns of flags are refused when every row has both', async () => {
    const multi = { problemType: 'multi_label_classification' as const }
    const message = /every row has both 0 and 1, or false and true, as two columns would; write the places/
    for (const [one, other] of [
      ['"[1,0]"', '"[0,1]"'],
      ['"0,1"', '"1,0"'],
      ['"false,true"', '"false,true"'],
      ['"1.0,0.0"', '"0.0,1.0"'],
    ]) {
      const flags = await read('.csv', `text,label\na,${one}\nb,${other}\nc,${one}\n`, multi)
      await refuses((async () => inferLabels(flags))(), undefined, message)
    }
    const others = await read('.csv', 'text,label\na,"1,0"\nb,"0"\nc,"0,1"\n', multi)
    expect(inferLabels(others).names).toEqual(['0', '1'])
  })

  it('that are the same number are one label', async () => {
    const twice = await read('.csv', 'text,label\na,1.0\nb,0.0\nc,1\n')
    const message = /expected each label to be written in one way, but "1" here is the same number as "1\.0" before/
    await refuses((async () => inferLabels(twice))(), 4, message)
    const multi = await read('.csv', 'text,label\na,"2,x"\nb,"x,02"\n', { problemType: 'multi_label_classification' })
    await refuses((async () => inferLabels(multi))(), 3, /"02" here is the same number as "2" before/)
    const set = { problemType: 'single_label_classification' as const, names: ['0', '1'] }
    expect(encodeLabels(twice, set)).toEqual([1, 0, 1])
    expect(encodeLabels(twice, { ...set, names: ['1.00', '0'] })).toEqual([0, 1, 0])
    expect(encodeLabels(twice, { ...set, names: ['no', 'yes'] })).toEqual([1, 0, 1])
    // as a model may have learnt them before
    expect(encodeLabels(twice, { ...set, names: ['0.0', '1', '1.0'] })).toEqual([2, 0, 1])
    const other = await read('.csv', 'text,label\na,1.50\n')
    await refuses((async () => encodeLabels(other, set))(), 2, /label "1.50" is not one of "0", "1"/)
    expect(inLabelOrder({ ...set, names: ['0.0', '1.0'] }, ['1', '0']).names).toEqual(['1', '0'])
  })

  it.each([
    [['1', '1.0', '01', '+1', '1.', '1.00'], '1'],
    [['0', '-0', '0.0', '.0', '00'], '0'],
    [['-2.5', '-02.50'], '-2.5'],
    [['90071992547409931', '90071992547409931.0'], '90071992547409931'],
  ])('%j are one number', (names, key) => {
    expect(names.map(labelKey)).toEqual(names.map(() => key))
  })

  it.each(['90071992547409930', '1e1', '0x1', '1.2.3', '-', '.', 'a1', '1 0', ''])(
    '%j is a name of its own',
    (name) => {
      expect(labelKey(name)).toBe(name)
    },
  )

  it('must be two at least, and read', async () => {
    const same = await read('.csv', 'text,label\na,x\nb,x\n')
    await refuses((async () => inferLabels(same))(), undefined, /at least two different labels, but found only "x"/)
    const unread = await read('.csv', 'text,label\na,x\nb,y\n', { labels: 'ignored' })
    await refuses((async () => inferLabels(unread))(), undefined, /at least two different labels, but found none/)
    const set = { problemType: 'single_label_classification' as const, names: ['x', 'y'] }
    await refuses((async () => encodeLabels(unread, set))(), 2, /labels were not read/)
    const wrong = { ...(await read('.csv', 'text,label\na,"x,y"\n', { problemType: 'multi_label_classification' })) }
    await refuses((async () => encodeLabels(wrong, set))(), 2, /expected one label, but found 2/)
  })
})

describe(`real data${needsReference}`, () => {
  const data = join(reference ?? '', 'data')
  const read = (name: string, options?: ClassificationOptions) => readClassificationExamples(join(data, name), options)

  it.skipIf(!reference)('banking77: 77 names', async () => {
    const examples = await read('banking77/train.csv', { labelColumn: 'category' })
    const labels = inferLabels(examples)
    expect([examples.examples.length, labels.names.length, examples.hasPairs]).toEqual([10_003, 77, false])
    const test = await read('banking77/test.csv', { labelColumn: 'category' })
    expect(new Set(encodeLabels(test, labels)).size).toBe(77)
  })

  it.skipIf(!reference)('sst2, mrpc, stsb and goemotions', async () => {
    const sst2 = await read('sst2/train.tsv.gz', { textColumn: 'sentence' })
    const ids = encodeLabels(sst2, inferLabels(sst2))
    expect(ids.filter((id) => id === 1).length).toBe(37_569)
    const mrpc = await read('mrpc/msr_paraphrase_test.txt', {
      format: 'tsv',
      textColumn: '#1 String',
      textPairColumn: '#2 String',
      labelColumn: 'Quality',
    })
    expect([mrpc.examples.length, mrpc.hasPairs, inferLabels(mrpc).names]).toEqual([1725, true, ['0', '1']])
    const columns = ['_', '_', '_', '_', 'label', 'text', 'text_pair']
    const stsb = await read('stsb/sts-dev.csv', { format: 'tsv', columns, header: false, problemType: 'regression' })
    const scores = encodeLabels(stsb, inferLabels(stsb)).map(Number)
    expect([scores.length, Math.min(...scores), Math.max(...scores)]).toEqual([1500, 0, 5])
    const emotions = await read('goemotions/train.tsv.gz', {
      columns: ['text', 'label'],
      header: false,
      problemType: 'multi_label_classification',
    })
    const labels = inferLabels(emotions)
    expect(labels.names).toEqual(Array.from({ length: 28 }, (_, i) => String(i)))
    const several = encodeLabels(emotions, labels).filter((hot) => Array.isArray(hot) && hot.filter(Boolean).length > 1)
    expect(several.length).toBe(7102)
  })
})
