// The page: what a person does, and what is shown. The work is in classifier.mjs.
import { AbortedError } from '../../dist/edge.js'
import { Chart } from './chart.mjs'
import { Classifier } from './classifier.mjs'
import { readCsv } from './examples.mjs'
import { Zip } from './zip.mjs'

const at = (id) => document.getElementById(id)
/** More examples than this are counted, and not listed. */
const MOST_SHOWN = 200

const chart = new Chart(at('chart'))
let examples = []
/** Files of a folder that was chosen, by name. */
let folder
let classifier
let controller

const say = (id, text) => {
  at(id).textContent = text
}
const plural = (count, one) => `${count.toLocaleString('en')} ${one}${count === 1 ? '' : 's'}`

/** Runs what a person asked for; what it throws is shown in the place for it. */
async function attempt(place, action) {
  say(place, '')
  try {
    await action()
  } catch (error) {
    say(place, error.message)
  }
}

// Examples

const labelsOf = (list) => [...new Set(list.map(({ label }) => label))].sort()

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}

function itemOf(example) {
  const remove = element('button', { type: 'button', textContent: '×' })
  remove.setAttribute('aria-label', `Remove: ${example.text}`)
  remove.addEventListener('click', () => {
    examples = examples.filter((each) => each !== example)
    showExamples()
    at(examples.length > 0 ? 'examples' : 'text').focus() // the button that had it is gone
  })
  const text = element('span', { textContent: example.text })
  return element('li', {}, element('b', { textContent: example.label }), text, remove)
}

function showExamples() {
  const labels = labelsOf(examples)
  const list = at('examples')
  const newest = examples.slice(-MOST_SHOWN).reverse()
  list.replaceChildren(...newest.map(itemOf))
  list.hidden = at('clear').hidden = examples.length === 0
  at('labels').replaceChildren(...labels.map((value) => element('option', { value })))
  const counts = labels
    .slice(0, 12)
    .map((label) => `${label}: ${examples.filter((each) => each.label === label).length}`)
  const more = labels.length > 12 ? ' …' : ''
  const hidden = examples.length > MOST_SHOWN ? ` The newest ${MOST_SHOWN} are listed.` : ''
  const missing = labels.length < 2 ? ' At least two labels are needed.' : ''
  say(
    'count',
    examples.length === 0
      ? 'No examples yet: at least two labels are needed.'
      : `${plural(examples.length, 'example')} (${counts.join(', ')}${more}).${missing}${hidden}`,
  )
}

function addExamples(added) {
  examples = [...examples, ...added]
  showExamples()
}

at('add').addEventListener('submit', (event) => {
  event.preventDefault()
  const [text, label] = ['text', 'label'].map((id) => at(id).value.trim())
  if (!text || !label) return say('examples-error', 'An example needs a text and a label.')
  say('examples-error', '')
  addExamples([{ text, label }])
  at('text').value = ''
  at('text').focus()
})
// Enter adds; a new line needs Shift
at('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  if (at('label').value) at('add').requestSubmit()
  else at('label').focus()
})
const addFile = (file) => attempt('examples-error', async () => addExamples(await readCsv(file)))
at('csv').addEventListener('change', async ({ target }) => {
  if (target.files.length > 0) await addFile(target.files[0])
  target.value = '' // the same file may be chosen again, mended
})
at('sample').addEventListener('click', () =>
  attempt('examples-error', async () => {
    const response = await fetch('sample.csv')
    if (!response.ok) throw new Error(`sample.csv could not be fetched: ${response.status}`)
    addExamples(await readCsv(new File([await response.blob()], 'sample.csv')))
  }),
)
at('clear').addEventListener('click', () => {
  examples = []
  showExamples()
  at('text').focus()
})

/** Lets something be dropped on an element. */
function droppable(id, take) {
  const place = at(id)
  const over = (event, isOver) => {
    event.preventDefault()
    place.classList.toggle('over', isOver)
  }
  place.addEventListener('dragover', (event) => over(event, true))
  place.addEventListener('dragleave', (event) => over(event, false))
  place.addEventListener('drop', (event) => {
    over(event, false)
    take(event.dataTransfer)
  })
}
droppable('csv-drop', ({ files }) => files.length > 0 && addFile(files[0]))

// The model

for (const radio of document.querySelectorAll('[name=source]'))
  radio.addEventListener('change', () => {
    at('pretrained').hidden = radio.value === 'new'
  })

/** `files` with their paths from the folder on; those of folders within are not needed. */
function takeFolder(name, files) {
  folder = Object.fromEntries(files)
  const needed = ['config.json', 'model.safetensors'].filter((file) => !folder[file])
  say(
    'folder-name',
    needed.length > 0
      ? `${name} has no ${needed.join(' and no ')}: is it the folder of a model?`
      : `${name}: ${plural(files.length, 'file')}`,
  )
  if (needed.length > 0) folder = undefined
  else at('address').value = ''
}
at('folder').addEventListener('change', ({ target }) => {
  const files = [...target.files].map((file) => [file.webkitRelativePath.split('/').slice(1).join('/'), file])
  const inside = files.filter(([path]) => !path.includes('/'))
  if (files.length > 0) takeFolder(target.files[0].webkitRelativePath.split('/')[0], inside)
})
at('address').addEventListener('input', () => {
  folder = undefined
  say('folder-name', '')
})
droppable('folder-drop', (data) =>
  attempt('training-error', async () => {
    const entry = data.items[0]?.webkitGetAsEntry()
    if (!entry?.isDirectory) throw new Error('That is a file: drop the whole folder of a model.')
    const reader = entry.createReader()
    const entries = []
    // a reader gives some at a time, and none at the end
    for (let some; some?.length !== 0; entries.push(...some))
      some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))
    const read = (each) => new Promise((resolve, reject) => each.file((file) => resolve([each.name, file]), reject))
    takeFolder(entry.name, await Promise.all(entries.filter((each) => each.isFile).map(read)))
  }),
)

