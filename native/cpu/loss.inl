// Losses: a sum divided by a denominator that the run brings (counted over all micro-batches of an update), and dlogits.

constexpr int kIgnoreIndex = -100;

static Status check_labels(const int32_t* labels, int64_t rows, int64_t C) {
  for (int64_t r = 0; r < rows; r++)
    if (labels[r] != kIgnoreIndex && (labels[r] < 0 || labels[r] >= C)) return {"labels", r, labels[r], 0, C};
  return kOk;
}

/** loss[0] = (add ? loss[0] : 0) + total / denominator; no labelled element at all (denominator 0) is a loss of 0. */
static void put_loss(float* loss, bool add, double total, double denominator) {
  const float value = denominator > 0 ? (float)(total / denominator) : 0.0f;
  loss[0] = add ? loss[0] + value : value;
}

/** -log softmax(logits)[label], summed over rows whose label is not -100. Saves lse, the log-sum-exp of each row. */
static Status cross_entropy(Run& run, const Call& call) {
  Cursor c(call);
  const float* logits = c.f32();
  const int32_t* labels = c.i32();
  float *lse = c.f32(), *loss = c.f32();
  const int64_t rows = c.dim(), C = c.dim();
  const double denominator = run.scalars[c.integer()];
  const bool add = c.integer() != 0;
  const Status s = check_labels(labels, rows, C);
  if (s.where) return s;
  parallel_ranges(run, rows, row_grain(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const float* z = logits + r * C;
      f32 top = set1(z[0]);
      for (int64_t j = 0; j < C; j += W) top = max(top, j + W <= C ? load(z + j) : load_n(z + j, (int)(C - j), z[0]));
      const float m = reduce_max(top);
      const float total = sum_columns(C, [&](int64_t j, int n) { return first(exp(load_columns(z + j, n) - m), n); });
      lse[r] = (float)((double)m + __builtin_log((double)total));
    }
  });
  double total = 0;
  for (int64_t r = 0; r < rows; r++)
    if (labels[r] != kIgnoreIndex) total += (double)lse[r] - (double)logits[r * C + labels[r]];
  put_loss(loss, add, total, denominator);
  return kOk;
}
static constexpr Scratch (*cross_entropy_scratch)(const Call&) = nullptr;

/** dlogits = (softmax(logits) - one_hot(label)) / denominator; rows labelled -100 get 0. */
static Status cross_entropy_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float* logits = c.f32();
  const int32_t* labels = c.i32();
  const float* lse = c.f32();
  float* dlogits = c.f32();
  const int64_t rows = c.dim(), C = c.dim();
  const double denominator = run.scalars[c.integer()];
  const Status s = check_labels(labels, rows, C);
  if (s.where) return s;
  const float scale = denominator > 0 ? (float)(1 / denominator) : 0.0f;
  parallel_ranges(run, rows, row_grain(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const float* z = logits + r * C;
      float* d = dlogits + r * C;
      const float row_scale = labels[r] == kIgnoreIndex ? 0.0f : scale;
      for (int64_t j = 0; j < C; j += W) {
        const int n = (int)smaller(W, C - j);
        store_columns(d + j, exp(load_columns(z + j, n) - lse[r]) * row_scale, n);
      }
      if (labels[r] != kIgnoreIndex) d[labels[r]] -= scale;
    }
  });
  return kOk;
}
static constexpr Scratch (*cross_entropy_backward_scratch)(const Call&) = nullptr;

/** (logits - targets)^2, summed. */
static Status mean_squared_error(Run& run, const Call& call) {
  Cursor c(call);
  const float *logits = c.f32(), *targets = c.f32();
  float* loss = c.f32();
  const int64_t n = c.dim() * c.dim();
  const double denominator = run.scalars[c.integer()];
  double total = 0;
  for (int64_t i = 0; i < n; i++) {
    const double d = (double)logits[i] - (double)targets[i];
    total += d * d;
  }
  put_loss(loss, c.integer() != 0, total, denominator);
  return kOk;
}
static constexpr Scratch (*mean_squared_error_scratch)(const Call&) = nullptr;

static Status mean_squared_error_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float *logits = c.f32(), *targets = c.f32();
  float* dlogits = c.f32();
  const int64_t n = c.dim() * c.dim();
  const double denominator = run.scalars[c.integer()];
  for (int64_t i = 0; i < n; i++) dlogits[i] = denominator > 0 ? (float)(2 * ((double)logits[i] - (double)targets[i]) / denominator) : 0;
  return kOk;
}
static constexpr Scratch (*mean_squared_error_backward_scratch)(const Call&) = nullptr;

/** log(1 + e^z) - z target = max(z, 0) - z target + log(1 + e^-|z|), summed: PyTorch's BCEWithLogitsLoss. */
static Status binary_cross_entropy(Run& run, const Call& call) {
  Cursor c(call);
  const float *logits = c.f32(), *targets = c.f32();
  float* loss = c.f32();
  const int64_t n = c.dim() * c.dim();
  const double denominator = run.scalars[c.integer()];
  double total = 0;
  for (int64_t i = 0; i < n; i++) {
    const double z = logits[i];
    total += (z > 0 ? z : 0) - z * (double)targets[i] + __builtin_log1p(__builtin_exp(z > 0 ? -z : z));
  }
  put_loss(loss, c.integer() != 0, total, denominator);
  return kOk;
}
static constexpr Scratch (*binary_cross_entropy_scratch)(const Call&) = nullptr;

static Status binary_cross_entropy_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float *logits = c.f32(), *targets = c.f32();
  float* dlogits = c.f32();
  const int64_t n = c.dim() * c.dim();
  const double denominator = run.scalars[c.integer()];
  for (int64_t i = 0; i < n; i++) {
    const double s = 1 / (1 + __builtin_exp(-(double)logits[i]));
    dlogits[i] = denominator > 0 ? (float)((s - (double)targets[i]) / denominator) : 0;
  }
  return kOk;
}
static constexpr Scratch (*binary_cross_entropy_backward_scratch)(const Call&) = nullptr;
