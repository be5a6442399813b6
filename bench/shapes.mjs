// Sizes of google-research/bert's published models, and the matrix products that their steps are made of.

/** hidden, layers, heads, intermediate */
export const models = {
  tiny: [128, 2, 2, 512],
  mini: [256, 4, 4, 1024],
  small: [512, 4, 8, 2048],
  medium: [512, 8, 8, 2048],
  base: [768, 12, 12, 3072],
  large: [1024, 24, 16, 4096],
  minilm: [384, 6, 12, 1536],
  /** Not published: the smallest with heads of 64, for what has to be carried (record-plan). */
  nano: [128, 2, 2, 256],
}

/** Rows x inputs -> outputs: the square of the headline figure, and every linear layer of BERT-base and MiniLM. */
export const products = [
  { name: 'square', rows: 1024, K: 1024, N: 1024 },
  { name: 'base qkv', rows: 2048, K: 768, N: 2304 },
  { name: 'base attention output', rows: 2048, K: 768, N: 768 },
  { name: 'base intermediate', rows: 2048, K: 768, N: 3072 },
  { name: 'base output', rows: 2048, K: 3072, N: 768 },
  { name: 'minilm qkv', rows: 512, K: 384, N: 1152 },
  { name: 'minilm intermediate', rows: 512, K: 384, N: 1536 },
  { name: 'minilm output', rows: 512, K: 1536, N: 384 },
]
