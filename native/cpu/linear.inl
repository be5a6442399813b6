// linear: y = act(x w^T + bias), and its three gradients. w is [N, K] as in PyTorch's nn.Linear.

/** Keeps z if it is given, y = act(z): runs on each finished tile of the product. */
struct Activated {
  float *y, *z;
  int64_t N;
  int act;

  void operator()(int64_t i, int64_t rows, int64_t j, int64_t columns) const {
    with_activation(act, [&](auto activation) { apply<decltype(activation)>(i, rows, j, columns); });
  }

  template <class Act>
  void apply(int64_t i, int64_t rows, int64_t j, int64_t columns) const {
    for (int64_t r = i; r < i + rows; r++)
      for (int64_t k = j; k < j + columns; k += W) {
        const int n = (int)smaller(W, j + columns - k);
        float* p = y + r * N + k;
        const f32 v = load_columns(p, n);
        if (z) store_columns(z + r * N + k, v, n);
        store_columns(p, Act::value(v), n);
      }
  }
};

static Status linear(Run& run, const Call& call) {
  Cursor c(call);
  const float *x = c.f32(), *w = c.f32(), *bias = c.f32();
  float *y = c.f32(), *z = c.f32();
  const int64_t rows = c.dim(), K = c.dim(), N = c.dim();
  const int act = c.integer();
  const Matrix a = {x, K, 1}, b = {w, 1, K};
  if (act == 0 && !z)
    gemm(run, rows, N, K, a, b, {bias, 0}, y, N, NoEpilogue());
  else
    gemm(run, rows, N, K, a, b, {bias, 0}, y, N, Activated{y, z, N, act});
  return kOk;
}
static Scratch linear_scratch(const Call& call) { return gemm_scratch(call.attributes[0], call.attributes[2], call.attributes[1]); }

/** dx = dy w */
static Status linear_backward_data(Run& run, const Call& call) {
  Cursor c(call);
  const float *dy = c.f32(), *w = c.f32();
  float* dx = c.f32();
  const int64_t rows = c.dim(), K = c.dim(), N = c.dim();
  gemm(run, rows, K, N, {dy, N, 1}, {w, K, 1}, {c.integer() ? dx : nullptr, K}, dx, K, NoEpilogue());
  return kOk;
}
static Scratch linear_backward_data_scratch(const Call& call) { return gemm_scratch(call.attributes[0], call.attributes[1], call.attributes[2]); }

BK_INLINE bool accumulates(const Run& run, int accumulate) { return accumulate || run.scalars[kScalar_accumulate] != 0; }

/**
 * For a bias whose weights are frozen: out[n] = (add ? out : 0) + the sum of x's rows, which are `stride` apart; in the order in which
 * sum_strip sums what a weight gradient packs, so that freezing the weights changes no bit.
 */
static void sum_rows(Run& run, const float* x, int64_t rows, int64_t N, int64_t stride, float* out, bool add) {
  parallel_ranges(run, N, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t j = begin; j < end; j += W) {
      const int n = (int)smaller(W, end - j);
      f32 total = add ? load_n(out + j, n) : f32{};
      for (int64_t r0 = 0; r0 < rows; r0 += KC) {
        const int64_t kc = smaller(KC, rows - r0), fours = strip_fours(kc);
        const auto row = [&](int64_t k) { return load_columns(x + (r0 + k) * stride + j, n); };
        f32 sum[4] = {};
        for (int64_t k = 0; k < fours; k += 4)
#pragma GCC unroll 4
          for (int c = 0; c < 4; c++) sum[c] = sum[c] + row(k + c);
        f32 part = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        for (int64_t k = fours; k < kc; k++) part = part + row(k);
        total = total + part;
      }
      store_n(out + j, total, n);
    }
  });
}

/** dw = dy^T x, dbias = column sums of dy, of the N columns of dy from `first` on; at least one of them is given */
static Status linear_backward_weight(Run& run, const Call& call) {
  Cursor c(call);
  const float *dy = c.f32(), *x = c.f32();
  float *dw = c.f32(), *dbias = c.f32();
  const int64_t rows = c.dim(), K = c.dim(), N = c.dim(), T = c.dim(), first = c.integer();
  const bool add = accumulates(run, c.integer());
  if (first < 0 || first > T - N) return {"first", 0, first, 0, T - N + 1};
  dy += first;
  if (dw && rows == 0 && !add) memset(dw, 0, (size_t)(N * K) * 4);
  if (dw)
    gemm(run, N, K, rows, {dy, 1, T}, {x, K, 1}, {add ? dw : nullptr, K}, dw, K, NoEpilogue(), {dbias, add});
  else if (dbias)
    sum_rows(run, dy, rows, N, T, dbias, add);
  return kOk;
}
static Scratch linear_backward_weight_scratch(const Call& call) { return gemm_scratch(call.attributes[2], call.attributes[1], call.attributes[0]); }
