// Global gradient norm with PyTorch's clip coefficient, and AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
// 2019) in the order of PyTorch's fused implementation, one pass over the flat buffers. With the decay coupled it is Adam with an L2
// term (torch.optim.Adam), which the moments see.

constexpr int64_t kNormChunk = 65536;

/** Sum of squares: vectors over 512 elements, then float64, so the error does not grow with n. */
static double sum_of_squares(const float* g, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i += 512) {
    const int64_t m = smaller(512, n - i);
    f32 part = {};
    int64_t j = 0;
    for (; j + W <= m; j += W) {
      const f32 v = load(g + i + j);
      part = fma(v, v, part);
    }
    if (j < m) {
      const f32 v = load_n(g + i + j, (int)(m - j));
      part = fma(v, v, part);
    }
    total += (double)reduce_add(part);
  }
  return total;
}

static Status gradient_norm(Run& run, const Call& call) {
  Cursor c(call);
  const float *g = c.f32(), *loss = c.f32();
  float* norm = c.f32();
  const int64_t n = c.dim();
  double* parts = (double*)run.shared;
  parallel_ranges(run, n, kNormChunk, [&](int64_t begin, int64_t end, int) { parts[begin / kNormChunk] = sum_of_squares(g + begin, end - begin); });
  double total = 0;
  for (int64_t i = 0; i < ceil_div(n, kNormChunk); i++) total += parts[i];
  const double length = __builtin_sqrt(total), limit = run.scalars[kScalar_max_grad_norm], coefficient = limit / (length + 1e-6);
  norm[0] = (float)length + (loss ? *loss - *loss : 0);  // 0, or NaN
  norm[1] = limit > 0 && coefficient < 1 ? (float)coefficient : 1.0f;
  return kOk;
}
static Scratch gradient_norm_scratch(const Call& call) { return {ceil_div(call.attributes[BK_PLACE(gradient_norm, n)], kNormChunk) * 8, 0}; }

/**
 * Zero for what is below the least normal number. The first moment of a word that comes no more decays to there, where rounding would keep
 * it for ever, and each update that reads it would take several times as long.
 */
BK_INLINE f32 flushed(f32 v) { return select(abs(v) < 1.17549435e-38f, f32{}, v); }

/** The update of one stretch, with the scalars of a step. */
struct AdamW {
  const float* g;
  float *w, *exp_avg, *exp_avg_sq;
  f32 clip, keep, b1, b2, b2c, eps, step, root, decay;
  bool coupled;
  /** Where gradient and moments are zeros, the moments stay so and the step is 0: not with a term of L2, nor with 0 / 0. */
  bool zeros_stay;

  void update(int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; i += kZerosBlock) {
      const int64_t n = smaller(kZerosBlock, end - i);
      if (zeros_stay && all_zero(g + i, n) && all_zero(exp_avg + i, n) && all_zero(exp_avg_sq + i, n))
        shrink(i, i + n);
      else if (coupled)
        sweep<true>(i, i + n);
      else
        sweep<false>(i, i + n);
    }
  }

  /** The decay alone. */
  void shrink(int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; i += W) {
      const int k = (int)smaller(W, end - i);
      store_columns(w + i, load_columns(w + i, k) * keep, k);
    }
  }

  template <bool kCoupled>
  void sweep(int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; i += W) {
      const int k = (int)smaller(W, end - i);
      const f32 w0 = load_columns(w + i, k), clipped = load_columns(g + i, k) * clip;
      const f32 gi = kCoupled ? fma(decay, w0, clipped) : clipped;
      const f32 m0 = load_columns(exp_avg + i, k), v0 = load_columns(exp_avg_sq + i, k);
      const f32 m = flushed(fma(gi - m0, b1, m0));
      const f32 v = fma(gi * gi, b2c, v0 * b2);
      const f32 p = kCoupled ? w0 : w0 * keep;
      store_columns(exp_avg + i, m, k);
      store_columns(exp_avg_sq + i, v, k);
      store_columns(w + i, p - step * (m / (sqrt(v) / root + eps)), k);
    }
  }
};

static Status adamw(Run& run, const Call& call) {
  Cursor c(call);
  const float *g = c.f32(), *norm = c.f32();
  float *w = c.f32(), *exp_avg = c.f32(), *exp_avg_sq = c.f32();
  void* packed = c.any();
  const int64_t n = c.dim(), length = c.dim(), G = c.dim(), w_first = c.integer(), g_first = c.integer();
  if (w_first < 0 || w_first > length - n) return {"w_first", 0, w_first, 0, length - n + 1};
  if (g_first < 0 || g_first > G - n) return {"g_first", 0, g_first, 0, G - n + 1};
  const double* group = run.scalars + c.integer();
  const double lr = group[0], decay = group[1], beta1 = run.scalars[kScalar_beta1], beta2 = run.scalars[kScalar_beta2];
  const AdamW step = {g + g_first,
                      w + w_first,
                      exp_avg + g_first,
                      exp_avg_sq + g_first,
                      set1(norm[1]),
                      set1((float)(1 - lr * decay)),
                      set1((float)(1 - beta1)),
                      set1((float)beta2),
                      set1((float)(1 - beta2)),
                      set1((float)run.scalars[kScalar_eps]),
                      set1((float)(lr / group[2])),
                      set1((float)group[3]),
                      set1((float)decay),
                      run.scalars[kScalar_coupled_decay] != 0,
                      run.scalars[kScalar_coupled_decay] == 0 && (float)run.scalars[kScalar_eps] > 0};
  const bool refused = !(norm[0] - norm[0] == 0);  // NaN or inf: nothing changes
  const int64_t N = c.dim(), K = c.dim(), words = c.dim();
  const ElementType product = c.type();
  if (!packed) {
    if (!refused) parallel_ranges(run, n, 32768, [&](int64_t begin, int64_t end, int) { step.update(begin, end); });
    return kOk;
  }
  if (N * K != n) return {"n", 0, n, N * K, N * K + 1};
  return with_format(product, [&](auto format) -> Status {
    typedef decltype(format) F;
    typedef typename F::Packed Packed;
    const Status s = check_packed<F>(packed, N, K, words);
    if (s.where || refused) return s;
    parallel_ranges(run, N, kPackedRows<F>, [&](int64_t begin, int64_t end, int) {
      step.update(begin * K, end * K);
      pack_rows<F>(step.w, N, K, begin, end - begin, product, (Packed*)packed);
    });
    return kOk;
  });
}
static constexpr Scratch (*adamw_scratch)(const Call&) = nullptr;
