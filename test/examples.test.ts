// The programs of examples/ and README.md run as they are printed, on a real checkpoint.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import * as bertkit from '../src/index.ts'

const root = path.join(import.meta.dirname, '..')
const reference = process.env.BERTKIT_REFERENCE_DIR
const checkpoint = path.join(reference ?? '', 'data', 'weights', 'all-MiniLM-L6-v2')
const reason = reference === undefined ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''
const example = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: root })

// That its programs run, and where its links lead, test/docs says.
describe('README.md', () => {
  const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8')

  test('prints examples/first.mjs, ten lines of it', () => {
    const [, program] = /```js examples\/first\.mjs\n([\s\S]*?)```/.exec(readme) ?? []
    expect(program.split('\n').filter((line) => line !== '')).toHaveLength(10)
  })

  test('names commands that package.json has', () => {
    const { scripts } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
    const named = [...readme.matchAll(/\bnpm (?:run )?([\w:]+)/g)].map(([, name]) => name)
    expect(named).toContain('test')
    expect(named.filter((name) => name !== 'install' && scripts[name] === undefined)).toEqual([])
  })
})

/** The folder of a classifier that is loaded in no time. */
async function smallClassifier(): Promise<string> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-example-'))
  const vocabulary = await bertkit.BertTokenizer.fromPretrained(checkpoint)
  const small = { hiddenSize: 16, numHiddenLayers: 1, numAttentionHeads: 2, intermediateSize: 32 }
  const config = new bertkit.BertConfig({ ...small, vocabSize: vocabulary.vocabSize, numLabels: 3 })
  using model = new bertkit.BertForSequenceClassification(config)
  await model.savePretrained(folder)
  await vocabulary.savePretrained(folder)
  return folder
}

