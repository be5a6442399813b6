// layer_norm over the residual stream: sum = dropout(x) + residual; y = (sum - mean) rstd gamma + beta.
// Ba, Kiros and Hinton, "Layer Normalization" (2016); two-pass variance: one pass loses all digits when the mean is large.
// Saved for the backward: sum, mean, rstd. dx and dresidual follow `add` / overwrite as ops.def says.

static Status layer_norm(Run& run, const Call& call) {
  Cursor c(call);
  const float *x = c.f32(), *residual = c.f32(), *gamma = c.f32(), *beta = c.f32();
  float *sum = c.f32(), *y = c.f32(), *mean = c.f32(), *rstd = c.f32();
  const int64_t rows = c.dim(), H = c.dim();
  const float eps = c.real(), p = c.real();
  const Dropout drop = Dropout::of(run, p, c.integer());
  parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      float* s = sum + r * H;
      const float* from = x + r * H;
      if (p > 0) {
        drop.apply(from, s, r, H);
        from = s;
      }
      if (residual || from != s)
        for (int64_t j = 0; j < H; j += W) {
          const int n = (int)smaller(W, H - j);
          const f32 v = load_columns(from + j, n);
          store_columns(s + j, residual ? v + load_columns(residual + r * H + j, n) : v, n);
        }
      const float m = sum_columns(H, [&](int64_t j, int n) { return load_columns(s + j, n); }) / (float)H;
      const float variance = sum_columns(H,
                                         [&](int64_t j, int n) {
                                           const f32 d = first(load_columns(s + j, n) - m, n);
                                           return d * d;
                                         }) /
                             (float)H;
      const float scale = 1.0f / __builtin_sqrtf(variance + eps);
      mean[r] = m;
      rstd[r] = scale;
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        store_columns(y + r * H + j, fma((load_columns(s + j, n) - m) * scale, load_columns(gamma + j, n), load_columns(beta + j, n)), n);
      }
    }
  });
  return kOk;
}
static constexpr Scratch (*layer_norm_scratch)(const Call&) = nullptr;

/** With g = dy gamma and h = (sum - mean) rstd: dsum = rstd (g - mean(g) - h mean(g h)); dx = dropout(dsum). */
static Status layer_norm_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float *dy = c.f32(), *sum = c.f32(), *mean = c.f32(), *rstd = c.f32(), *gamma = c.f32();
  float *dx = c.f32(), *dresidual = c.f32();
  const int64_t rows = c.dim(), H = c.dim();
  const float p = c.real();
  const Dropout drop = Dropout::of(run, p, c.integer());
  const bool add = c.integer() != 0;
  parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const float *g = dy + r * H, *s = sum + r * H;
      const float m = mean[r], scale = rstd[r];
      f32 total = {}, with_h = {};
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        const f32 gj = load_columns(g + j, n) * load_columns(gamma + j, n);
        total = total + gj;
        with_h = fma(gj, (load_columns(s + j, n) - m) * scale, with_h);
      }
      const float mean_g = reduce_add(total) / (float)H, mean_gh = reduce_add(with_h) / (float)H;
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        const f32 h = (load_columns(s + j, n) - m) * scale;
        const f32 d = (load_columns(g + j, n) * load_columns(gamma + j, n) - mean_g - h * mean_gh) * scale;
        if (dx) store_columns(dx + r * H + j, d, n);
        if (dresidual) store_columns(dresidual + r * H + j, add ? load_columns(dresidual + r * H + j, n) + d : d, n);
      }
      if (dx && p > 0) drop.apply(dx + r * H, dx + r * H, r, H);
    }
  });
  return kOk;
}
static constexpr Scratch (*layer_norm_backward_scratch)(const Call&) = nullptr;

/** dgamma = column sums of dy h, dbeta = column sums of dy. A task takes 64 columns; sums of 64 rows are added to the total. */
static Status layer_norm_backward_weight(Run& run, const Call& call) {
  Cursor c(call);
  const float *dy = c.f32(), *sum = c.f32(), *mean = c.f32(), *rstd = c.f32();
  float *dgamma = c.f32(), *dbeta = c.f32();
  const int64_t rows = c.dim(), H = c.dim();
  const bool add = accumulates(run, c.integer());
  parallel_ranges(run, H, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t j = begin; j < end; j += W) {
      const int n = (int)smaller(W, end - j);
      f32 total_gamma = {}, total_beta = {};
      for (int64_t r0 = 0; r0 < rows; r0 += 64) {
        f32 part_gamma = {}, part_beta = {};
        for (int64_t r = r0; r < smaller(r0 + 64, rows); r++) {
          const f32 g = load_columns(dy + r * H + j, n);
          part_gamma = fma(g, (load_columns(sum + r * H + j, n) - mean[r]) * rstd[r], part_gamma);
          part_beta = part_beta + g;
        }
        total_gamma = total_gamma + part_gamma;
        total_beta = total_beta + part_beta;
      }
      if (dgamma) store_columns(dgamma + j, add ? total_gamma + load_columns(dgamma + j, n) : total_gamma, n);
      if (dbeta) store_columns(dbeta + j, add ? total_beta + load_columns(dbeta + j, n) : total_beta, n);
    }
  });
  return kOk;
}
static constexpr Scratch (*layer_norm_backward_weight_scratch)(const Call&) = nullptr;
