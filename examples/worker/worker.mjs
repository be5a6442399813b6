// A Cloudflare Worker: POST /classify and POST /embed with { "texts": ["…", …] }.
import { pipeline } from 'bertkit'
import binary from 'bertkit/wasm/bertkit-relaxed.wasm'

const MOST_TEXTS = 32
const MOST_CHARACTERS = 4000
/** Of each of two models: a worker has 128 MB. */
const MEMORY = 48 * 2 ** 20

class BadRequest extends Error {
  constructor(status, message, headers = {}) {
    super(message)
    this.status = status
    this.headers = headers
  }
}

/** A model's files: its URL, or what lies in the bucket below its name. Weights are streamed, so that they are never in memory twice. */
async function filesOf(name, { MODELS }) {
  if (URL.canParse(name)) return name
  const { objects } = await MODELS.list({ prefix: `${name}/` })
  const wanted = objects.filter(({ key }) => /\.(json|txt|safetensors)$/.test(key))
  if (wanted.length === 0) throw new Error(`The bucket has no model files below ${name}/`)
  const files = await Promise.all(
    wanted.map(async ({ key }) => {
      const object = await MODELS.get(key)
      return [key.slice(name.length + 1), key.endsWith('.safetensors') ? object.body : await object.text()]
    }),
  )
  return Object.fromEntries(files)
}

const opened = new Map()

/** A pipeline, opened once for all requests of this isolate. */
function open(task, name, env) {
  let opening = opened.get(task)
  if (!opening) {
    const options = { dtype: env.DTYPE, batchSize: 4, wasm: { binary, memoryLimit: MEMORY } }
    opening = filesOf(name, env).then((files) => pipeline(task, files, options))
    opened.set(task, opening)
    opening.catch(() => opened.delete(task)) // the next request tries again
  }
  return opening
}

const routes = {
  async '/classify'(texts, env) {
    const classify = await open('text-classification', env.CLASSIFIER, env)
    return { results: await classify(texts) }
  },
  async '/embed'(texts, env) {
    const embed = await open('feature-extraction', env.EMBEDDER, env)
    const tensors = await embed(texts)
    return { embeddings: tensors.map(({ data }) => [...data]) }
  },
}

async function textsOf(request) {
  let body
  try {
    body = await request.json()
  } catch {
    throw new BadRequest(400, 'Expected a body of JSON')
  }
  const texts = body?.texts
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === 'string'))
    throw new BadRequest(400, 'Expected texts to be a list of strings, as in { "texts": ["a text"] }')
  if (texts.length === 0 || texts.length > MOST_TEXTS)
    throw new BadRequest(400, `Expected 1 to ${MOST_TEXTS} texts but received ${texts.length}`)
  const long = texts.findIndex((text) => text.length > MOST_CHARACTERS)
  if (long >= 0)
    throw new BadRequest(
      413,
      `Expected texts of at most ${MOST_CHARACTERS} characters: text ${long} has ${texts[long].length}`,
    )
  return texts
}

async function answer(request, env) {
  try {
    const { pathname } = new URL(request.url)
    if (!Object.hasOwn(routes, pathname)) throw new BadRequest(404, `There are ${Object.keys(routes).join(' and ')}`)
    if (request.method !== 'POST') throw new BadRequest(405, `${pathname} takes POST`, { allow: 'POST' })
    return Response.json(await routes[pathname](await textsOf(request), env))
  } catch (error) {
    if (error instanceof BadRequest)
      return Response.json({ error: error.message }, { status: error.status, headers: error.headers })
    console.error(error)
    if (error.reason === 'memory')
      return Response.json(
        { error: 'This worker has no memory for so much text: send less at a time' },
        { status: 413 },
      )
    return Response.json({ error: 'The model could not answer' }, { status: 500 })
  }
}

export default {
  fetch(request, env, context) {
    const answering = answer(request, env)
    // models are shared by requests: one whose client goes away must not leave a model half loaded or a run half done
    context.waitUntil(answering)
    return answering
  },
}
