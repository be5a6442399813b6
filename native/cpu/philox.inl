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

  /** Columns that are drawn at a time: each lane is a group, and four of them are a block of 128. */
  static constexpr int COLUMNS = 32 * W;

  /** Of columns `first` .. + COLUMNS of a row, what is kept of each group; `first` is a multiple of that. */
  void keeps(int64_t row, int64_t first, uint32_t out[W]) const {
    u32 w[4] = {{}, set1_u32((uint32_t)row), set1_u32(step), set1_u32(micro_step)};
    for (int i = 0; i < W; i++) w[0][i] = (uint32_t)i;
    w[0] += (uint32_t)(first / 32);
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
    u32 kept = set1_u32(dropout_keeps_equal(phase, rest, (uint32_t)row));
    const auto compare = [&](u32 drawn, int bit) { kept = threshold >> bit & 1 ? kept & drawn : kept | drawn; };
    constexpr int kBelow = kDropoutBits - kDropoutOwnBits;
    for (int k = 0; k < kBelow; k++) compare(turned_left(w[k], kDropoutTurns[0]) ^ turned_left(w[k + 1], kDropoutTurns[1]), k);
    for (int k = 0; k < kDropoutOwnBits; k++) compare(w[k], kBelow + k);
    memcpy(out, &kept, sizeof kept);
  }
  static u32 turned_left(u32 bits, int n) { return bits << n | bits >> (32 - n); }

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

  /** y[c] = keep(row, c) ? x[c] * scale : 0 for c < n, the columns of a row; y may be x. */
  template <class From, class To>
  void apply(const From* x, To* y, int64_t row, int64_t n) const {
    if (keep) return apply_given(x, y, keep + row * n, n);
    const f32 factor = set1(scale);  // taken once: a store to y could be one to *this
    u32 bits[16 / W];                // where the columns of each sixteen have theirs, but for which sixteen of a block it is
    for (int c = 0; c < 16; c++) bits[c / W][c % W] = 1u << 8 * (c / 8 * 2 + c % 2);
    uint32_t words[W];
    for (int64_t first = 0; first < n; first += COLUMNS) {
      keeps(row, first, words);
      for (int block = 0; block < W / 4 && first + 128 * block < n; block++) {
        constexpr int kEight = W < 8 ? 8 / W : 1;
        u32 of_columns[kEight];  // the words of the columns of each eight
        for (int c = 0; c < W * kEight; c++) of_columns[c / W][c % W] = words[4 * block + c % 8 / 2];
        const int64_t begin = first + 128 * block, columns = smaller(128, n - begin);
        for (int c = 0; c < columns; c += W) {
          const int m = (int)smaller(W, columns - c);
          const i32 keep = (i32)((of_columns[c % 8 / W] & bits[c % 16 / W] << c / 16) != 0);
          store_columns(y + begin + c, select(keep, load_columns(x + begin + c, m) * factor, f32{}), m);
        }
      }
    }
  }
};
