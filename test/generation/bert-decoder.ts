// BertLMHeadModel as plain float64 loops, one token of one row at a time, with the keys and values that a row has seen.
import type { Decoder } from '../../src/generation/decoder.ts'
import { type Activation, activation } from '../reference/activation.ts'
import { encoderStates, tensorOf, type WeightsOf } from './weights.ts'

type Vector = Float64Array

export interface Case extends WeightsOf {
  readonly name: string
  readonly config: WeightsOf['config'] & {
    readonly vocab_size: number
    readonly hidden_size: number
    readonly num_hidden_layers: number
    readonly num_attention_heads: number
    readonly intermediate_size: number
    readonly max_position_embeddings: number
    readonly type_vocab_size?: number
    readonly hidden_act?: string
    readonly layer_norm_eps?: number
    readonly add_cross_attention?: boolean
  }
  readonly prompts: number[][]
  /** Of cross-attention: how many encoder states each prompt sees. */
  readonly encoderLengths?: number[]
}

interface Memory {
  readonly keys: readonly Vector[]
  readonly values: readonly Vector[]
}

interface Row {
  readonly length: number
  readonly layers: readonly Memory[]
  readonly states: readonly Memory[]
}

export class BertDecoder implements Decoder {
  readonly vocabSize: number
  readonly maxLength: number
  /** Rows of each call of the decoder. */
  readonly calls: number[] = []
  ended = 0
  #rows: Row[] = []
  readonly #case: Case
  readonly #tensors = new Map<string, Float32Array>()

  constructor(of: Case) {
    this.#case = of
    this.vocabSize = of.config.vocab_size
    this.maxLength = of.config.max_position_embeddings
  }