/** A number that was typed, within its bounds; `fallback` where none was. */
function setting(id, fallback) {
  const input = at(id)
  const name = input.labels[0].textContent.trim()
  if (!input.checkValidity()) {
    input.closest('details').open = true
    input.focus()
    throw new Error(`“${name}” must be a number from ${input.min} to ${input.max}.`)
  }
  return input.value === '' ? fallback : Number(input.value)
}

// Training

/** What was asked for; an Error says what is missing. */
function readPlan() {
  const labels = labelsOf(examples)
  if (labels.length < 2) throw new Error('Add examples of at least two labels first.')
  const isNew = document.querySelector('[name=source]:checked').value === 'new'
  const source = isNew ? undefined : (folder ?? at('address').value.trim())
  if (source === '') throw new Error('Say where the pretrained model is: give an address, or choose its folder.')
  const batchSize = setting('batch', 16)
  // enough steps for few examples, and no more passes than needed over many
  const steps = isNew ? 160 : 40
  const passes = Math.min(40, Math.max(3, Math.ceil((steps * batchSize) / examples.length)))
  return {
    labels,
    source,
    examples: examples.map(({ text, label }) => ({ text, label: labels.indexOf(label) })),
    maxLength: setting('length', 64),
    training: { batchSize, passes: setting('passes', passes), learningRate: setting('rate', isNew ? 1e-3 : 5e-5) },
  }
}

/** What goes on, also for those who listen. */
function announce(text) {
  say('status', text)
  say('spoken', text)
}

/** Progress, shown as it goes; read out for every tenth only. */
function progress(text, done) {
  const before = at('progress').value
  at('progress').value = done
  say('status', text)
  if (Math.floor(10 * before) !== Math.floor(10 * done)) say('spoken', text)
}

const megabytes = (bytes) => Math.round(bytes / 1e6)

function showDownload({ file, received, size }) {
  if (file.endsWith('.safetensors') && size)
    progress(`Loading ${megabytes(received)} of ${megabytes(size)} MB`, received / size)
}

async function train({ labels, source, examples, maxLength, training }, signal) {
  announce(source ? 'Loading the model …' : 'Learning the words …')
  const texts = examples.map(({ text }) => text)
  classifier = source
    ? await Classifier.load(source, labels, { maxLength, signal, onDownload: showDownload })
    : await Classifier.create(texts, labels, { maxLength, signal })
  say('engine', `${plural(classifier.size, 'parameter')}, computed by ${await classifier.engine()}.`)
  const began = performance.now()
  for await (const { step, steps, loss } of classifier.train(examples, { ...training, signal })) {
    if (step === 1) chart.clear(steps)
    chart.add(loss)
    progress(`Step ${step} of ${steps}, loss ${loss.toFixed(2)}`, step / steps)
  }
  announce(`Trained in ${((performance.now() - began) / 1000).toFixed(0)} seconds. Try it, or download it.`)
}

function forget() {
  classifier?.dispose()
  classifier = undefined
  at('scores').replaceChildren()
  at('progress').value = 0
  say('engine', '')
  chart.clear()
}

/** The button that was pressed goes away: the one that can be pressed next has the focus. */
function setTraining(active) {
  const [shown, gone] = active ? ['stop', 'train'] : ['train', 'stop']
  at('stop').hidden = at('progress').hidden = !active
  at(shown).disabled = false
  if (document.activeElement === at(gone)) at(shown).focus()
  at('train').disabled = at('model').disabled = active
  at('try-fields').disabled = at('download').disabled = active || !classifier
}

at('train').addEventListener('click', () =>
  attempt('training-error', async () => {
    const plan = readPlan()
    forget()
    controller = new AbortController()
    setTraining(true)
    try {
      await train(plan, controller.signal)
    } catch (error) {
      const isStopped = error instanceof AbortedError
      if (!isStopped) forget()
      announce(!isStopped ? 'Not trained.' : classifier ? 'Stopped. It keeps what it has learnt so far.' : 'Stopped.')
      if (!isStopped) throw error
    } finally {
      setTraining(false)
    }
  }),
)
at('stop').addEventListener('click', () => {
  announce('Stopping …')
  controller.abort()
})

// Using it

at('try').addEventListener('submit', (event) => {
  event.preventDefault()
  attempt('try-error', async () => {
    const scores = await classifier.scores(at('sentence').value)
    at('scores').replaceChildren(
      ...scores.map(({ label, score }) => {
        const percent = `${(100 * score).toFixed(1)} %`
        const bar = element('i', {})
        bar.style.setProperty('--score', `${100 * score}%`)
        return element(
          'li',
          {},
          element(
            'div',
            {},
            element('span', { textContent: label }),
            element('data', { value: score, textContent: percent }),
          ),
          bar,
        )
      }),
    )
  })
})
at('sentence').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  at('try').requestSubmit()
})

at('download').addEventListener('click', () =>
  attempt('download-error', async () => {
    const name = 'my-bert'
    const zip = new Zip(name)
    await classifier.save(zip)
    const url = URL.createObjectURL(zip.blob())
    element('a', { href: url, download: `${name}.zip` }).click()
    setTimeout(() => URL.revokeObjectURL(url), 60_000)
  }),
)

showExamples()
