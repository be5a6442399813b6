// A decoder that keeps the keys and values of every token it has seen, in the model's own memory.
//
// Each hypothesis has a slot: `length` rows of the cache of every layer. The slots of a prompt lie side by side, so that in
// cross-attention the hypotheses of a prompt are the queries of one sequence and share the keys of its encoder. A step runs the
// hypotheses in the order of their slots; one that is continued twice is copied into a slot that has become free.
import { ArgumentError } from '../errors.ts'
import type { Decoder, Room } from '../generation/decoder.ts'
import { type Capacity, elementBytes, Graph, type Packing, type Value } from '../graph/graph.ts'
import { Row } from '../graph/op-table.ts'
import { compilePlan } from '../graph/plan.ts'
import type { Head } from '../heads/head.ts'
import type { BatchValues } from '../model/batch.ts'
import type { BertConfig } from '../model/config.ts'
import { copyRows } from '../ops/pooling.ts'
import type { EncoderBatch } from './encoder.ts'
import { borders } from './inputs.ts'
import { bucket } from './plans.ts'
import type { RecordedGeneration } from './runs.ts'
import type { ModelRuntime } from './runtime.ts'

interface Slot {
  readonly slot: number
  /** Tokens in the cache. */
  readonly length: number
}

/** Prompts fill the cache, with the output of their last tokens or of all; or further tokens read it. */
type Stage = 'prefill' | 'prefill-all' | 'decode'

const upTo = (count: number): Int32Array => Int32Array.from({ length: count }, (_, i) => i)

/** An output with a row per token: of BertLMHeadModel, or of BertModel. */
export type CachedOutput = 'logits' | 'lastHiddenState'

export class CachedDecoder implements Decoder {
  /** Of the last call, pooled from the first new token of each row; of BertModel. */
  poolerOutput: Float32Array | undefined
  readonly vocabSize: number
  readonly maxLength: number
  /** Rows of a slot. */
  #length = 0
  #slotsPerPrompt = 0
  #prompts = 0
  /** In bytes; undefined before the start. */
  #region: number | undefined
  #rows: Slot[] = []
  /** Of the weights that filled the cache. */
  #version = 0

  /** `encoder`: one sequence per prompt. `output`: what is returned of each token. */
  constructor(
    private readonly runtime: ModelRuntime,
    private readonly config: BertConfig,
    private readonly encoder: EncoderBatch | undefined,
    private readonly output: CachedOutput = 'logits',
  ) {
    this.vocabSize = config.vocabSize
    this.maxLength = config.maxPositionEmbeddings
  }

  async start(prompts: readonly (readonly number[])[], room: Room, signal?: AbortSignal): Promise<Float32Array> {
    return this.prefill(prompts, room, { allTokens: false }, signal)
  }

