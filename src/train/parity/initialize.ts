import { bodyFirst, firstValues } from '../../session/initialize.ts'
import type { TensorPlace } from '../../session/layout.ts'
import type { PreTrainedModel } from '../../session/pretrained.ts'
import type { Tensor } from '../../tensor.ts'
import { TorchGenerator } from '../../torch-generator.ts'

/** A matrix of the state. A decoder that is tied to the word embeddings is not in it, but is made, drawn and dropped all the same. */
interface Matrix {
  readonly name: string
  readonly shape: readonly number[]
  readonly zeroRow?: number
  /** Its module has a bias. */
  readonly bias: boolean
}

const DECODER = 'cls.predictions.decoder.weight'

function matricesOf(places: readonly TensorPlace[]): readonly Matrix[] {
  const names = new Set(places.map(({ name }) => name))
  const words = places.find(({ name }) => name.endsWith('word_embeddings.weight'))
  const matrices: readonly Matrix[] = places
    .filter(({ initializer }) => initializer === 'normal')
    .map(({ name, shape, zeroRow }) => ({ name, shape, zeroRow, bias: names.has(name.replace(/weight$/, 'bias')) }))
  if (!words || !names.has('cls.predictions.bias') || names.has(DECODER)) return matrices
  const after = matrices.findIndex(({ name }) => name.startsWith('cls.predictions.')) + 1
  return matrices.toSpliced(after, 0, { name: DECODER, shape: words.shape, bias: true })
}

/** What PyTorch draws when modules are made: torch.nn.Embedding N(0, 1), torch.nn.Linear a uniform weight and a uniform bias. */
async function makeModules(generator: TorchGenerator, matrices: readonly Matrix[]): Promise<void> {
  for (const { name, shape, bias } of matrices) {
    const [rows, columns] = shape
    if (name.endsWith('embeddings.weight')) await generator.normal(rows * columns, 1)
    else await generator.skip(rows * columns + (bias ? rows : 0))
  }
}

/**
 * Fills the new tensors of a model with what PyTorch draws for them after torch.manual_seed(seed): those that a folder lacked, in
 * from_pretrained; of a model that is made from a config, all, first those of the body, then those of the head. A model whose weights
 * have been set or trained keeps them. Transformers' modeling_utils.py, post_init and _init_weights.
 */
export async function drawNewTensors(model: PreTrainedModel, seed: number): Promise<void> {
  if (model.weightsGiven || model.optimizerSteps > 0) return
  const { loadReport } = model
  const { tensors } = model.runtime.layout
  const drawn = new Map<string, Tensor>()
  if (loadReport) {
    const isNew = (name: string): boolean =>
      loadReport.missing.includes(name) || loadReport.mismatched.some((found) => found.name === name)
    const added = [...tensors.values()].filter(({ name, initializer }) => initializer === 'normal' && isNew(name))
    for (const [{ name, shape, elements }, pieces] of firstValues(added, model.config, seed, true)) {
      const data = new Float32Array(elements)
      for await (const { start, values } of pieces) data.set(values, start)
      drawn.set(name, { data, shape: [...shape] })
    }
    await model.loadStateDict(drawn, { strict: false })
    return
  }
  const matrices = matricesOf([...tensors.values()])
  const generator = new TorchGenerator(seed)
  for (const part of bodyFirst(matrices)) {
    await makeModules(generator, part)
    for (const { name, shape, zeroRow } of part) {
      const data = await generator.normal(shape[0] * shape[1], model.config.initializerRange)
      if (zeroRow !== undefined) data.fill(0, zeroRow * shape[1], (zeroRow + 1) * shape[1])
      if (tensors.has(name)) drawn.set(name, { data, shape: [...shape] })
    }
  }
  await model.loadStateDict(drawn, { strict: false })
}
