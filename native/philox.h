// Counter-based random numbers: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3"
// (SC 2011). The same bits on every backend; nothing is stored, every mask is computed again where it is needed.
//
// Element (row, column) of dropout site `site`: key = (seed, site), counter = (group, row, step, micro-step), where the columns are
// taken in blocks of 128: group = (column / 128) * 16 + column % 16. Of word (column % 64) / 16 of the four outputs, the lower half is the
// draw u of a column in the first 64 of its block, the upper half that of one in the last 64. So 16 consecutive columns are 16 consecutive
// counters, for every vector width that divides 16, and a counter is for eight elements: the rounds are what dropout takes time for.
// The element is kept when u >= floor(p * 2^16): p counts in steps of 2^-16, and less drops nothing. What is kept is divided by 1 - p.
#pragma once
#include <stdint.h>

namespace bk {

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

/** Values of a draw, of which floor(p * kDropoutDraws) are dropped. */
constexpr double kDropoutDraws = 65536;

}  // namespace bk
