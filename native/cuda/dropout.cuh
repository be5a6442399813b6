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

/** The four words of Philox4x32-10 for a counter (group, row, step, micro-step) under the key (seed, site). */
struct Draws {
  uint32_t word[4];
};

/** The random stream of a site in this run. */
struct Dropout {
  uint32_t seed, site, step, micro_step, threshold;
  float scale;

  __device__ static Dropout of(const RunState* state, float p, uint32_t site) {
    return {(uint32_t)(int64_t)state->scalars[kScalar_seed], site,
            (uint32_t)(int64_t)state->scalars[kScalar_step], (uint32_t)(int64_t)state->scalars[kScalar_micro_step],
            (uint32_t)((double)p * kDropoutDraws),           1.0f / (1.0f - p)};
  }

  /** Word i has the draws of columns 128 (group / 16) + 16 i + group % 16 of the row, in its lower half, and of the one 64 beyond. */
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

  /** `half`: 0 for the column in the first 64 of its block of 128, 1 for the one in the last. */
  __device__ bool keeps_half(uint32_t word, int half) const { return (half ? word >> 16 : word & 0xffff) >= threshold; }

  /** Whether one element is kept: ten rounds for one bit, so kernels that can take `draws` for eight columns. */
  __device__ bool keeps(uint32_t row, uint32_t column) const {
    const Draws drawn = draws(row, column / 128 * 16 + column % 16);
    const uint32_t low = column % 32 < 16 ? drawn.word[0] : drawn.word[1], high = column % 32 < 16 ? drawn.word[2] : drawn.word[3];
    return keeps_half(column % 64 < 32 ? low : high, column / 64 % 2);
  }

  /**
   * Which of W columns from `column` on are kept, in the W lowest bits; those above are any. All lanes of the warp take part, and each
   * 64 / W of them hold the columns of a block of 64 of one row, one after another. Half of a draw is for four columns, which four lanes
   * hold, the other half for another block of 64: each of the four makes a quarter of their draws, and they tell each other the bits.
   */
  template <int W>
  __device__ uint32_t keeps_columns(uint32_t row, uint32_t column) const {
    static_assert(W == 4 || W == 8, "expected four or eight columns");
    const uint32_t place = column % 64 / 16, group = column / 128 * 16 + column % 16 + place * (W / 4), half = column / 64 % 2;
    uint32_t bits = 0;
#pragma unroll
    for (int g = 0; g < W / 4; g++) {
      const Draws drawn = draws(row, group + g);
#pragma unroll
      for (int i = 0; i < 4; i++) bits |= (keeps_half(drawn.word[i], half) ? 1u << (i * W + g) : 0u);
    }
    bits <<= place * (W / 4);
    bits |= __shfl_xor_sync(0xffffffffu, bits, 16 / W);
    bits |= __shfl_xor_sync(0xffffffffu, bits, 32 / W);
    return bits >> (place * W);
  }

  /** The same for any one column, and by what `keep` [rows, H] says where it is there. Lanes beyond H columns take part for the others. */
  template <int W>
  __device__ uint32_t keeps_columns(const int32_t* keep, uint32_t row, uint32_t column, uint32_t H) const {
    if (!keep) return W == 1 ? keeps(row, column) : keeps_columns < W == 1 ? 4 : W > (row, column);
    uint32_t bits = 0;
#pragma unroll
    for (int j = 0; j < W; j++) bits |= (column < H && keep[(int64_t)row * H + column + j] != 0 ? 1u : 0u) << j;
    return bits;
  }
};

}  // namespace cuda
}  // namespace bk