describe.skipIf(reference === undefined)(`examples/${reason}`, () => {
  test('first.mjs lowers the loss with every step but a few', async () => {
    const { stdout } = await example('examples/first.mjs', checkpoint)
    const losses = [...stdout.matchAll(/loss: ([\d.]+)/g)].map(([, loss]) => Number(loss))
    expect(losses).toHaveLength(10)
    expect(losses[9]).toBeLessThan(losses[0] / 2)
    expect(stdout).toContain('shape: [ 1, 2 ]')
  })

  test('training-loop.mjs makes its ten steps', async () => {
    const { stdout } = await example('examples/training-loop.mjs', checkpoint)
    expect(stdout.match(/\bstep: \d/g)).toHaveLength(10)
  })

  test('generate.mjs prints the greedy continuation, drawn tokens and two beams', async () => {
    const { stdout } = await example('examples/generate.mjs', checkpoint, 'the film')
    expect(stdout).toMatch(/^greedy: \S/)
    expect(stdout.match(/^drawn: /gm)?.length).toBeGreaterThan(0)
    expect(stdout.match(/^beam, score -?\d+\.\d{3}: \S/gm)).toHaveLength(2)
  })

  test('serve.mjs embeds and classifies, alone and together, refuses what is no text, and ends when it is told', async () => {
    const folder = await smallClassifier()
    const server = spawn(process.execPath, ['examples/serve.mjs', checkpoint, folder, '0'], { cwd: root })
    try {
      const ended = new Promise((resolve) => server.once('exit', resolve))
      const [line] = await once(server.stdout.setEncoding('utf8'), 'data')
      const post = (route: string, body: string, signal?: AbortSignal) =>
        fetch(`${line.trim()}/${route}`, { method: 'POST', body, signal })
      const answer = async (route: string, text: string) =>
        (await (await post(route, JSON.stringify({ text }))).json()) as { embedding: number[]; labels: object[] }
      const alone = await answer('embed', 'a text')
      expect(alone.embedding).toHaveLength(384)
      const gone = post('embed', JSON.stringify({ text: 'nobody waits' }), AbortSignal.timeout(1)).catch(() => 'gone')
      const together = await Promise.all(['one', 'a text', 'three'].map((text) => answer('embed', text)))
      expect(together[1]).toEqual(alone)
      expect((await answer('classify', 'a text')).labels).toHaveLength(3)
      expect((await post('embed', '{"text":1}')).status).toBe(400)
      expect((await post('embed', JSON.stringify({ text: 'x'.repeat(1e5) }))).status).toBe(413)
      expect((await post('nothing', '{}')).status).toBe(404)
      await gone
      server.kill('SIGTERM')
      expect(await ended).toBe(0)
    } finally {
      server.kill('SIGKILL')
      fs.rmSync(folder, { recursive: true })
    }
  })

  describe('serve.mjs, told to stop while clients keep connections alive', () => {
    let folder: string
    let server: ChildProcess
    let ended: Promise<unknown[]>
    let port: number
    const text = JSON.stringify({ text: 'a text' })
    const agent = new http.Agent({ keepAlive: true })

    beforeAll(async () => {
      folder = await smallClassifier()
    })
    afterAll(() => fs.rmSync(folder, { recursive: true }))
    beforeEach(async () => {
      const started = spawn(process.execPath, ['examples/serve.mjs', folder, folder, '0'], { cwd: root })
      server = started
      ended = once(started, 'exit')
      const [line] = await once(started.stdout.setEncoding('utf8'), 'data')
      port = Number(new URL(line.trim()).port)
    })
    afterEach(() => {
      server.kill('SIGKILL')
      agent.destroy()
    })

    /** A request that the server has accepted, and whose text is still to come. */
    async function begun(): Promise<{ request: http.ClientRequest; answer: Promise<http.IncomingMessage> }> {
      const headers = { expect: '100-continue', 'content-length': text.length }
      const request = http.request({ port, path: '/embed', method: 'POST', agent, headers })
      const answer = once(request, 'response').then(([response]) => response)
      answer.catch(() => {})
      request.flushHeaders()
      await once(request, 'continue')
      return { request, answer }
    }

    /** A connection that was answered and is kept. */
    async function kept(): Promise<net.Socket> {
      const { request, answer } = await begun()
      request.end(text)
      const response = await answer
      expect(response.headers.connection).toBe('keep-alive')
      const { socket } = response
      await response.resume().toArray()
      return socket
    }

    /** A connection on which `bytes` are sent, and no more. */
    async function silent(bytes: string): Promise<net.Socket> {
      const socket = net.connect(port).on('error', () => {})
      await once(socket, 'connect')
      socket.write(bytes)
      return socket
    }

    test.each(['SIGTERM', 'SIGINT'] as const)('by %s, it answers what it accepted, and ends', async (signal) => {
      const { request, answer } = await begun()
      const idle = await kept()
      await silent('')
      await silent('POST /embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{')
      const closed = once(idle, 'close')
      server.kill(signal)
      await closed
      await expect(fetch(`http://localhost:${port}/embed`, { method: 'POST', body: text })).rejects.toThrow()
      request.end(text)
      const response = await answer
      expect([response.statusCode, response.headers.connection]).toEqual([200, 'close'])
      expect(JSON.parse(Buffer.concat(await response.toArray()).toString()).embedding).toHaveLength(16)
      expect(await ended).toEqual([0, null])
    })

    test('by two signals, it ends without an answer', async () => {
      const { answer } = await begun()
      const closed = once(await kept(), 'close')
      server.kill('SIGINT')
      await closed
      server.kill('SIGINT')
      await expect(answer).rejects.toThrow('socket hang up')
      expect(await ended).toEqual([1, null])
    })
  })

  test.each([[], [checkpoint], [checkpoint, checkpoint, '70000'], [checkpoint, checkpoint, 'http']])(
    'serve.mjs says how it is used, and loads nothing: %j',
    async (...args) => {
      await expect(example('examples/serve.mjs', ...args)).rejects.toMatchObject({
        code: 2,
        stderr: 'usage: node examples/serve.mjs EMBEDDER CLASSIFIER [PORT], a port from 0 to 65535\n',
      })
    },
  )

  test('embed.mjs finds the sentences alike that are', async () => {
    const { stdout } = await example('examples/embed.mjs', checkpoint)
    const [alike, unlike] = [...stdout.matchAll(/^(-?\d\.\d\d) /gm)].map(([, cosine]) => Number(cosine))
    expect(alike).toBeGreaterThan(unlike + 0.3)
  })

  test('train-tags.mjs learns tags and finds names', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-example-'))
    const sentences = [
      'Ada Lovelace was born in London .',
      'Alan Turing worked in Manchester .',
      'Grace Hopper lived in Arlington .',
    ]
    const tags = [
      ['B-PER', 'I-PER', 'O', 'O', 'O', 'B-LOC', 'O'],
      ['B-PER', 'I-PER', 'O', 'O', 'B-LOC', 'O'],
      ['B-PER', 'I-PER', 'O', 'O', 'B-LOC', 'O'],
    ]
    const lines = sentences.map((sentence, i) =>
      sentence
        .split(' ')
        .map((word, k) => `${word}\t${tags[i][k]}\n`)
        .join(''),
    )
    const file = path.join(folder, 'tags.conll')
    fs.writeFileSync(file, Array.from({ length: 20 }, () => lines.join('\n')).join('\n'))
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [path.join(root, 'examples/train-tags.mjs'), checkpoint, file, file],
      { cwd: folder, env: { ...process.env, NODE_PATH: root } },
    )
    expect(stdout.match(/eval_f1/g)).toHaveLength(3)
    expect(stdout).toContain("entityGroup: 'PER'")
    fs.rmSync(folder, { recursive: true })
  })

  test('fill-mask.mjs learns the words that it hides', async () => {
    const { stdout } = await example('examples/fill-mask.mjs', checkpoint)
    expect(stdout.match(/^-?\d+\.\d\d \S+$/gm)).toHaveLength(3)
    expect(stdout).toMatch(/^-?\d+\.\d\d paris$/m)
  })

  test('pre-train.mjs lowers the loss', async () => {
    const { stdout } = await example('examples/pre-train.mjs', checkpoint)
    const losses = [...stdout.matchAll(/loss (\d+\.\d+)/g)].map(([, loss]) => Number(loss))
    expect(losses).toHaveLength(12)
    expect(losses[11]).toBeLessThan(losses[0] - 1)
  })

  test('causal-lm.mjs continues what it was trained on', async () => {
    const { stdout } = await example('examples/causal-lm.mjs', checkpoint)
    const losses = [...stdout.matchAll(/loss (\d+\.\d+)/g)].map(([, loss]) => Number(loss))
    expect(losses).toHaveLength(4)
    expect(losses[3]).toBeLessThan(losses[0] / 10)
    expect(stdout).toMatch(/^the quick brown fox jumps over the lazy dog$/m)
    expect(stdout).toMatch(/^a stitch in time saves nine$/m)
  })

  test('next-sentence.mjs tells pairs that follow from pairs that do not', async () => {
    const { stdout } = await example('examples/next-sentence.mjs', checkpoint)
    const follows = [...stdout.matchAll(/^(\d+) % /gm)].map(([, percent]) => Number(percent) > 50)
    expect(follows).toEqual([true, true, false, false])
  })

  test('multiple-choice.mjs chooses', async () => {
    const { stdout } = await example('examples/multiple-choice.mjs', checkpoint)
    expect(stdout).toMatch(/drank some water\n.*turned on the light\n$/)
  })

  test('token-classification.mjs finds the names', async () => {
    const { stdout } = await example('examples/token-classification.mjs', checkpoint)
    expect(stdout).toBe('angela PERSON\nwalked O\nthrough O\nberlin PLACE\n')
  })

  test('question-answering.mjs answers in words of the text', async () => {
    const { stdout } = await example('examples/question-answering.mjs', checkpoint)
    expect(stdout).toMatch(/built \? 1932\n.*bridge \? the city of sydney\n.*bridge \? grey\n$/)
  })

  test('there is one for every class, and a test for each', () => {
    const programs = fs.readdirSync(path.join(root, 'examples')).filter((name) => name.endsWith('.mjs'))
    const texts = programs.map((name) => fs.readFileSync(path.join(root, 'examples', name), 'utf8')).join()
    const classes = Object.keys(bertkit).filter((name) => /^Bert(Model|For.*|LMHeadModel)$/.test(name))
    expect(classes.filter((name) => !texts.includes(`${name}.fromPretrained`))).toEqual([])
    const tests = fs.readFileSync(import.meta.filename, 'utf8')
    expect(programs.filter((name) => !tests.includes(`examples/${name}'`))).toEqual([])
  })

  test('fine-tune.mjs writes a folder that evaluates', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-example-'))
    try {
      const { stdout } = await example('examples/fine-tune.mjs', checkpoint, folder)
      expect(stdout).toMatch(/^(positive|negative) \[/m)
      for (const file of ['config.json', 'model.safetensors', 'vocab.txt'])
        expect(fs.existsSync(path.join(folder, file)), file).toBe(true)
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })
})
