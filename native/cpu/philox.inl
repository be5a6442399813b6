// Dropout masks (../philox.h has the mapping from element to bit).

/** The random stream of one dropout site in one micro-step, and what to do with its draws. */
struct Dropout {
  uint32_t seed, site, step, micro_step;
  int32_t threshold;
  float scale;
  const int32_t* keep;  // what is kept instead of what the draws say; may be null

  static Dropout of(const Run& run, float p, int site, const int32_t* keep) {
    return {(uint32_t)(int64_t)run.scalars[kScalar_seed],
            (uint32_t)site,
            (uint32_t)(int64_t)run.scalars[kScalar_step],
            (uint32_t)(int64_t)run.scalars[kScalar_micro_step],
            (int32_t)((double)p * kDropoutDraws),
            1.0f / (1.0f - p),
            keep};
  }

  /** Columns whose draws are made at a time: each lane is a group, and four of them are a block of 64. */
  static constexpr int COLUMNS = 16 * W;

  /** Draws of columns `first` .. + COLUMNS of a row; `first` is a multiple of that. */
  void draws(int64_t row, int64_t first, uint16_t out[COLUMNS]) const {
    u32 c0 = {}, c1 = set1_u32((uint32_t)row), c2 = set1_u32(step), c3 = set1_u32(micro_step);
    for (int i = 0; i < W; i++) c0[i] = (uint32_t)i;
    c0 += (uint32_t)(first / 16);
    uint32_t k0 = seed, k1 = site;
    for (int r = 0; r < kPhiloxRounds; r++) {
      u32 hi0, lo0, hi1, lo1;
      mul_wide(c0, kPhiloxMultiplier0, hi0, lo0);
      mul_wide(c2, kPhiloxMultiplier1, hi1, lo1);
      c0 = hi1 ^ c1 ^ k0;
      c1 = lo1;
      c2 = hi0 ^ c3 ^ k1;
      c3 = lo0;
      k0 += kPhiloxWeyl0;
      k1 += kPhiloxWeyl1;
    }
    const u32 w[4] = {c0, c1, c2, c3};
    for (int i = 0; i < 4; i++) {
      // halves of a lane: the draws of its group's even columns of two eights, and of its odd ones; then, of each eight, of both columns
      const u32 y = w[(i + 1) % 4] ^ w[(i + 2) % 4];
      const u32 even = (w[i] << 8 & 0x7f007f00) | (y & 0x00ff00ff), odd = (w[i] & 0x7f007f00) | (y >> 8 & 0x00ff00ff);
      const u32 eights[2] = {(even & 0xffff) | odd << 16, even >> 16 | (odd & 0xffff0000)};
      for (int b = 0; b < W / 4; b++)
        for (int j = 0; j < 2; j++) memcpy(out + 64 * b + 16 * i + 8 * j, (const char*)&eights[j] + 16 * b, 16);
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

  /** y[c] = keep(row, c) ? x[c] * scale : 0 for c < n, the columns of a row; y may be x. */
  template <class From, class To>
  void apply(const From* x, To* y, int64_t row, int64_t n) const {
    if (keep) return apply_given(x, y, keep + row * n, n);
    const i32 least = set1_i32(threshold);  // taken once: a store to y could be one to *this
    const f32 factor = set1(scale);
    uint16_t u[COLUMNS];
    for (int64_t first = 0; first < n; first += COLUMNS) {
      draws(row, first, u);
      const int columns = (int)smaller(COLUMNS, n - first);
      for (int c = 0; c < columns; c += W) {
        const int m = (int)smaller(W, columns - c);
        const i32 keep = (i32)(__builtin_convertvector(*(const u16_unaligned*)(u + c), i32) >= least);
        store_columns(y + first + c, select(keep, load_columns(x + first + c, m) * factor, f32{}), m);
      }
    }
  }
};
