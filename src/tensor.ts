/** A dense row-major array handed to or received from a model. Plain data: it owns no native memory. */
export interface Tensor<Data extends ArrayLike<number> = Float32Array> {
  readonly data: Data
  readonly shape: readonly number[]
}
