// Dropout masks (../philox.h has the mapping from element to bit).
#pragma once
#include "../philox.h"
#include "device.cuh"

namespace bk {
namespace cuda {

/** Dropout of one record, as its launcher passes it to kernels. */
struct DropoutSite {
  float p;
  uint32_t site;
  const int32_t* keep;  // what is kept instead of what the draws say; may be null
};

/** The random stream of a site in this run. */
struct Dropout {
  uint32_t seed, site, step, micro_step, threshold, rest, phase;
  float scale;

  __device__ static Dropout of(const RunState* state, float p, uint32_t site) {
    const uint32_t seed = (uint32_t)(int64_t)state->scalars[kScalar_seed], step = (uint32_t)(int64_t)state->scalars[kScalar_step];
    const uint32_t micro_step = (uint32_t)(int64_t)state->scalars[kScalar_micro_step];
    return {seed, site, step, micro_step, dropout_threshold(p), dropout_rest(p), dropout_phase(seed, site, step, micro_step), 1.0f / (1.0f - p)};
  }

  /** The first column's group: its columns are that one, the next, and those 8, 16, ... 120 from them. */
  __device__ static uint32_t group(uint32_t column) { return column / 128 * 4 + column % 8 / 2; }

  __device__ __forceinline__ uint32_t keeps_equal(uint32_t row) const { return dropout_keeps_equal(phase, rest, row); }

  __device__ __forceinline__ static uint32_t turned_left(uint32_t bits, int n) { return bits << n | bits >> (32 - n); }

  /**
   * What is kept of a group: bit j / 2 of each byte is for columns 8 j and 8 j + 1 from its first one on, in bytes 0 and 1 where j is even, in 2
   * and 3 where it is odd. `equal`: the row's keeps_equal.
   */
  __device__ __forceinline__ uint32_t keeps_group(uint32_t row, uint32_t group, uint32_t equal) const {
    uint32_t w[4] = {group, row, step, micro_step}, k0 = seed, k1 = site;
#pragma unroll
    for (int r = 0; r < kPhiloxRounds; r++) {
      const uint32_t hi0 = __umulhi(w[0], kPhiloxMultiplier0), lo0 = w[0] * kPhiloxMultiplier0;
      const uint32_t hi1 = __umulhi(w[2], kPhiloxMultiplier1), lo1 = w[2] * kPhiloxMultiplier1;
      w[0] = hi1 ^ w[1] ^ k0;
      w[1] = lo1;
      w[2] = hi0 ^ w[3] ^ k1;
      w[3] = lo0;
      k0 += kPhiloxWeyl0;
      k1 += kPhiloxWeyl1;
    }
    // bit by bit, from the lowest: kept where the draw's is set and the threshold's is not, not kept where it is the other way round
    uint32_t kept = equal;
#pragma unroll
    for (int bit = 0; bit < kDropoutBits; bit++) {
      const int k = bit - (kDropoutBits - kDropoutOwnBits);
      const uint32_t drawn = k >= 0 ? w[k] : turned_left(w[bit], kDropoutTurns[0]) ^ turned_left(w[bit + 1], kDropoutTurns[1]);
      const uint32_t none = (threshold >> bit & 1) - 1;  // of the threshold's
      kept = (drawn & none) | (drawn & kept) | (none & kept);
    }
    return kept;
  }
  __device__ __forceinline__ uint32_t keeps_group(uint32_t row, uint32_t group) const { return keeps_group(row, group, keeps_equal(row)); }

  /** Of those, columns 8 j and 8 j + 1 in bits 0 and 1. */
  __device__ __forceinline__ static uint32_t two_of(uint32_t kept, int j) {
    kept >>= j / 2 + j % 2 * 16;
    return (kept & 1) | (kept >> 7 & 2);
  }

  /** Whether one element is kept: a whole counter for one bit, so kernels that can take 32. */
  __device__ bool keeps(uint32_t row, uint32_t column) const { return two_of(keeps_group(row, group(column)), column % 128 / 8) >> column % 2 & 1; }

  /**
   * Which of W columns from `column` on are kept, in the W lowest bits; those above are any. All lanes of the warp take part; each four, from a
   * multiple of four on, hold 4 W columns of one row and of one block of 128, one after another. They draw its four groups, and tell each other.
   */
  template <int W>
  __device__ uint32_t keeps_columns(uint32_t row, uint32_t column) const {
    static_assert(W == 4 || W == 8, "expected four or eight columns");
    const uint32_t mine = keeps_group(row, column / 128 * 4 + threadIdx.x % 4);
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < W / 2; i++) bits |= two_of(__shfl_sync(0xffffffffu, mine, column % 8 / 2 + i, 4), column % 128 / 8) << 2 * i;
    return bits;
  }

  /** The same by what `keep` [rows, H] says where it is there, and for any one column. Lanes beyond H columns take part for the others. */
  template <int W>
  __device__ uint32_t keeps_columns(const int32_t* keep, uint32_t row, uint32_t column, uint32_t H) const {
    if (keep) return given_columns<W>(keep, row, column, H);
    return W == 1 ? keeps(row, column) : keeps_columns < W == 1 ? 4 : W > (row, column);
  }
  template <int W>
  __device__ static uint32_t given_columns(const int32_t* keep, uint32_t row, uint32_t column, uint32_t H) {
    uint32_t bits = 0;
#pragma unroll
    for (int j = 0; j < W; j++) bits |= (column < H && keep[(int64_t)row * H + column + j] != 0 ? 1u : 0u) << j;
    return bits;
  }
};

/**
 * What is kept of a row of which a warp holds 128 columns at each of S steps, four a lane: each lane draws the group that eight steps have room
 * for, instead of one at each step.
 */
template <int S>
struct StepMasks {
  uint32_t groups[(S + 7) / 8];  // lane l: group l % 4 of step 8 i + l / 4

  /** `first(step)`: the step's first column. By all lanes, as below. */
  template <class First>
  __device__ __forceinline__ void draw(const Dropout& drop, uint32_t row, First first) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < (S + 7) / 8; i++) groups[i] = drop.keeps_group(row, first(8 * i + lane / 4) / 32 + lane % 4);
  }
  /** Bits of this lane's four columns at a step. */
  __device__ __forceinline__ uint32_t at(int step) const {
    const int lane = threadIdx.x % kWarp, from = step % 8 * 4 + lane % 2 * 2, j = lane / 2;
    uint32_t mine = groups[0];
#pragma unroll
    for (int i = 1; i < (S + 7) / 8; i++)
      if (step >= 8 * i) mine = groups[i];
    return Dropout::two_of(__shfl_sync(0xffffffffu, mine, from), j) | Dropout::two_of(__shfl_sync(0xffffffffu, mine, from + 1), j) << 2;
  }
};

}  // namespace cuda
}  // namespace bk
