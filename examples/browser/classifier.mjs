// What the page does with bertkit: makes or loads a classifier, trains it, asks it.
import { AdamW, BertConfig, BertForSequenceClassification, BertTokenizer, getScheduler } from '../../dist/edge.js'

const SMALL = { hiddenSize: 128, numHiddenLayers: 2, numAttentionHeads: 2, intermediateSize: 512 }
/** Every one of them is a token, so that words of other texts are spelt and not unknown. */
const ALPHABET = [...'abcdefghijklmnopqrstuvwxyz0123456789']
const PIECES = 64

const breath = () => new Promise((resolve) => setTimeout(resolve))

/** In an order that is the same for the same seed. */
function shuffled(items, seed) {
  const order = [...items]
  let state = seed
  for (let i = order.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = Math.floor((state / 2 ** 32) * (i + 1))
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  return order
}

export class Classifier {
  #tokenizer
  #model
  #maxLength

  constructor(tokenizer, model, maxLength) {
    this.#tokenizer = tokenizer
    this.#model = model
    this.#maxLength = Math.min(maxLength, model.config.maxPositionEmbeddings)
  }

  /** A small BERT with a vocabulary of the words of these texts. */
  static async create(texts, labels, { maxLength, signal }) {
    const tokenizer = await BertTokenizer.train(texts, { vocabSize: 8000, initialAlphabet: ALPHABET, signal })
    const config = new BertConfig({
      ...SMALL,
      vocabSize: tokenizer.getVocab().size,
      maxPositionEmbeddings: Math.max(64, maxLength),
      id2label: { ...labels },
      problemType: 'single_label_classification',
    })
    return new Classifier(tokenizer, new BertForSequenceClassification(config), maxLength)
  }

  /** A pretrained model from the address of its folder, or its files, with a new classifier for these labels. */
  static async load(source, labels, { maxLength, signal, onDownload }) {
    const tokenizer = await BertTokenizer.fromPretrained(source, { signal })
    const model = await BertForSequenceClassification.fromPretrained(source, {
      signal,
      onDownload,
      ignoreMismatchedSizes: true, // a classifier for other labels is replaced
      id2label: { ...labels },
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
      problemType: 'single_label_classification',
    })
    return new Classifier(tokenizer, model, maxLength)
  }

  /** What computes, in a few words. */
  async engine() {
    const { isa, threads } = await this.#model.describe()
    return `WebAssembly (${isa}), ${threads === 1 ? 'one thread' : `${threads} threads`}`
  }

  get size() {
    return this.#model.parameters().reduce((sum, { size }) => sum + size, 0)
  }

  #encode(text) {
    return this.#tokenizer.encode(text, { truncation: true, maxLength: this.#maxLength }).inputIds
  }

  /** Yields `{ step, steps, loss }` after each step. `examples`: `{ text, label }`, the label as a number. */
  async *train(examples, { passes, batchSize, learningRate, signal }) {
    const encoded = []
    for (const [i, { text, label }] of examples.entries()) {
      encoded.push({ inputIds: this.#encode(text), label })
      if (i % PIECES === 0) await breath()
    }
    const perPass = Math.ceil(encoded.length / batchSize)
    const steps = passes * perPass
    const optimizer = new AdamW(this.#model.train(), { lr: learningRate })
    const scheduler = getScheduler('linear', optimizer, {
      numWarmupSteps: Math.ceil(steps / 10),
      numTrainingSteps: steps,
    })
    try {
      for (let step = 0, order = []; step < steps; step++) {
        if (step % perPass === 0) order = shuffled(encoded, step)
        const batch = order.splice(0, batchSize)
        const inputs = { inputIds: batch.map(({ inputIds }) => inputIds), labels: batch.map(({ label }) => label) }
        const { loss } = await optimizer.step(inputs, { maxGradNorm: 1, signal })
        scheduler.step()
        yield { step: step + 1, steps, loss }
      }
    } finally {
      this.#model.eval()
    }
  }

  /** Labels with their probabilities, the likeliest first. */
  async scores(text) {
    const { logits } = await this.#model.forward({ inputIds: [this.#encode(text)] })
    const most = Math.max(...logits.data)
    const powers = Array.from(logits.data, (logit) => Math.exp(logit - most))
    const total = powers.reduce((a, b) => a + b, 0)
    return powers
      .map((power, id) => ({ label: this.#model.config.id2label[id], score: power / total }))
      .sort((a, b) => b.score - a.score)
  }

  /** Writes the model and its tokenizer. */
  async save(sink) {
    await this.#model.savePretrained(sink)
    await this.#tokenizer.savePretrained(sink)
  }

  dispose() {
    this.#model.dispose()
  }
}
