// A tiny classifier that is fine-tuned for 20 steps, anywhere: the loss of each step.
const STEPS = 20
const SHAPE = {
  vocabSize: 120,
  hiddenSize: 64,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  intermediateSize: 128,
  maxPositionEmbeddings: 32,
  numLabels: 3,
}

/** Integers below a bound, the same ones everywhere. */
function drawer(seed) {
  let state = seed
  return (bound) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % bound
  }
}

/** `bertkit`: one of its entries; `options`: of the model. Dropout is on. */
export async function tinyCurve({ AdamW, BertConfig, BertForSequenceClassification }, options) {
  const draw = drawer(1)
  const model = new BertForSequenceClassification(new BertConfig(SHAPE), { seed: 7, ...options })
  try {
    const optimizer = new AdamW(model.train(), { lr: 1e-3 })
    const losses = []
    for (let step = 0; step < STEPS; step++) {
      const labels = Array.from({ length: 8 }, () => draw(SHAPE.numLabels))
      // a label shows in the first half of the tokens, so that there is something to learn
      const inputIds = labels.map((label) =>
        Array.from({ length: 4 + draw(20) }, (_, t) => (t % 2 ? draw(120) : 40 * label + draw(40))),
      )
      losses.push((await optimizer.step({ inputIds, labels }, { maxGradNorm: 1 })).loss)
    }
    return losses
  } finally {
    model.dispose()
  }
}
