// Counter-based random numbers: Philox4x32-7 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
// Seven rounds pass all of BigCrush (their table 2); ten, their default, leave a margin. The same bits on every backend; nothing is stored,
// every mask is computed again where it is needed.
//
// Element (row, column) of dropout site `site`: key = (seed, site), counter = (group, row, step, micro-step). The columns are taken in blocks
// of 128, and a group has of each eight in a block the columns 2q and 2q + 1: group = (column / 128) * 4 + (column % 8) / 2. So a counter is
// for 32 elements, each of which has a bit of the four outputs w: bit 8 * ((column / 8 % 2) * 2 + column % 2) + column % 128 / 16. Its draw u has
// seven bits: those of w[3], w[2], w[1] and w[0], the highest first, then those of y[2], y[1] and y[0], where y[k] = w[k] turned left by 9 ^
// w[k + 1] turned left by 20. It is kept when u >= p * 128, and divided by 1 - p then. So 32 elements are compared at a time, a bit of all
// their draws in one instruction, and the rounds of a counter and all that comes after them are 50 instructions.
//
// p * 128 is rounded up or down for a row: up where a number that goes evenly through [0, 1), from row to row by the golden ratio (Weyl's
// sequence) and from step to step by another, is below what p * 128 has behind the point. So an element is dropped with a probability of p, over
// the rows and steps, and not of a multiple of 1 / 128; where p is less than that, whole rows drop nothing. Given a row's rounding, any two
// elements of a counter are independent, exactly: the 14 bits of their draws are linearly independent over GF(2) in those of w. Three at bits
// b, b - 9 and b - 20 are not. Over all rows, the correlation of two elements of a row is less than 1 / 128, and 1e-4 at p = 0.1.
#pragma once
#include <stdint.h>

namespace bk {

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 7;

#if defined(__CUDACC__)
#define BK_HOST_DEVICE __host__ __device__
#else
#define BK_HOST_DEVICE
#endif

constexpr int kDropoutBits = 7, kDropoutOwnBits = 4;  // of a draw; of those, bits of w
constexpr int kDropoutTurns[2] = {9, 20};

/** p * 128 before the point, and what is behind it in units of 2^-32. 0 <= p < 1, which plans are held to. */
BK_HOST_DEVICE static inline uint32_t dropout_threshold(float p) { return (uint32_t)(p * (1 << kDropoutBits)); }
BK_HOST_DEVICE static inline uint32_t dropout_rest(float p) { return (uint32_t)(((double)p * (1 << kDropoutBits) - dropout_threshold(p)) * 4294967296.0); }
/** Where the sequence of a site begins in this micro-step. The factors are odd, and arbitrary. */
BK_HOST_DEVICE static inline uint32_t dropout_phase(uint32_t seed, uint32_t site, uint32_t step, uint32_t micro_step) {
  return (seed * 0xC2B2AE35u ^ site * 0x85EBCA6Bu) + step * 0xB5297A4Du + micro_step * 0x68E31DA5u;
}
/** Whether a draw that equals the threshold is kept in a row: all bits, or none. */
BK_HOST_DEVICE static inline uint32_t dropout_keeps_equal(uint32_t phase, uint32_t rest, uint32_t row) { return phase + row * kPhiloxWeyl0 < rest ? 0 : ~0u; }

}  // namespace bk
