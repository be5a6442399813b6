// What tasks make of rows beside what their readers and their metrics do.
import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { ArgumentError, DataError } from '../../src/errors.ts'
import type { TaskModel } from '../../src/train/tasks/task.ts'
import { readTaskData } from '../../src/train/tasks/task-data.ts'
import { createTask } from '../../src/train/tasks/tasks.ts'
import { listOf, put } from '../data/reading.ts'

const WORDS = ['New', 'York', 'in', 'May']
const tokenizer = BertTokenizer.fromVocab(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...WORDS], {
  doLowerCase: false,
})

describe('token classification', () => {
  test('a word that the tokenizer drops is outside, and ends no entity', async () => {
    const labels = ['B-LOC', 'I-LOC', 'O']
    const tagOf: Record<string, string> = { New: 'B-LOC', York: 'I-LOC' }
    /** Says of each token what `tagOf` does. */
    const model = {
      config: { labels },
      async forward({ inputIds }: { inputIds: number[][] }) {
        const tokens = tokenizer.convertIdsToTokens(inputIds.flat())
        const rows = tokens.map((token) => labels.map((label) => (label === (tagOf[token] ?? 'O') ? 9 : 0)))
        return { logits: { data: Float32Array.from(rows.flat()), shape: [tokens.length, labels.length] } }
      },
    } as unknown as TaskModel
    const sentences = [
      ['in', 'New', '\u200b', 'York', '\u00ad', 'in'],
      ['\u00ad', 'New', 'in', '\u200b', 'York'],
    ]
    const rows = sentences.map((tokens, i) => ({ tokens, line: i + 1 }))
    const predicted = await createTask('token-classification').predict?.(model, rows, { tokenizer, maxLength: 16 })
    expect(predicted).toMatchObject([
      {
        tokens: sentences[0],
        tags: ['O', 'B-LOC', 'O', 'I-LOC', 'O', 'O'],
        entities: [{ type: 'LOC', text: 'New \u200b York', start: 3, end: 13 }],
      },
      { tags: ['O', 'B-LOC', 'O', 'O', 'I-LOC'], entities: [{ text: 'New' }, { text: 'York' }] },
    ])
  })

  test('a long text goes through the model a few windows at a time, and every word gets its own scores', async () => {
    const labels = ['New', 'York', 'in', 'May']
    const batches: number[] = []
    /** Of each token, its own word; how sure it is tells the place of the window. */
    const model = {
      config: { labels },
      async forward({ inputIds }: { inputIds: number[][] }) {
        const first = batches.reduce((sum, size) => sum + size, 0)
        batches.push(inputIds.length)
        const rows = inputIds.flatMap((ids, window) =>
          tokenizer
            .convertIdsToTokens(ids)
            .map((token) => labels.map((label) => (label === token ? first + window + 3 : 0))),
        )
        return { logits: { data: Float32Array.from(rows.flat()), shape: [rows.length, labels.length] } }
      },
    } as unknown as TaskModel
    const sentences = [['May'], Array.from({ length: 101 }, (_, i) => WORDS[(i * i) % 4]), ['New', 'York']]
    const rows = sentences.map((tokens, i) => ({ tokens, line: i + 1 }))
    const predict = createTask('token-classification').predict
    const predicted = await predict?.(model, rows, { tokenizer, maxLength: 6 })
    expect(predicted).toMatchObject(sentences.map((tokens) => ({ tokens, tags: tokens })))
    // [CLS] four words [SEP], of which neighbouring windows share one
    expect(batches).toEqual([16, 16, 4])
    // a batch of rows is still one of the model
    batches.length = 0
    await predict?.(model, Array(20).fill(rows[0]), { tokenizer, maxLength: 6 })
    expect(batches).toEqual([20])
  })

  test.each(['train', 'evaluate'] as const)('counts the sentences that are cut to %s', async (purpose) => {
    const file = await put('.conll', 'New B\nYork I\n\nin O\nMay O\nNew B\n\nin O\n')
    const data = await readTaskData('token-classification', file, { purpose })
    expect(data.faults.size).toBe(0)
    await data.encode(tokenizer, { maxLength: 4 })
    const cut = (length: number) =>
      `sentences are longer than ${length} tokens; words beyond are neither learnt nor scored`
    expect([...data.faults]).toEqual([[cut(4), 1]])
    await data.encode(tokenizer, { maxLength: 3 })
    expect([...data.faults]).toEqual([[cut(3), 2]])
    await data.encode(tokenizer, { maxLength: 5 })
    expect(data.faults.size).toBe(0)
  })

  test('takes integers for the ids of a model whose tags have names, as sequence classification does', async () => {
    const rows = (tags: (number | string)[]) => JSON.stringify({ tokens: ['New', 'York', 'in'], ner_tags: tags })
    const names = ['O', 'B-LOC', 'I-LOC']
    const encoded = async (content: string, labels = names) => {
      const settings = {
        purpose: 'evaluate',
        labels: { names: labels, problemType: 'single_label_classification' },
      } as const
      const data = await readTaskData('token-classification', await put('.jsonl', content), settings)
      return (await data.encode(tokenizer, { maxLength: 8 })).data
    }
    const expected = [{ labels: [-100, 1, 2, 0, -100] }]
    expect(await encoded(rows([1, 2, 0]))).toMatchObject(expected)
    expect(await encoded(rows(['B-LOC', '2', 'O']))).toMatchObject(expected)
    await expect(encoded(rows([1, 3, 0]))).rejects.toThrow(/:1: the tag "3" of this sentence is not one of the model's/)
    // to a model whose tags are numbers they are names
    expect(await encoded(rows([1, 2, 0]), ['2', '1', '0'])).toMatchObject([{ labels: [-100, 1, 0, 2, -100] }])
    await expect(encoded(rows([1, 2, 0]), ['O', 'B-LOC', '7'])).rejects.toThrow(/the tag "1"/)
  })

  test.each([
    ['B-LOC I-LOC O O', 'f1'],
    ['S_LOC O O O', 'f1'],
    ['B I O O', 'f1'],
    ['B-LOC L-LOC U-LOC O', 'f1'],
    ['PROPN PROPN ADP SYM', 'accuracy'],
    ['NOUN B O X', 'accuracy'],
    ['1 2 0 0', 'accuracy'],
  ])('of the tags %s the best model is that of %s', async (tags, metric) => {
    const words = tags.split(' ').map((tag, i) => `${WORDS[i]} ${tag}`)
    const data = await readTaskData('token-classification', await put('.conll', words.join('\n')))
    expect(data.bestMetric).toBe(metric)
    expect(data.task.bestMetric).toBe('f1')
  })
})

describe('a column for each label', () => {
  const table = 'text,loud,calm,far\nNew,1,0,0\nYork,0,1,0\nin,1,1,0\n'

  test('is several labels to learn, to evaluate, and to predict', async () => {
    const file = await put('.csv', table)
    const data = await readTaskData('sequence-classification', file, { labelColumn: 'loud,calm,far' })
    const problemType = 'multi_label_classification' as const
    expect(data.labels).toEqual({ names: ['calm', 'far', 'loud'], problemType })
    expect(data.modelFields).toEqual({ numLabels: 3, id2label: { 0: 'calm', 1: 'far', 2: 'loud' }, problemType })
    expect([data.bestMetric, data.task.bestMetric]).toEqual(['f1_micro', 'f1_micro'])
    expect(data.task.metrics).toEqual(['f1_micro', 'f1_macro', 'accuracy'])
    const rows = [{ labels: [0, 0, 1] }, { labels: [1, 0, 0] }, { labels: [1, 0, 1] }]
    expect((await data.encode(tokenizer)).data).toMatchObject(rows)
    // in the order of the model
    const names = ['loud', 'far', 'calm']
    const settings = { purpose: 'evaluate', labelColumn: ['calm', 'loud', 'far'] } as const
    const test = await readTaskData('sequence-classification', file, { ...settings, labels: { names, problemType } })
    expect((await test.encode(tokenizer)).data).toMatchObject([
      { labels: [1, 0, 0] },
      { labels: [0, 0, 1] },
      { labels: [1, 0, 1] },
    ])
    const streamed = await readTaskData('sequence-classification', file, {
      labelColumn: 'loud,calm,far',
      streamed: true,
    })
    expect(streamed.labels).toEqual(data.labels)
    const inputs = createTask('sequence-classification').rows(file, { labelColumn: 'loud,calm,far' }, 'predict')
    expect(await listOf(inputs)).toMatchObject([{ text: 'New', line: 2 }, { text: 'York' }, { text: 'in' }])
  })

  test('is several numbers with regression', async () => {
    const file = await put('.csv', table)
    const settings = { labelColumn: 'loud,calm', problemType: 'regression' } as const
    const data = await readTaskData('sequence-classification', file, settings)
    expect(data.modelFields).toEqual({ numLabels: 2, id2label: { 0: 'loud', 1: 'calm' }, problemType: 'regression' })
    expect((await data.encode(tokenizer)).data).toMatchObject([
      { labels: [1, 0] },
      { labels: [0, 1] },
      { labels: [1, 1] },
    ])
    // labels of a model say what a label is, and in which order
    const evaluate = { labels: data.labels, purpose: 'evaluate', labelColumn: 'calm,loud' } as const
    const test = await readTaskData('sequence-classification', file, evaluate)
    expect((await test.encode(tokenizer)).data).toMatchObject([{ labels: [1, 0] }, { labels: [0, 1] }, {}])
  })

  test('may be one column of that name, whose labels are names', async () => {
    const file = await put('.csv', 'text,"a,b"\nNew,x\nin,y\n')
    const data = await readTaskData('sequence-classification', file, { labelColumn: 'a,b' })
    expect(data.labels).toEqual({ names: ['x', 'y'], problemType: 'single_label_classification' })
    expect(data.bestMetric).toBe('accuracy')
  })

  test.each(['token-classification', 'question-answering', 'multiple-choice', 'next-sentence'] as const)(
    'is nothing to %s',
    async (task) => {
      const reading = readTaskData(task, await put('.jsonl', '{}'), { labelColumn: ['a', 'b'] })
      await expect(reading).rejects.toThrow(ArgumentError)
      await expect(reading).rejects.toThrow(
        /^Expected labelColumn to be one name but received \["a","b"\]; several are/,
      )
    },
  )
})

test('multiple choice: a question alone is read once, to learn, to evaluate and to predict', async () => {
  const file = await put('.csv', 'question,choice0,choice1,label\nNew York,in,May,1\n')
  const ids = ['in', 'May'].map((choice) => tokenizer.encode('New York', choice).inputIds)
  for (const textColumn of [undefined, 'question'])
    for (const purpose of ['train', 'evaluate'] as const) {
      const data = await readTaskData('multiple-choice', file, { purpose, textColumn })
      expect((await data.encode(tokenizer)).data).toMatchObject([{ inputIds: ids, labels: 1 }])
    }
  const inputs = createTask('multiple-choice').rows(file, { textColumn: 'question' }, 'predict')
  expect(await listOf(inputs)).toEqual([{ context: 'New York', choices: ['in', 'May'], line: 2 }])
})

describe('question answering', () => {
  test('counts the questions that share an id, and evaluates each', async () => {
    const context = 'in May'
    const row = { id: 'a', question: 'York', context, answers: [{ text: 'May', answer_start: 3 }] }
    const file = await put('.jsonl', [row, { ...row, question: 'New' }].map((each) => JSON.stringify(each)).join('\n'))
    const data = await readTaskData('question-answering', file, { purpose: 'evaluate' })
    expect([...data.faults]).toEqual([['questions share an id with another', 1]])
    expect((await data.encode(tokenizer, { maxLength: 16 })).data).toHaveLength(2)
  })
})

test('question answering: a long context goes through the model a few windows at a time', async () => {
  const batches: number[] = []
  /** Points to the word May. */
  const model = {
    async forward({ inputIds, tokenTypeIds }: { inputIds: number[][]; tokenTypeIds: number[][] }) {
      batches.push(inputIds.length)
      expect(tokenTypeIds.map(({ length }) => length)).toEqual(inputIds.map(({ length }) => length))
      const tokens = tokenizer.convertIdsToTokens(inputIds.flat())
      const scores = { data: Float32Array.from(tokens, (token) => (token === 'May' ? 9 : 0)), shape: [tokens.length] }
      return { startLogits: scores, endLogits: scores }
    },
  } as unknown as TaskModel
  const context = `${'in '.repeat(60)}May ${'in '.repeat(20)}`
  const rows = [{ id: 'a', question: 'York', context, line: 1 }]
  const task = createTask('question-answering', { docStride: 0 })
  expect(await task.predict?.(model, rows, { tokenizer, maxLength: 8 })).toMatchObject([
    { id: 'a', answer: 'May', start: 180, end: 183 },
  ])
  expect(batches).toEqual([16, 5])
})

test('causal-lm refuses a model that cannot go on, rather than to predict nothing', async () => {
  const rows = [{ text: 'in', line: 1, document: 1 }]
  const predicting = createTask('causal-lm').predict?.({} as TaskModel, rows, { tokenizer, maxLength: 8 })
  await expect(predicting).rejects.toThrow('Expected a BertLMHeadModel but received a Object')
})

describe('the labels of a model that is trained on', () => {
  const file = (ending: string): Promise<string> =>
    put(ending, ending === '.csv' ? 'text,label\nNew,b\nYork,c\nin,a\n' : 'New b\nYork c\nin a\n')
  test.each([
    ['sequence-classification', '.csv'],
    ['token-classification', '.conll'],
  ] as const)('%s takes their order where the data has the same ones', async (task, ending) => {
    const read = async (labelOrder?: string[]) => (await readTaskData(task, await file(ending), { labelOrder })).labels
    expect((await read())?.names).toEqual(['a', 'b', 'c'])
    expect((await read(['c', 'a', 'b']))?.names).toEqual(['c', 'a', 'b'])
    for (const other of [['c', 'a', 'd'], ['c', 'a'], ['c', 'a', 'b', 'd'], ['c', 'a', 'b', 'b'], ['c', 'a', 'a'], []])
      expect((await read(other))?.names).toEqual(['a', 'b', 'c'])
  })

  test('become the ids of the examples and the names of the new config', async () => {
    const data = await readTaskData('sequence-classification', await file('.csv'), { labelOrder: ['c', 'a', 'b'] })
    expect(data.modelFields).toMatchObject({ numLabels: 3, id2label: { 0: 'c', 1: 'a', 2: 'b' } })
    expect(await data.encode(tokenizer)).toMatchObject({ data: [{ labels: 2 }, { labels: 0 }, { labels: 1 }] })
  })

  test('are a list of names', async () => {
    const reading = readTaskData('sequence-classification', await file('.csv'), { labelOrder: { 0: 'a' } as never })
    await expect(reading).rejects.toThrow('Expected labelOrder to be a list of names but received an object')
  })
})

describe('two columns of flags', () => {
  const evaluated = async (content: string, names = ['calm', 'loud']) => {
    const labels = { names, problemType: 'multi_label_classification' } as const
    const settings = { labels, problemType: labels.problemType, purpose: 'evaluate' } as const
    const data = await readTaskData('sequence-classification', await put('.csv', content), settings)
    return (await data.encode(tokenizer)).data
  }

  test('are no ids of a model of two labels', async () => {
    await expect(evaluated('text,label\nNew,"1,0"\nin,"0,1"\n')).rejects.toThrow(/every row has both 0 and 1/)
    await expect(evaluated('text,label\nNew,"1,0"\nin,"0,1"\n')).rejects.toThrow(DataError)
  })

  test('may be ids where they stand in their order, or are of more labels', async () => {
    expect(await evaluated('text,label\nNew,"0,1"\n')).toMatchObject([{ labels: [1, 1] }])
    expect(await evaluated('text,label\nNew,"1,0"\nin,1\n')).toMatchObject([{ labels: [1, 1] }, { labels: [0, 1] }])
    expect(await evaluated('text,label\nNew,"1,0"\n', ['a', 'b', 'c'])).toMatchObject([{ labels: [1, 1, 0] }])
  })
})

describe('streamed data', () => {
  test.skipIf(process.platform === 'win32')('is no pipe, which can be read once', async () => {
    const pipe = (await put('.csv', '')).replace('.csv', '.pipe.csv')
    execFileSync('mkfifo', [pipe])
    const reading = readTaskData('sequence-classification', pipe, { streamed: true })
    await expect(reading).rejects.toThrow(DataError)
    await expect(reading).rejects.toThrow(
      `${pipe}: expected a file on disk, because streamed data (--streaming) is read anew in every epoch, but it is a pipe or a device`,
    )
  })

  test('is no folder, nor what is not there', async () => {
    const folder = (await put('.csv', '')).replace(/[^/\\]*$/, '')
    const reading = (file: string) => readTaskData('masked-lm', file, { streamed: true, uncounted: true })
    await expect(reading(folder)).rejects.toThrow(`Cannot read ${folder}: it is a folder, not a file`)
    await expect(reading(`${folder}none.txt`)).rejects.toThrow('no such file')
  })
})

describe('several files', () => {
  test.each([
    [
      'sequence-classification',
      '.csv',
      'text,label\nNew,a\nin,b\n',
      'text,label\nMay,c\n',
      2,
      /label "c" is not one of/,
    ],
    ['token-classification', '.conll', 'New a\nin b\n', '\nMay c\n', 2, /the tag "c"/],
    ['next-sentence', '.txt', 'New\nYork\n', '{"text":"in","text_pair":"May","label":0}\n', 1, /files of one kind/],
  ] as const)('a fault of %s is where it is', async (task, ending, first, second, line, message) => {
    const names = ['a', 'b']
    const labels = { names, problemType: 'single_label_classification' } as const
    const files = [await put(ending, first), await put(task === 'next-sentence' ? '.jsonl' : ending, second)]
    const failing = readTaskData(task, files, { labels, purpose: 'evaluate' }).then((data) => data.encode(tokenizer))
    await expect(failing).rejects.toThrow(message)
    await expect(failing).rejects.toMatchObject({ file: files[1], line })
  })
})
