// Dropout masks (../philox.h has the mapping from element to bit).

/** The random stream of one dropout site in one micro-step, and what to do with its draws. */
struct Dropout {
  uint32_t seed, site, step, micro_step, threshold, rest, phase;
  float scale;
  const int32_t* keep;  // what is kept instead of what the draws say; may be null

  static Dropout of(const Run& run, float p, int site, const int32_t* keep) {
    const uint32_t seed = (uint32_t)(int64_t)run.scalars[kScalar_seed], step = (uint32_t)(int64_t)run.scalars[kScalar_step];
    const uint32_t micro_step = (uint32_t)(int64_t)run.scalars[kScalar_micro_step];
    return {
        seed, (uint32_t)site, step, micro_step, dropout_threshold(p), dropout_rest(p), dropout_phase(seed, (uint32_t)site, step, micro_step), 1.0f / (1.0f - p),
        keep};
  }

  /** Words that say what is kept of a row of n columns: of each block of 128 its four groups. */
  static int64_t words(int64_t n) { return ceil_div(n, 128) * 4; }

  static u32 lanes() {
    u32 v;
    for (int i = 0; i < W; i++) v[i] = (uint32_t)i;
    return v;
  }

  /** Of W counters, what is kept of the elements of each. */
  u32 keeps(u32 group, u32 row) const {
    u32 w[4] = {group, row, set1_u32(step), set1_u32(micro_step)};
    uint32_t k0 = seed, k1 = site;
    for (int r = 0; r < kPhiloxRounds; r++) {
      u32 hi0, lo0, hi1, lo1;
      mul_wide(w[0], kPhiloxMultiplier0, hi0, lo0);
      mul_wide(w[2], kPhiloxMultiplier1, hi1, lo1);
      w[0] = hi1 ^ w[1] ^ k0;
      w[1] = lo1;
      w[2] = hi0 ^ w[3] ^ k1;
      w[3] = lo0;
      k0 += kPhiloxWeyl0;
      k1 += kPhiloxWeyl1;
    }
    // bit by bit, from the lowest: kept where the draw's is set and the threshold's is not, not kept where it is the other way round
    u32 kept = ~(u32)(phase + row * kPhiloxWeyl0 < rest);  // dropout_keeps_equal
    const auto compare = [&](u32 drawn, int bit) { kept = threshold >> bit & 1 ? kept & drawn : kept | drawn; };
    constexpr int kBelow = kDropoutBits - kDropoutOwnBits;
    for (int k = 0; k < kBelow; k++) compare(turned_left(w[k], kDropoutTurns[0]) ^ turned_left(w[k + 1], kDropoutTurns[1]), k);
    for (int k = 0; k < kDropoutOwnBits; k++) compare(w[k], kBelow + k);
    return kept;
  }
  static u32 turned_left(u32 bits, int n) { return bits << n | bits >> (32 - n); }

  /**
   * Draws what is kept of `count` rows of n columns, `distance` apart: words(n) of each, one row after another, and up to W words beyond
   * the last. Short rows share a vector.
   */
  void draw(int64_t row, int64_t distance, int64_t count, int64_t n, uint32_t* out) const {
    const int64_t groups = words(n);
    const int shift = groups == 4 ? 2 : 3, together = W >> shift;  // rows of a vector
    const u32 lane = lanes();
    if (together > 1 && groups == (int64_t)1 << shift) {
      const u32 group = lane & (uint32_t)(groups - 1), rows = (uint32_t)row + (lane >> shift) * (uint32_t)distance;
      for (int64_t i = 0; i < count; i += together, out += W) {
        const u32 kept = keeps(group, rows + (uint32_t)(i * distance));
        memcpy(out, &kept, sizeof kept);
      }
      return;
    }
    for (int64_t i = 0; i < count; i++, out += groups)
      for (int64_t g = 0; g < groups; g += W) {
        const u32 kept = keeps(lane + (uint32_t)g, set1_u32((uint32_t)(row + i * distance)));
        memcpy(out + g, &kept, sizeof kept);
      }
  }

  /** f(c, m, keep) for each vector of a row's n columns, m of them from column c on, with what is kept of them by its words. */
  template <class F>
  static inline __attribute__((always_inline)) void for_columns(const uint32_t* words, int64_t n, F f) {
    u32 bits[16 / W];  // where the columns of each sixteen have theirs, but for which sixteen of a block it is
    for (int c = 0; c < 16; c++) bits[c / W][c % W] = 1u << 8 * (c / 8 * 2 + c % 2);
    for (int64_t begin = 0; begin < n; begin += 128, words += 4) {
      constexpr int kEight = W < 8 ? 8 / W : 1;
      u32 of_columns[kEight];  // the words of the columns of each eight
      spread(words, of_columns);
      const int64_t columns = smaller(128, n - begin);
      for (int c = 0; c < columns; c += W) f(begin + c, (int)smaller(W, columns - c), (i32)((of_columns[c % 8 / W] & bits[c % 16 / W] << c / 16) != 0));
    }
  }
  /** Column c of eight has word c / 2 of four. */
  template <int N>
  static void spread(const uint32_t* words, u32 (&of_columns)[N]) {
    const u32x4 w = *(const u32x4_unaligned*)words;
    if constexpr (N == 2) {
      of_columns[0] = __builtin_shufflevector(w, w, 0, 0, 1, 1);
      of_columns[1] = __builtin_shufflevector(w, w, 2, 2, 3, 3);
    } else if constexpr (W == 8) {
      of_columns[0] = __builtin_shufflevector(w, w, 0, 0, 1, 1, 2, 2, 3, 3);
    } else {
      of_columns[0] = __builtin_shufflevector(w, w, 0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3);
    }
  }

  /** y[c] = kept[c] ? x[c] * scale : 0 for c < n; y may be x. */
  template <class From, class To>
  void apply_given(const From* x, To* y, const int32_t* kept, int64_t n) const {
    for (int64_t c = 0; c < n; c += W) {
      const int m = (int)smaller(W, n - c);
      i32 given = {};
      for (int i = 0; i < m; i++) given[i] = kept[c + i];
      store_columns(y + c, select((i32)(given != 0), load_columns(x + c, m) * scale, f32{}), m);
    }
  }

  /** y[c] = x[c] * scale where its bit in `words` is set, else 0, for c < n; y may be x. */
  template <class From, class To>
  void apply_drawn(const From* x, To* y, const uint32_t* words, int64_t n) const {
    const f32 factor = set1(scale);  // taken once: a store to y could be one to *this
    for_columns(words, n, [&](int64_t c, int m, i32 keep) { store_columns(y + c, select(keep, load_columns(x + c, m) * factor, f32{}), m); });
  }

  /** y[c] = keep(row, c) ? x[c] * scale : 0 for c < n, the columns of a row; y may be x. */
  template <class From, class To>
  void apply(const From* x, To* y, int64_t row, int64_t n) const {
    if (keep) return apply_given(x, y, keep + row * n, n);
    constexpr int64_t kColumns = 32 * W;  // that a vector of counters is for
    uint32_t words[W];
    for (int64_t first = 0; first < n; first += kColumns) {
      const u32 kept = keeps(lanes() + (uint32_t)(first / 32), set1_u32((uint32_t)row));
      memcpy(words, &kept, sizeof kept);
      apply_drawn(x + first, y + first, words, smaller(kColumns, n - first));
    }
  }
};
