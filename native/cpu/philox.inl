// Dropout masks (../philox.h has the mapping from element to bit).

/** The random stream of one dropout site in one micro-step, and what to do with its draws. */
struct Dropout {
  uint32_t seed, site, step, micro_step, threshold;
  float scale;
  const int32_t* keep;  // what is kept instead of what the draws say; may be null

  static Dropout of(const Run& run, float p, int site, const int32_t* keep) {
    return {(uint32_t)(int64_t)run.scalars[kScalar_seed],
            (uint32_t)site,
            (uint32_t)(int64_t)run.scalars[kScalar_step],
            (uint32_t)(int64_t)run.scalars[kScalar_micro_step],
            (uint32_t)((double)p * kDropoutDraws),
            1.0f / (1.0f - p),
            keep};
  }

  /** Words of columns 128 * block .. + 64 of a row, in column order; their lower halves are the draws of these, the upper ones of the next 64. */
  void draws(int64_t row, int64_t block, u32 out[64 / W]) const {
    for (int v = 0; v < 16 / W; v++) {
      u32 c0, c1 = set1_u32((uint32_t)row), c2 = set1_u32(step), c3 = set1_u32(micro_step);
      for (int i = 0; i < W; i++) c0[i] = (uint32_t)(block * 16 + v * W + i);
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
      out[v] = c0;
      out[16 / W + v] = c1;
      out[2 * (16 / W) + v] = c2;
      out[3 * (16 / W) + v] = c3;
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
    u32 u[64 / W];
    for (int64_t c = 0; c < n; c += 64) {
      const bool first = c % 128 == 0;
      if (first) draws(row, c / 128, u);
      for (int v = 0; v < 64 / W && c + v * W < n; v++) {
        const int64_t at = c + v * W;
        const i32 keep = (i32)((first ? u[v] & 0xffff : u[v] >> 16) >= threshold);
        if (at + W <= n)
          store(y + at, select(keep, load(x + at) * scale, f32{}));
        else
          store_n(y + at, select(keep, load_n(x + at, (int)(n - at)) * scale, f32{}), (int)(n - at));
      }
    }
  }
};
