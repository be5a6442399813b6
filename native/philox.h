// Counter-based random numbers: Philox4x32-7 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
// Seven rounds pass all of BigCrush (their table 2); ten, their default, leave a margin. The same bits on every backend; nothing is stored,
// every mask is computed again where it is needed.
//
// Element (row, column) of dropout site `site`: key = (seed, site), counter = (group, row, step, micro-step). The columns are taken in
// blocks of 64, and a group has of each eight in a block the columns 2q and 2q + 1: group = (column / 64) * 4 + (column % 8) / 2. So a
// counter is for 16 elements: the rounds are what dropout takes time for. With w the four outputs, i = (column % 64) / 16,
// y = w[(i + 1) % 4] ^ w[(i + 2) % 4], and byte b = (column / 8 % 2) * 2 + column % 2, of which 0 is the lowest, the draw u has 15 bits:
// above, the lower seven of byte b of w[i]; below, byte b of y.
// The element is kept when u >= floor(p * 2^15): p counts in steps of 2^-15, and less drops nothing. What is kept is divided by 1 - p.
//
// The upper seven bits are an element's own. The eight below come of other elements' bytes, and decide only where the seven are those of
// the threshold. Any two elements are independent, exactly: the 30 bits of their draws are linearly independent over GF(2) in those of w.
#pragma once
#include <stdint.h>

namespace bk {

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 7;

/** Values of a draw, of which floor(p * kDropoutDraws) are dropped. */
constexpr double kDropoutDraws = 32768;

}  // namespace bk
