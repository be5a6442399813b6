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

/** The four words of Philox4x32-7 for a counter (group, row, step, micro-step) under the key (seed, site). */
struct Draws {
  uint32_t word[4];

  /** The draws of columns 8 j and 8 j + 1 from the group's first one on, j < 8: 15 bits of each half, below a bit that is set. */
  __device__ __forceinline__ uint32_t pair(int j) const {
    const int i = j / 2;
    return permute_bytes(word[i] | 0x80808080u, word[(i + 1) % 4] ^ word[(i + 2) % 4], j % 2 ? 0x3726 : 0x1504);
  }
};

/** The random stream of a site in this run. */
struct Dropout {
  uint32_t seed, site, step, micro_step, threshold;  // that of both halves of a word
  float scale;

  __device__ static Dropout of(const RunState* state, float p, uint32_t site) {
    return {(uint32_t)(int64_t)state->scalars[kScalar_seed],  site,
            (uint32_t)(int64_t)state->scalars[kScalar_step],  (uint32_t)(int64_t)state->scalars[kScalar_micro_step],
            (uint32_t)((double)p * kDropoutDraws) * 0x10001u, 1.0f / (1.0f - p)};
  }

  /** The first column's group: its columns are that one, the next, and those 8, 16, ... 56 from them. */
  __device__ static uint32_t group(uint32_t column) { return column / 64 * 4 + column % 8 / 2; }

  __device__ Draws draws(uint32_t row, uint32_t group) const {
    uint32_t c0 = group, c1 = row, c2 = step, c3 = micro_step, k0 = seed, k1 = site;
#pragma unroll
    for (int r = 0; r < kPhiloxRounds; r++) {
      const uint32_t hi0 = __umulhi(c0, kPhiloxMultiplier0), lo0 = c0 * kPhiloxMultiplier0;
      const uint32_t hi1 = __umulhi(c2, kPhiloxMultiplier1), lo1 = c2 * kPhiloxMultiplier1;
      c0 = hi1 ^ c1 ^ k0;
      c1 = lo1;
      c2 = hi0 ^ c3 ^ k1;
      c3 = lo0;
      k0 += kPhiloxWeyl0;
      k1 += kPhiloxWeyl1;
    }
    return {{c0, c1, c2, c3}};
  }

  /**
   * What is kept of a group: bit j / 2 of each byte is for columns 8 j and 8 j + 1 from its first one on, in bytes 0 and 1 where j is even, in 2
   * and 3 where it is odd. Four bits of each byte.
   */
  __device__ __forceinline__ uint32_t keeps_group(uint32_t row, uint32_t group) const {
    const Draws drawn = draws(row, group);
    const auto signs = [&](int j) { return drawn.pair(j) - threshold; };  // of both halves: whether it is kept
    uint32_t kept = 0;
#pragma unroll
    for (int j = 0; j < 8; j += 2) kept |= permute_bytes(signs(j), signs(j + 1), 0xfdb9) & 0x01010101u << j / 2;
    return kept;
  }
  /** Of those, columns 8 j and 8 j + 1 in bits 0 and 1. */
  __device__ __forceinline__ static uint32_t two_of(uint32_t kept, int j) {
    kept >>= j / 2 + j % 2 * 16;
    return (kept & 1) | (kept >> 7 & 2);
  }

  /** Whether one element is kept: a whole counter for one bit, so kernels that can take sixteen. */
  __device__ bool keeps(uint32_t row, uint32_t column) const { return two_of(keeps_group(row, group(column)), column % 64 / 8) >> column % 2 & 1; }

  /**
   * Which of W columns from `column` on are kept, in the W lowest bits; those above are any. All lanes of the warp take part, and each
   * 64 / W of them hold the columns of a block of 64 of one row, one after another. Each four lanes draw the four groups of their block, and
   * tell each other.
   */
  template <int W>
  __device__ uint32_t keeps_columns(uint32_t row, uint32_t column) const {
    static_assert(W == 4 || W == 8, "expected four or eight columns");
    const uint32_t mine = keeps_group(row, column / 64 * 4 + threadIdx.x % 4);
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < W / 2; i++) bits |= two_of(__shfl_sync(0xffffffffu, mine, column % 8 / 2 + i, 4), column % 64 / 8) << 2 * i;
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
 * What is kept of a row of which a warp holds 128 columns at each of S steps, four a lane: each lane draws the group that four steps have room
 * for, instead of one at each step.
 */
template <int S>
struct StepMasks {
  uint32_t groups[(S + 3) / 4];  // lane l: group l % 8 of step 4 i + l / 8

  /** `first(step)`: the step's first column. By all lanes, as below. */
  template <class First>
  __device__ __forceinline__ void draw(const Dropout& drop, uint32_t row, First first) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < (S + 3) / 4; i++) groups[i] = drop.keeps_group(row, first(4 * i + lane / 8) / 16 + lane % 8);
  }
  /** Bits of this lane's four columns at a step. */
  __device__ __forceinline__ uint32_t at(int step) const {
    const int lane = threadIdx.x % kWarp, from = step % 4 * 8 + lane / 16 * 4 + lane % 2 * 2, j = lane % 16 / 2;
    uint32_t mine = groups[0];
#pragma unroll
    for (int i = 1; i < (S + 3) / 4; i++)
      if (step >= 4 * i) mine = groups[i];
    return Dropout::two_of(__shfl_sync(0xffffffffu, mine, from), j) | Dropout::two_of(__shfl_sync(0xffffffffu, mine, from + 1), j) << 2;
  }
};

}  // namespace cuda
}  // namespace bk
