// layer_norm over the residual stream: sum = dropout(x) + residual; y = (sum - mean) rstd gamma + beta.
// Ba, Kiros and Hinton, "Layer Normalization" (2016); two-pass variance: one pass loses all digits when the mean is large.
// Saved for the backward: sum, mean, rstd. dx and dresidual follow `add` / overwrite as ops.def says.

/** A row to compute in: where the result goes, or scratch where that is too narrow. */
BK_INLINE float* float_row(float* result, const Run&, int) { return result; }
BK_INLINE float* float_row(bf16*, const Run& run, int thread) { return (float*)run.local[thread]; }

template <class T>
static void normalise(Run& run, const Call& call) {
  Cursor c(call);
  const T *x = (T*)c.any(), *residual = (T*)c.any();
  const float *gamma = c.f32(), *beta = c.f32();
  const int32_t* keep = c.i32();
  T *sum = (T*)c.any(), *y = (T*)c.any();
  float *mean = c.f32(), *rstd = c.f32();
  const int64_t rows = c.dim(), H = c.dim();
  const float eps = c.real(), p = c.real();
  const Dropout drop = Dropout::of(run, p, c.integer(), keep);
  parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int thread) {
    for (int64_t r = begin; r < end; r++) {
      T* s = sum + r * H;
      float* row = float_row(s, run, thread);  // what s will hold
      const T* from = x + r * H;
      const bool dropped = p > 0;
      if (dropped) drop.apply(from, row, r, H);
      f32 total = {};
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        f32 v = dropped ? load_columns(row + j, n) : load_columns(from + j, n);
        if (residual) v = v + load_columns(residual + r * H + j, n);
        v = as_stored<T>(v);
        store_columns(row + j, v, n);
        if ((void*)row != (void*)s) store_columns(s + j, v, n);
        total = total + v;
      }
      const float m = reduce_add(total) / (float)H;
      const float variance = sum_columns(H,
                                         [&](int64_t j, int n) {
                                           const f32 d = first(load_columns(row + j, n) - m, n);
                                           return d * d;
                                         }) /
                             (float)H;
      const float scale = 1.0f / __builtin_sqrtf(variance + eps);
      mean[r] = m;
      rstd[r] = scale;
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        store_columns(y + r * H + j, fma((load_columns(row + j, n) - m) * scale, load_columns(gamma + j, n), load_columns(beta + j, n)), n);
      }
    }
  });
}

static Status layer_norm(Run& run, const Call& call) {
  with_type((ElementType)call.attributes[BK_PLACE(layer_norm, type)], [&](auto element) { normalise<decltype(element)>(run, call); });
  return kOk;
}
static Scratch layer_norm_scratch(const Call& call) { return {0, (int64_t)call.attributes[BK_PLACE(layer_norm, H)] * 4}; }

/** With g = dy gamma and h = (sum - mean) rstd: dsum = rstd (g - mean(g) - h mean(g h)); dx = dropout(dsum). */
template <class T>
static void normalise_backward(Run& run, const Call& call) {
  Cursor c(call);
  const T *dy = (T*)c.any(), *sum = (T*)c.any();
  const float *mean = c.f32(), *rstd = c.f32(), *gamma = c.f32();
  const int32_t* keep = c.i32();
  T *dx = (T*)c.any(), *dresidual = (T*)c.any();
  const int64_t rows = c.dim(), H = c.dim();
  const float p = c.real();
  const Dropout drop = Dropout::of(run, p, c.integer(), keep);
  const bool add = c.integer() != 0;
  parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int thread) {
    for (int64_t r = begin; r < end; r++) {
      const T *g = dy + r * H, *s = sum + r * H;
      const float m = mean[r], scale = rstd[r];
      f32 total = {}, with_h = {};
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        const f32 gj = load_columns(g + j, n) * load_columns(gamma + j, n);
        total = total + gj;
        with_h = fma(gj, (load_columns(s + j, n) - m) * scale, with_h);
      }
      const float mean_g = reduce_add(total) / (float)H, mean_gh = reduce_add(with_h) / (float)H;
      const bool dropped = dx && p > 0;
      float* row = dropped ? float_row(dx + r * H, run, thread) : nullptr;
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        const f32 h = (load_columns(s + j, n) - m) * scale;
        const f32 d = (load_columns(g + j, n) * load_columns(gamma + j, n) - mean_g - h * mean_gh) * scale;
        if (dropped)
          store_columns(row + j, d, n);
        else if (dx)
          store_columns(dx + r * H + j, d, n);
        if (dresidual) store_columns(dresidual + r * H + j, add ? load_columns(dresidual + r * H + j, n) + d : d, n);
      }
      if (dropped) drop.apply(row, dx + r * H, r, H);
    }
  });
}

static Status layer_norm_backward(Run& run, const Call& call) {
  with_type((ElementType)call.attributes[BK_PLACE(layer_norm_backward, type)], [&](auto element) { normalise_backward<decltype(element)>(run, call); });
  return kOk;
}
static Scratch layer_norm_backward_scratch(const Call& call) { return {0, (int64_t)call.attributes[BK_PLACE(layer_norm_backward, H)] * 4}; }

/** dgamma = column sums of dy h, dbeta = column sums of dy. A task takes 64 columns; sums of 64 rows are added to the total. */
template <class T>
static void normalise_backward_weight(Run& run, const Call& call) {
  Cursor c(call);
  const T *dy = (T*)c.any(), *sum = (T*)c.any();
  const float *mean = c.f32(), *rstd = c.f32();
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
}

static Status layer_norm_backward_weight(Run& run, const Call& call) {
  with_type((ElementType)call.attributes[BK_PLACE(layer_norm_backward_weight, type)],
            [&](auto element) { normalise_backward_weight<decltype(element)>(run, call); });
  return kOk;
}
static constexpr Scratch (*layer_norm_backward_weight_scratch)(const Call&) = nullptr;