  /** Fills the cache with prompts; the output of the last token of each, or of all their tokens, one prompt after another. */
  async prefill(
    prompts: readonly (readonly number[])[],
    room: Room,
    { allTokens }: { readonly allTokens: boolean },
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    this.#prompts = prompts.length
    this.#length = bucket(room.length, 16)
    this.#slotsPerPrompt = Math.ceil(room.rows / prompts.length)
    const keys = bucket(this.encoder?.keys ?? 0, 16)
    await this.runtime.openBackend() // which may decide the dtype
    const width = 2 * this.config.hiddenSize * elementBytes(this.runtime.dtype)
    this.#region = this.runtime.takeCache(this.config.numHiddenLayers * (this.#cached + keys) * width)
    const lengths = prompts.map(({ length }) => length)
    const tokens = prompts.flat()
    const ends = borders(lengths)
    const slotOf = (p: number) => p * this.#slotsPerPrompt
    const logits = await this.#run(
      allTokens ? 'prefill-all' : 'prefill',
      allTokens ? tokens.length : prompts.length,
      {
        ids: Int32Array.from(tokens),
        positionIds: Int32Array.from(lengths.flatMap((length) => [...upTo(length)])),
        cuSeqlens: ends,
        rows: Int32Array.from(
          lengths.flatMap((length, p) => Array.from(upTo(length), (t) => slotOf(p) * this.#length + t)),
        ),
        labelledRows: ends.slice(1).map((end) => end - 1),
        firstTokens: ends.slice(0, prompts.length),
        encoderStates: this.encoder?.states,
        everyKey: upTo(this.encoder?.keys ?? 0),
      },
      { tokens: tokens.length, sequences: prompts.length, labelled: allTokens ? 0 : prompts.length },
      signal,
    )
    this.#rows = lengths.map((length, p) => ({ slot: slotOf(p), length }))
    return logits
  }

  async next(tokens: readonly number[], from: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    this.#rows = await this.#continue(from, signal)
    return this.append(
      tokens.map((token) => [token]),
      signal,
    )
  }

  /** Tokens in the cache of each row. */
  get lengths(): number[] {
    return this.#rows.map(({ length }) => length)
  }

  /** Appends tokens to each row; returns the output of all of them, row after row. A failed call leaves the rows as they were. */
  async append(tokens: readonly (readonly number[])[], signal?: AbortSignal): Promise<Float32Array> {
    const order = [...upTo(tokens.length)].sort((a, b) => this.#rows[a].slot - this.#rows[b].slot)
    const slots = this.#prompts * this.#slotsPerPrompt
    const added = Array<number>(slots).fill(0)
    const filled = new Int32Array(this.#cached)
    for (const [r, { slot, length }] of this.#rows.entries()) {
      added[slot] = tokens[r].length
      filled.fill(1, slot * this.#length, slot * this.#length + length + tokens[r].length)
    }
    const perPrompt = Array.from({ length: this.#prompts }, (_, p) =>
      added.slice(p * this.#slotsPerPrompt, (p + 1) * this.#slotsPerPrompt).reduce((sum, count) => sum + count, 0),
    )
    const each = (of: (r: number, t: number) => number) =>
      Int32Array.from(order.flatMap((r) => tokens[r].map((_, t) => of(r, t))))
    const count = perPrompt.reduce((sum, one) => sum + one, 0)
    const sorted = await this.#run(
      'decode',
      count,
      {
        ids: each((r, t) => tokens[r][t]),
        positionIds: each((r, t) => this.#rows[r].length + t),
        cuSeqlens: borders(added),
        firstTokens: borders(added).slice(0, slots),
        rows: each((r, t) => this.#rows[r].slot * this.#length + this.#rows[r].length + t),
        everyToken: upTo(count),
        filled,
        cuCached: Int32Array.from({ length: slots + 1 }, (_, s) => s * this.#length),
        cuPrompts: borders(perPrompt),
      },
      { tokens: count, sequences: slots },
      signal,
    )
    this.#rows = this.#rows.map(({ slot, length }, r) => ({ slot, length: length + tokens[r].length }))
    const places = borders(tokens.map(({ length }) => length * this.#width))
    const logits = new Float32Array(sorted.length)
    let at = 0
    for (const r of order) {
      const end = at + tokens[r].length * this.#width
      logits.set(sorted.subarray(at, end), places[r])
      at = end
    }
    return logits
  }

  end(): void {
    if (this.#region !== undefined) this.runtime.freeCache(this.#region)
    this.#region = undefined
  }

  /** Keys and values of other weights would be mixed with those of now. */
  #checkWeights(stage: Stage): void {
    const { weightsVersion } = this.runtime
    if (stage !== 'decode') this.#version = weightsVersion
    else if (this.#version !== weightsVersion)
      throw new ArgumentError('The weights of the model have changed since its cache of keys and values was filled')
  }

  get #width(): number {
    return this.output === 'logits' ? this.vocabSize : this.config.hiddenSize
  }

  /** Rows of the cache of one layer. */
  get #cached(): number {
    return this.#prompts * this.#slotsPerPrompt * this.#length
  }

  /** The rows that go on, in slots of their own: who is continued more than once is copied. */
  async #continue(from: readonly number[], signal: AbortSignal | undefined): Promise<Slot[]> {
    const used = new Set(from.map((f) => this.#rows[f].slot))
    const taken = new Set<number>()
    const copies: { readonly from: number; readonly target: number; readonly length: number }[] = []
    const rows = from.map((f): Slot => {
      const { slot, length } = this.#rows[f]
      if (!taken.has(slot)) {
        taken.add(slot)
        return { slot, length }
      }
      const first = slot - (slot % this.#slotsPerPrompt)
      const free = Array.from(upTo(this.#slotsPerPrompt), (i) => first + i).find((s) => !used.has(s) && !taken.has(s))
      if (free === undefined) throw new RangeError(`A prompt has more than ${this.#slotsPerPrompt} hypotheses`)
      taken.add(free)
      copies.push({ from: slot, target: free, length })
      return { slot: free, length }
    })
    if (copies.length === 0) return rows
    copies.sort((a, b) => a.target - b.target)
    const indices = (which: 'from' | 'target') =>
      Int32Array.from(copies.flatMap((copy) => Array.from(upTo(copy.length), (t) => copy[which] * this.#length + t)))
    const [source, target] = [indices('from'), indices('target')]
    const capacity = { tokens: bucket(source.length, 64), cached: this.#cached }
    const copy = () =>
      this.runtime.runGeneration(
        JSON.stringify(['copy', this.#region, capacity]),
        () => this.#recordCopies(capacity),
        { from: source, target },
        { tokens: source.length, cached: this.#cached },
        signal,
      )
    await this.runtime.exclusive(copy, signal)
    return rows
  }

  #layers(graph: Graph): { readonly own: Value[]; readonly encoder: Value[] } {
    const { numHiddenLayers, hiddenSize } = this.config
    const width = 2 * hiddenSize
    let at = this.#region!
    const values = (rows: Row, count: number) =>
      Array.from({ length: numHiddenLayers }, (_, i) => {
        const value = graph.cached(`cache.${i}`, rows, width, at)
        at += count * width * elementBytes(graph.dtype)
        return value
      })
    return {
      own: values(Row.cached, this.#cached),
      encoder: this.encoder ? values(Row.keys, bucket(this.encoder.keys, 16)) : [],
    }
  }

  #recordCopies(capacity: { readonly tokens: number; readonly cached: number }): Omit<RecordedGeneration, 'program'> {
    const graph = new Graph(capacity, { differentiate: false, training: false, dtype: this.runtime.dtype })
    const from = graph.input('from', Row.tokens, 1, 'int32')
    const target = graph.input('target', Row.tokens, 1, 'int32')
    for (const layer of this.#layers(graph).own) copyRows(graph, layer, from, target)
    return { plan: compilePlan(graph, 0), inputs: { from, target }, result: undefined, pooled: undefined }
  }

  async #run(
    stage: Stage,
    results: number,
    inputs: Readonly<Record<string, Int32Array | Float32Array | undefined>>,
    counts: Partial<Capacity> & { readonly tokens: number; readonly sequences: number },
    signal: AbortSignal | undefined,
  ): Promise<Float32Array> {
    const { encoder } = this
    const capacity = {
      tokens: bucket(counts.tokens, stage === 'decode' ? 1 : 64),
      sequences: bucket(counts.sequences, 1),
      labelled: bucket(counts.labelled ?? 0, 1),
      cached: this.#cached,
      prompts: this.#prompts,
      keys: encoder ? bucket(encoder.keys, 16) : 0,
    }
    const shared = { cuKeys: encoder?.cuKeys, encoderMask: encoder?.keyMask }
    return this.runtime.exclusive(async () => {
      this.#checkWeights(stage)
      const step = await this.runtime.runGeneration(
        JSON.stringify([stage, this.#region, capacity, !!encoder?.keyMask]),
        (head, packing) => this.#record(head, stage, capacity, packing),
        { typeIds: new Int32Array(counts.tokens), ...shared, ...inputs },
        { cached: this.#cached, prompts: this.#prompts, keys: encoder?.keys ?? 0, ...counts },
        signal,
      )
      const { hiddenSize } = this.config
      if (step.pooled) this.poolerOutput = await this.runtime.readOutput(step.pooled, counts.sequences * hiddenSize)
      return this.runtime.readOutput(step.result!, results * this.#width)
    }, signal)
  }

  #record(
    head: Head,
    stage: Stage,
    capacity: Partial<Capacity>,
    packing: Packing | undefined,
  ): Omit<RecordedGeneration, 'program'> {
    const { dtype } = this.runtime
    const graph = new Graph(capacity, { differentiate: false, training: false, dtype, packing })
    const inputs: Record<string, Value> = {}
    const integers = (name: string, rows: Row, extra = 0): Value => {
      inputs[name] = graph.input(name, rows, 1, 'int32', extra)
      return inputs[name]
    }
    const layers = this.#layers(graph)
    const prefills = stage !== 'decode'
    const states = () => {
      inputs.encoderStates = graph.input('encoder_hidden_states', Row.keys, this.config.hiddenSize, graph.dtype)
      return inputs.encoderStates
    }
    const batch: BatchValues = {
      ids: integers('ids', Row.tokens),
      typeIds: integers('typeIds', Row.tokens),
      positionIds: integers('positionIds', Row.tokens),
      cuSeqlens: integers('cuSeqlens', Row.sequences, 1),
      keyMask: undefined,
      only: undefined,
      firstTokens: this.output === 'lastHiddenState' ? integers('firstTokens', Row.sequences) : undefined,
      labelledRows: stage === 'prefill' ? integers('labelledRows', Row.labelled) : undefined,
      cuChoices: undefined,
      encoder: this.encoder && {
        states: prefills ? states() : undefined,
        cuKeys: integers('cuKeys', prefills ? Row.sequences : Row.prompts, 1),
        keyMask: this.encoder.keyMask && integers('encoderMask', Row.keys),
      },
      cache: {
        stage: prefills ? 'prefill' : 'decode',
        layers: layers.own,
        encoderLayers: layers.encoder,
        rows: integers('rows', Row.tokens),
        everyToken: integers('everyToken', Row.tokens),
        filled: integers('filled', Row.cached),
        cuCached: integers('cuCached', Row.sequences, 1),
        everyKey: this.encoder && integers('everyKey', Row.keys),
        cuPrompts: this.encoder && !prefills ? integers('cuPrompts', Row.prompts, 1) : undefined,
      },
    }
    const outputs = head.record(graph, batch, undefined, {}).outputs
    const [result, pooled] = [outputs[this.output], outputs.poolerOutput] as (Value | undefined)[]
    if (!result) throw new TypeError(`This head has no ${this.output}`)
    graph.keep(result)
    if (pooled) graph.keep(pooled)
    return { plan: compilePlan(graph, 0), inputs, result, pooled }
  }
}
