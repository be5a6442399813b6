// A server that embeds and classifies: POST /embed and POST /classify with { "text": "…" }. Texts that come while the model computes
// are computed together; one whose client has gone is not computed.
//   node examples/serve.mjs EMBEDDER CLASSIFIER [PORT]      two folders, or ids of the Hub
import http from 'node:http'
import { pipeline } from 'bertkit'

const [embedder, classifier, port = '8080'] = process.argv.slice(2)
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
      const batch = waiting.splice(0, MOST_TOGETHER).filter(({ signal }) => !signal.aborted)
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

const server = http.createServer(async (request, response) => {
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  const send = (status, body) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  try {
    if (request.method !== 'POST' || !Object.hasOwn(routes, request.url))
      throw new Refusal(404, 'There are POST /embed and POST /classify')
    send(200, await routes[request.url](await textOf(request), gone.signal))
  } catch (error) {
    if (!(error instanceof Refusal || gone.signal.aborted)) console.error(error)
    send(error.status ?? 500, { error: error instanceof Refusal ? error.message : 'The model could not answer' })
  }
})
server.listen(Number(port), () => console.log(`http://localhost:${server.address().port}`))

// what was accepted is answered, then the memory of the models is given back
process.once('SIGTERM', () =>
  server.close(() => {
    embed.dispose()
    classify.dispose()
  }),
)
