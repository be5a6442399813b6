// linear: y = act(x w^T + bias), and its three gradients. w is [N, K] as in PyTorch's nn.Linear. The product is of x's type: of
// bfloat16, weights and float32 gradients are rounded while they are packed.

/** Keeps z if it is given, y = act(z), of z as it is kept, so that a backward has the same y from it: takes each finished tile of the product. */
struct Activated {
  Rows to, z;
  int act;

  float* place(int64_t, int64_t) const { return nullptr; }

  void operator()(const float* tile, int64_t ldtile, int64_t i, int64_t rows, int64_t j, int64_t columns) const {
    with_activation(act, [&](auto activation) {
      with_type(to.type, [&](auto element) { apply<decltype(activation), decltype(element)>(tile, ldtile, i, rows, j, columns); });
    });
  }

  template <class Act, class T>
  void apply(const float* tile, int64_t ldtile, int64_t i, int64_t rows, int64_t j, int64_t columns) const {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t k = 0; k < columns; k += W) {
        const int n = (int)smaller(W, columns - k);
        const f32 v = load_columns(tile + r * ldtile + k, n);
        if (z.data) store_columns((T*)z.at(i + r, j + k), v, n);
        store_columns((T*)to.at(i + r, j + k), Act::value(as_stored<T>(v)), n);
      }
  }
};

static Status linear(Run& run, const Call& call) {
  Cursor c(call);
  void* x = c.any();
  float *w = c.f32(), *bias = c.f32();
  const void* packed = c.any();
  void *y = c.any(), *z = c.any();
  const int64_t rows = c.dim(), K = c.dim(), N = c.dim(), words = c.dim();
  const int act = c.integer();
  const ElementType type = c.type(), to = c.type();
  return with_format(type, [&](auto format) -> Status {
    typedef decltype(format) F;
    const Status s = check_packed<F>(packed, N, K, words);
    if (s.where) return s;
    const Matrix a = {x, K, 1, elements_of(type, type)}, b = {w, 1, K, float32_elements(type)};
    const Rows start = {bias, 0, kFloat32}, out = {y, N, to};
    if (act == 0 && !z)
      gemm<F>(run, rows, N, K, a, b, start, Store{out}, packed);
    else
      gemm<F>(run, rows, N, K, a, b, start, Activated{out, {z, N, to}, act}, packed);
    return kOk;
  });
}
static Scratch linear_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return gemm_scratch((ElementType)at[BK_PLACE(linear, type)], at[BK_PLACE(linear, rows)], at[BK_PLACE(linear, N)], at[BK_PLACE(linear, K)], call.operands[3]);
}

/** dx = dy w */
static Status linear_backward_data(Run& run, const Call& call) {
  Cursor c(call);
  void* dy = c.any();
  float* w = c.f32();
  c.any();  // packed, for x w^T: dy w reads another form
  void* dx = c.any();
  const int64_t rows = c.dim(), K = c.dim(), N = c.dim();
  c.dim();  // its words
  const bool add = c.integer() != 0;
  const ElementType type = c.type(), to = c.type();
  const Rows out = {dx, K, type};
  with_format(type, [&](auto format) {
    gemm<decltype(format)>(run, rows, K, N, {dy, N, 1, elements_of(to, type)}, {w, K, 1, float32_elements(type)}, {add ? dx : nullptr, K, type}, Store{out});
  });
  return kOk;
}
static Scratch linear_backward_data_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return gemm_scratch((ElementType)at[BK_PLACE(linear_backward_data, type)], at[BK_PLACE(linear_backward_data, rows)], at[BK_PLACE(linear_backward_data, K)],
                      at[BK_PLACE(linear_backward_data, N)]);
}

BK_INLINE bool accumulates(const Run& run, int accumulate) { return accumulate || run.scalars[kScalar_accumulate] != 0; }

/**
 * For a bias whose weights are frozen, or whose product does not sum: out[n] = (add ? out : 0) + the sum of x's rows, which are
 * `stride` apart; in the order in which Float32::sum_strip sums what a weight gradient packs, so that freezing the weights changes
 * no bit.
 */
template <class T>
static void sum_rows(Run& run, const T* x, int64_t rows, int64_t N, int64_t stride, float* out, bool add) {
  parallel_ranges(run, N, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t j = begin; j < end; j += W) {
      const int n = (int)smaller(W, end - j);
      f32 total = add ? load_n(out + j, n) : f32{};
      for (int64_t r0 = 0; r0 < rows; r0 += Float32::KC) {
        const int64_t kc = smaller(Float32::KC, rows - r0), fours = Float32::strip_fours(kc);
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
  void *dy = c.any(), *x = c.any();
  float *dw = c.f32(), *dbias = c.f32();
  const int64_t rows = c.dim(), K = c.dim(), N = c.dim(), T = c.dim(), first = c.integer();
  const bool add = accumulates(run, c.integer());
  const ElementType type = c.type(), to = c.type();
  if (first < 0 || first > T - N) return {"first", 0, first, 0, T - N + 1};
  if (dw && rows == 0 && !add) clear(dw, N * K);
  with_format(type, [&](auto format) {
    typedef decltype(format) F;
    // a product of float32 sums what it packs; where that is rounded, the sums are of what it was
    const bool fused = dw && sizeof(typename F::Packed) == 4 && (type == kFloat32 || to == kBfloat16);
    const Matrix columns = Matrix{dy, T, 1, elements_of(to, type)}.from(0, first), turned = {columns.data, 1, T, columns.elements};
    const Rows out = {dw, K, kFloat32};
    if (dw)
      gemm<F>(run, N, K, rows, turned, {x, K, 1, elements_of(type, type)}, {add ? dw : nullptr, K, kFloat32}, Store{out}, nullptr,
              {fused ? dbias : nullptr, add});
    if (dbias && !fused) with_type(to, [&](auto element) { sum_rows(run, (const decltype(element)*)columns.data, rows, N, T, dbias, add); });
  });
  return kOk;
}
static Scratch linear_backward_weight_scratch(const Call& call) {
  if (!call.operands[2]) return {0, 0};  // sums of dy alone
  const int32_t* at = call.attributes;
  return gemm_scratch((ElementType)at[BK_PLACE(linear_backward_weight, type)], at[BK_PLACE(linear_backward_weight, N)], at[BK_PLACE(linear_backward_weight, K)],
                      at[BK_PLACE(linear_backward_weight, rows)]);
}