  async start(prompts: readonly (readonly number[])[]): Promise<Float32Array> {
    const { seed, config, encoderLengths } = this.#case
    this.calls.push(prompts.length)
    const empty = Array.from({ length: config.num_hidden_layers }, () => ({ keys: [], values: [] }))
    const logits = prompts.map((prompt, b) => {
      const hidden = config.hidden_size
      const flat = encoderStates(seed, b, encoderLengths?.[b] ?? 0, hidden)
      const states = Array.from({ length: encoderLengths?.[b] ?? 0 }, (_, s) =>
        Float64Array.from(flat.subarray(s * hidden, (s + 1) * hidden)),
      )
      let row: Row = { length: 0, layers: empty, states: config.add_cross_attention ? this.#remember(states) : [] }
      let last: Vector = new Float64Array()
      for (const token of prompt) [row, last] = this.#step(row, token)
      this.#rows[b] = row
      return this.#logits(last)
    })
    return concatenate(logits)
  }

  async next(tokens: readonly number[], from: readonly number[]): Promise<Float32Array> {
    this.calls.push(tokens.length)
    const steps = tokens.map((token, r) => this.#step(this.#rows[from[r]], token))
    this.#rows = steps.map(([row]) => row)
    return concatenate(steps.map(([, hidden]) => this.#logits(hidden)))
  }

  end(): void {
    this.ended++
    this.#rows = []
  }

  #tensor(name: string, count: number): Float32Array {
    let tensor = this.#tensors.get(name)
    if (!tensor) {
      tensor = tensorOf(this.#case, name, count)
      this.#tensors.set(name, tensor)
    }
    return tensor
  }

  #row(name: string, index: number, rows: number): Float32Array {
    const width = this.#case.config.hidden_size
    return this.#tensor(`bert.embeddings.${name}.weight`, rows * width).subarray(index * width, (index + 1) * width)
  }

  #linear(name: string, x: Vector, outputs: number): Vector {
    const weight = this.#tensor(`${name}.weight`, outputs * x.length)
    const bias = this.#tensor(`${name}.bias`, outputs)
    return Float64Array.from({ length: outputs }, (_, o) => {
      let sum = bias[o]
      for (let i = 0; i < x.length; i++) sum += weight[o * x.length + i] * x[i]
      return sum
    })
  }

  #norm(name: string, x: Vector): Vector {
    const weight = this.#tensor(`${name}.weight`, x.length)
    const bias = this.#tensor(`${name}.bias`, x.length)
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length
    const deviation = Math.sqrt(variance + (this.#case.config.layer_norm_eps ?? 1e-12))
    return x.map((value, i) => ((value - mean) / deviation) * weight[i] + bias[i])
  }

  #activate(x: Vector): Vector {
    return activation((this.#case.config.hidden_act ?? 'gelu') as Activation, x)
  }

  /** LayerNorm(dense(x) + residual) */
  #output(name: string, x: Vector, residual: Vector): Vector {
    const projected = this.#linear(`${name}.dense`, x, residual.length)
    return this.#norm(
      `${name}.LayerNorm`,
      projected.map((value, i) => value + residual[i]),
    )
  }

  #attend(name: string, x: Vector, { keys, values }: Memory): Vector {
    const heads = this.#case.config.num_attention_heads
    const width = x.length / heads
    const query = this.#linear(`${name}.query`, x, x.length)
    const context = new Float64Array(x.length)
    for (let h = 0; h < x.length; h += width) {
      const scores = keys.map((key) => {
        let sum = 0
        for (let i = h; i < h + width; i++) sum += query[i] * key[i]
        return sum / Math.sqrt(width)
      })
      const largest = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - largest))
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      for (const [t, weight] of weights.entries())
        for (let i = h; i < h + width; i++) context[i] += (weight / total) * values[t][i]
    }
    return context
  }

  /** Keys and values of the encoder's states, for each layer. */
  #remember(states: readonly Vector[]): Memory[] {
    return Array.from({ length: this.#case.config.num_hidden_layers }, (_, l) => {
      const name = `bert.encoder.layer.${l}.crossattention.self`
      const project = (part: string) => states.map((state) => this.#linear(`${name}.${part}`, state, state.length))
      return { keys: project('key'), values: project('value') }
    })
  }

  /** The row with one more token, and the last hidden state. */
  #step(row: Row, token: number): [Row, Vector] {
    const { config } = this.#case
    const word = this.#row('word_embeddings', token, config.vocab_size)
    const position = this.#row('position_embeddings', row.length, config.max_position_embeddings)
    const type = this.#row('token_type_embeddings', 0, config.type_vocab_size ?? 2)
    let x = this.#norm(
      'bert.embeddings.LayerNorm',
      Float64Array.from(word, (value, i) => value + type[i] + position[i]),
    )
    const layers = row.layers.map((memory, l) => {
      const name = `bert.encoder.layer.${l}`
      const self = `${name}.attention.self`
      const seen = {
        keys: [...memory.keys, this.#linear(`${self}.key`, x, x.length)],
        values: [...memory.values, this.#linear(`${self}.value`, x, x.length)],
      }
      x = this.#output(`${name}.attention.output`, this.#attend(self, x, seen), x)
      if (row.states.length > 0)
        x = this.#output(
          `${name}.crossattention.output`,
          this.#attend(`${name}.crossattention.self`, x, row.states[l]),
          x,
        )
      const inner = this.#activate(this.#linear(`${name}.intermediate.dense`, x, config.intermediate_size))
      x = this.#output(`${name}.output`, inner, x)
      return seen
    })
    return [{ ...row, length: row.length + 1, layers }, x]
  }

  #logits(hidden: Vector): Vector {
    const name = 'cls.predictions'
    const dense = this.#activate(this.#linear(`${name}.transform.dense`, hidden, hidden.length))
    return this.#linear(
      `${name}.decoder`,
      this.#norm(`${name}.transform.LayerNorm`, dense),
      this.#case.config.vocab_size,
    )
  }
}

function concatenate(rows: readonly Vector[]): Float32Array {
  const all = new Float32Array(rows.length * rows[0].length)
  for (const [r, row] of rows.entries()) all.set(row, r * row.length)
  return all
}
