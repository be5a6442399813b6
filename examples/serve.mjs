// A server that embeds and classifies: POST /embed and POST /classify with { "text": "…" }. Texts that come while the model computes
// are computed together; one whose client has gone is not computed.
//   node examples/serve.mjs EMBEDDER CLASSIFIER [PORT]      two folders, or ids of the Hub
import { once } from 'node:events'
import http from 'node:http'
import { pipeline } from 'bertkit'

const [embedder, classifier, port = '8080'] = process.argv.slice(2)
if (classifier === undefined || !/^\d+$/.test(port) || Number(port) > 65535) {
  console.error('usage: node examples/serve.mjs EMBEDDER CLASSIFIER [PORT], a port from 0 to 65535')
  process.exit(2)
}
const MOST_TOGETHER = 32
const MOST_WAITING = 1000
const MOST_CHARACTERS = 20_000

class Refusal extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** A function of one text that hands `compute` lists: whatever has come while the list before was being computed. */
function batched(compute) {
  const waiting = []
  let busy = false
  async function work() {
    busy = true
    while (waiting.length > 0) {
      const next = waiting.splice(0, MOST_TOGETHER)
      for (const { signal, reject } of next) if (signal.aborted) reject(signal.reason)
      const batch = next.filter(({ signal }) => !signal.aborted)
      try {
        const outputs = await compute(batch.map(({ text }) => text))
        for (const [i, { resolve }] of batch.entries()) resolve(outputs[i])
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    busy = false
  }
  return (text, signal) =>
    new Promise((resolve, reject) => {
      if (waiting.length >= MOST_WAITING) throw new Refusal(503, 'Too many texts are waiting')
      waiting.push({ text, signal, resolve, reject })
      if (!busy) void work()
    })
}

const embed = await pipeline('feature-extraction', embedder, { dtype: 'int8', pooling: 'mean', normalize: true })
const classify = await pipeline('text-classification', classifier, { truncation: true, topK: null })
const routes = {
  '/embed': batched(async (texts) => (await embed(texts)).map(({ data }) => ({ embedding: [...data] }))),
  '/classify': batched(async (texts) => (await classify(texts)).map((labels) => ({ labels }))),
}

async function textOf(request) {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk
    if (body.length > MOST_CHARACTERS) throw new Refusal(413, `Expected at most ${MOST_CHARACTERS} characters`)
  }
  const parsed = await Promise.resolve(body)
    .then(JSON.parse)
    .catch(() => undefined)
  if (typeof parsed?.text !== 'string') throw new Refusal(400, 'Expected { "text": "…" }')
  return parsed.text
}

const unanswered = new Set()
let stopping = false

const server = http.createServer(async (request, response) => {
  unanswered.add(request)
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  const send = (status, body) => {
    if (stopping) response.setHeader('connection', 'close')
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  try {
    if (request.method !== 'POST' || !Object.hasOwn(routes, request.url))
      throw new Refusal(404, 'There are POST /embed and POST /classify')
    send(200, await routes[request.url](await textOf(request), gone.signal))
  } catch (error) {
    if (!(error instanceof Refusal || gone.signal.aborted)) console.error(error)
    send(error.status ?? 500, { error: error instanceof Refusal ? error.message : 'The model could not answer' })
  }
  if (!gone.signal.aborted) await once(gone.signal, 'abort')
  unanswered.delete(request)
  endIfAnswered()
})
server.listen(Number(port), () => console.log(`http://localhost:${server.address().port}`))

/** When it is stopping and nobody waits any more: closes what connections are left, and gives the memory of the models back. */
function endIfAnswered() {
  if (!stopping || unanswered.size > 0) return
  server.closeAllConnections()
  embed.dispose()
  classify.dispose()
}

/** What was accepted is answered; a request that is not whole after a second is not. A second signal waits for nothing. */
function stop() {
  if (stopping) process.exit(1)
  stopping = true
  server.close() // takes no more connections, and closes those that are kept alive without a request
  setTimeout(() => {
    for (const request of unanswered) if (!request.complete) request.destroy()
  }, 1000).unref()
  endIfAnswered()
}
process.on('SIGTERM', stop).on('SIGINT', stop)
