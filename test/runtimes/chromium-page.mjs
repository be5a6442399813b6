// What chromium.test.mjs asks of a page: each function runs there, and returns what the test judges.
import * as bertkit from '/dist/edge.js'
import { embed } from './program.mjs'
import { tinyCurve } from './tiny-curve.mjs'

const { AdamW, BertForSequenceClassification, BertModel } = bertkit
const MINILM = '/shared/data/weights/all-MiniLM-L6-v2/'
const fetchJson = async (url) => (await fetch(url)).json()

/** What a promise rejects with, as plain data; undefined when it does not. */
const failure = (promise) =>
  promise.then(
    () => undefined,
    ({ name, code, message }) => ({ name, code, message }),
  )

/** Sentence vectors of MiniLM: what `embed` says about them, and what computed them. */
export async function embeddings(options) {
  const golden = await fetchJson('/shared/golden/minilm/embeddings.json')
  return {
    ...(await embed(bertkit, MINILM, golden, options)),
    description: await bertkit.describeBackend(options),
    isolated: crossOriginIsolated,
  }
}

/** The loss curve of 20 steps of a tiny model. */
export const curve = (options) => tinyCurve(bertkit, options)

export async function describe(options) {
  return {
    description: await bertkit.describeBackend(options),
    isolated: crossOriginIsolated,
    processors: navigator.hardwareConcurrency,
  }
}

const observeLongTasks = (durations) => {
  const observer = new PerformanceObserver((list) => durations.push(...list.getEntries().map((task) => task.duration)))
  observer.observe({ type: 'longtask' })
  return observer
}

/** A page is told of long tasks some time after them. */
const told = () => new Promise((resolve) => setTimeout(resolve, 200))

/** Durations of tasks of more than 50 ms while MiniLM trains, and that the observer sees the one made on purpose afterwards. */
export async function longTasks({ steps, ...options }) {
  const golden = await fetchJson('/shared/golden/minilm/curve.json')
  const model = await BertForSequenceClassification.fromPretrained(MINILM, { ...options, numLabels: 2 })
  const optimizer = new AdamW(model.train(), { lr: 5e-5 })
  const batch = (s) => ({
    inputIds: golden.input_ids.slice(16 * s, 16 * s + 16),
    labels: golden.labels.slice(16 * s, 16 * s + 16),
  })
  const training = []
  const observer = observeLongTasks(training)
  const losses = []
  for (let s = 0; s < steps; s++) losses.push((await optimizer.step(batch(s), { maxGradNorm: 1 })).loss)
  await told()
  observer.disconnect()
  model.dispose()
  const made = []
  const control = observeLongTasks(made)
  await new Promise((resolve) =>
    setTimeout(() => {
      for (const end = performance.now() + 80; performance.now() < end; );
      resolve()
    }),
  )
  await told()
  control.disconnect()
  return { training, made, losses }
}

/** A step that is aborted on its way: the error, and whether any weight is another than before. */
export async function abort(options) {
  const golden = await fetchJson('/shared/golden/minilm/curve.json')
  const model = await BertForSequenceClassification.fromPretrained(MINILM, { ...options, numLabels: 2 })
  const optimizer = new AdamW(model.train(), { lr: 1e-2 })
  const batch = { inputIds: golden.input_ids.slice(0, 16), labels: golden.labels.slice(0, 16) }
  await optimizer.step(batch) // records its plan, which takes a while
  const before = await model.stateDict()
  const changed = async () => {
    const after = await model.stateDict()
    return [...before.keys()].filter((name) => {
      const { data } = after.get(name)
      return before.get(name).data.some((value, i) => value !== data[i])
    }).length
  }
  const controller = new AbortController()
  const step = failure(optimizer.step(batch, { signal: controller.signal }))
  await new Promise((resolve) => setTimeout(resolve, 60)) // the run has begun
  controller.abort()
  const result = {
    during: await step,
    before: await failure(optimizer.step(batch, { signal: controller.signal })),
    changedByAborted: await changed(),
  }
  await optimizer.step(batch)
  const changedByStep = await changed()
  model.dispose()
  return { ...result, changedByStep, tensors: before.size }
}

/** What opening a tiny model, or running it, fails with. */
export const tinyFailure = (options) => failure(tinyCurve(bertkit, options))

/** What loading MiniLM fails with, and whether the page can go on. */
export async function loadFailure(options) {
  const error = await failure(BertModel.fromPretrained(MINILM, options))
  const losses = await tinyCurve(bertkit, {})
  return { error, losses }
}
