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

static float greatest(const float* z, int64_t C) {
  f32 top = set1(z[0]);
  for (int64_t j = 0; j < C; j += W) top = max(top, j + W <= C ? load(z + j) : load_n(z + j, (int)(C - j), z[0]));
  return reduce_max(top);
}

static float sum_exponentials(const float* z, int64_t C, float top) {
  return sum_columns(C, [&](int64_t j, int n) { return first(exp(load_columns(z + j, n) - top), n); });
}

/**
 * -log softmax(logits)[label], summed over rows whose label is not -100; with smoothing e, (1 - e) of that and e of the mean over
 * all classes (Szegedy et al., "Rethinking the Inception Architecture", 2016). Saves lse, the log-sum-exp of each row: the greatest logit,
 * and the log of the sum of exponentials relative to it.
 */
static Status cross_entropy(Run& run, const Call& call) {
  Cursor c(call);
  const float* logits = c.f32();
  const int32_t* labels = c.i32();
  float *lse = c.f32(), *loss = c.f32();
  const int64_t rows = c.dim(), C = c.dim();
  const double denominator = run.scalars[c.integer()];
  const bool add = c.integer() != 0;
  const double smoothing = c.integer() ? run.scalars[kScalar_label_smoothing] : 0;
  const Status s = check_labels(labels, rows, C);
  if (s.where) return s;
  double* parts = (double*)run.shared;  // the loss of each row
  parallel_ranges(run, rows, row_grain(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const float* z = logits + r * C;
      // without the label's own term: where that is nearly the whole sum, the loss is as small as the others are
      const int64_t label = labels[r] == kIgnoreIndex ? 0 : labels[r];
      const float top = greatest(z, C), others = sum_exponentials(z, label, top) + sum_exponentials(z + label + 1, C - label - 1, top);
      const double log_sum = __builtin_log1p((double)others + __builtin_expm1((double)z[label] - (double)top));
      lse[2 * r] = top;
      lse[2 * r + 1] = (float)log_sum;
      parts[r] = 0;
      if (labels[r] == kIgnoreIndex) continue;
      double target = (double)z[label];
      if (smoothing != 0) {
        double sum = 0;
        for (int64_t j = 0; j < C; j++) sum += (double)z[j];
        target = (1 - smoothing) * target + smoothing * sum / (double)C;
      }
      parts[r] = ((double)top - target) + log_sum;
    }
  });
  double total = 0;
  for (int64_t r = 0; r < rows; r++) total += parts[r];
  put_loss(loss, add, total, denominator);
  return kOk;
}
static Scratch cross_entropy_scratch(const Call& call) { return {(int64_t)call.attributes[BK_PLACE(cross_entropy, rows)] * 8, 0}; }

