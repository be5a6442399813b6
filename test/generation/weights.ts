// Numbers that make_generation.py computes too: a tensor's seed, name and positions say what it holds.

/** What of generation.json's cases a tensor depends on. */
export interface WeightsOf {
  readonly seed: number
  readonly config: { readonly tie_word_embeddings?: boolean }
  readonly scales: Readonly<Record<'linear' | 'bias' | 'embedding' | 'layerNorm', number>>
}

/** float32 in [-1, 1): multiples of 2^-23, from the finaliser of MurmurHash3 over a counter that starts at a hash of the name. */
export function uniform(seed: number, name: string, count: number): Float32Array {
  let start = 2166136261 ^ seed
  for (const char of name) start = Math.imul(start ^ char.charCodeAt(0), 16777619)
  return Float32Array.from({ length: count }, (_, i) => {
    let x = (Math.imul(i, 0x9e3779b1) + start) | 0
    x ^= x >>> 16
    x = Math.imul(x, 0x85ebca6b)
    x ^= x >>> 13
    x = Math.imul(x, 0xc2b2ae35)
    x ^= x >>> 16
    return (x >>> 8) * 2 ** -23 - 1
  })
}

/** A parameter of a case, by its Hugging Face name. */
export function tensorOf({ seed, config, scales }: WeightsOf, name: string, count: number): Float32Array {
  // a tensor that is saved under two names has the numbers of the first
  let source = name === 'cls.predictions.decoder.bias' ? 'cls.predictions.bias' : name
  if (source === 'cls.predictions.decoder.weight' && config.tie_word_embeddings !== false)
    source = 'bert.embeddings.word_embeddings.weight'
  const embedding = source.includes('embeddings.weight') || source === 'cls.predictions.decoder.weight'
  const norm = source.endsWith('LayerNorm.weight')
  const scale = norm
    ? scales.layerNorm
    : embedding
      ? scales.embedding
      : source.endsWith('bias')
        ? scales.bias
        : scales.linear
  // two roundings for LayerNorm: the product and the sum are float32 in Python
  return uniform(seed, source, count).map((value) => (norm ? 1 + Math.fround(value * scale) : value * scale))
}

/** The encoder's states of prompt b, [length, hidden]. */
export const encoderStates = (seed: number, b: number, length: number, hidden: number): Float32Array =>
  uniform(seed, `states.${b}`, length * hidden).map((value) => value * 1.5)