/** dlogits = (softmax(logits) - (1 - e) one_hot(label) - e / C) / denominator; rows labelled -100 get 0. */
static Status cross_entropy_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float* logits = c.f32();
  const int32_t* labels = c.i32();
  const float* lse = c.f32();
  float* dlogits = c.f32();
  const int64_t rows = c.dim(), C = c.dim();
  const double denominator = run.scalars[c.integer()];
  const double smoothing = c.integer() ? run.scalars[kScalar_label_smoothing] : 0;
  const Status s = check_labels(labels, rows, C);
  if (s.where) return s;
  const float scale = denominator > 0 ? (float)(1 / denominator) : 0.0f;
  const double spread = smoothing / (double)C;
  parallel_ranges(run, rows, row_grain(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const float* z = logits + r * C;
      float* d = dlogits + r * C;
      const float row_scale = labels[r] == kIgnoreIndex ? 0.0f : scale, top = lse[2 * r], log_sum = lse[2 * r + 1];
      for (int64_t j = 0; j < C; j += W) {
        const int n = (int)smaller(W, C - j);
        store_columns(d + j, (exp((load_columns(z + j, n) - top) - log_sum) - (float)spread) * row_scale, n);
      }
      if (labels[r] == kIgnoreIndex) continue;
      const double other = __builtin_expm1(((double)z[labels[r]] - (double)top) - (double)log_sum);  // softmax - 1
      d[labels[r]] = (float)(other + smoothing - spread) * scale;
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

/** Rows of each segment, at least one; a column that exists; positions that lie in their segment or are -100. */
static Status check_segments(const int32_t* cu, const int32_t* positions, int64_t rows, int64_t segments, int64_t C, int column) {
  if (column < 0 || column >= C) return {"column", 0, column, 0, C};
  if (cu[0] != 0) return {"cu_segments", 0, cu[0], 0, 1};
  for (int64_t g = 0; g < segments; g++) {
    if (cu[g + 1] <= cu[g] || cu[g + 1] > rows) return {"cu_segments", g + 1, cu[g + 1], cu[g] + 1, rows + 1};
    const int64_t length = cu[g + 1] - cu[g];
    if (positions[g] != kIgnoreIndex && (positions[g] < 0 || positions[g] >= length)) return {"positions", g, positions[g], 0, length};
  }
  if (cu[segments] != rows) return {"cu_segments", segments, cu[segments], rows, rows + 1};
  return kOk;
}

/** -log softmax of one column over the rows of each segment, at its target row, summed. A column of logits is short: in float64. */
static Status segment_cross_entropy(Run& run, const Call& call) {
  Cursor c(call);
  const float* logits = c.f32();
  const int32_t *cu = c.i32(), *positions = c.i32();
  float *lse = c.f32(), *loss = c.f32();
  const int64_t rows = c.dim(), segments = c.dim(), C = c.dim();
  const int column = c.integer();
  const double denominator = run.scalars[c.integer()];
  const bool add = c.integer() != 0;
  const double smoothing = c.integer() ? run.scalars[kScalar_label_smoothing] : 0;
  const Status s = check_segments(cu, positions, rows, segments, C, column);
  if (s.where) return s;
  double total = 0;
  for (int64_t g = 0; g < segments; g++) {
    const float* z = logits + column;
    const int64_t own = cu[g] + (positions[g] == kIgnoreIndex ? 0 : positions[g]);
    double top = (double)z[cu[g] * C], others = 0, sum_z = 0;
    for (int64_t r = cu[g]; r < cu[g + 1]; r++) {
      if ((double)z[r * C] > top) top = (double)z[r * C];
      sum_z += (double)z[r * C];
    }
    for (int64_t r = cu[g]; r < cu[g + 1]; r++)
      if (r != own) others += __builtin_exp((double)z[r * C] - top);
    const double log_sum = __builtin_log1p(others + __builtin_expm1((double)z[own * C] - top));
    lse[2 * g] = (float)top;
    lse[2 * g + 1] = (float)log_sum;
    if (positions[g] == kIgnoreIndex) continue;
    const double target = (1 - smoothing) * (double)z[own * C] + smoothing * sum_z / (double)(cu[g + 1] - cu[g]);
    total += (top - target) + log_sum;
  }
  put_loss(loss, add, total, denominator);
  return kOk;
}
static constexpr Scratch (*segment_cross_entropy_scratch)(const Call&) = nullptr;

/** This column of dlogits = (softmax - (1 - e) one_hot(target) - e / rows) / denominator; 0 in segments that are left out. */
static Status segment_cross_entropy_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float* logits = c.f32();
  const int32_t *cu = c.i32(), *positions = c.i32();
  const float* lse = c.f32();
  float* dlogits = c.f32();
  const int64_t rows = c.dim(), segments = c.dim(), C = c.dim();
  const int column = c.integer();
  const double denominator = run.scalars[c.integer()];
  const double smoothing = c.integer() ? run.scalars[kScalar_label_smoothing] : 0;
  const Status s = check_segments(cu, positions, rows, segments, C, column);
  if (s.where) return s;
  for (int64_t g = 0; g < segments; g++) {
    const double spread = smoothing / (double)(cu[g + 1] - cu[g]);
    const double scale = positions[g] == kIgnoreIndex || !(denominator > 0) ? 0 : 1 / denominator;
    for (int64_t r = cu[g]; r < cu[g + 1]; r++) {
      const double log_p = ((double)logits[r * C + column] - (double)lse[2 * g]) - (double)lse[2 * g + 1];
      const double d = r - cu[g] == positions[g] ? __builtin_expm1(log_p) + smoothing : __builtin_exp(log_p);
      dlogits[r * C + column] = (float)((d - spread) * scale);
    }
  }
  return kOk;
}
static constexpr Scratch (*segment_cross_entropy_backward_scratch)(const Call&) = nullptr;
