// Activations of Transformers' ACT2FN that have parameters: prelu and xielu. Saved for the backward: z. dz may lie on dy; the
// gradients of the parameters follow `accumulate` as ops.def says.

/** Elements of either type: a branch for each vector, in ops that are rare. */
struct Flat {
  void* data;
  ElementType type;

  f32 get(int64_t i, int n) const { return type == kBfloat16 ? load_columns((const bf16*)data + i, n) : load_columns((const float*)data + i, n); }
};

/** to[i] = f(i, n) for n lanes from element i on, over [rows, N]. */
template <class F>
static void map_flat(Run& run, int64_t rows, int64_t N, const Flat& to, F f) {
  with_type(to.type, [&](auto element) { map_elements(run, rows, N, (decltype(element)*)to.data, f); });
}

constexpr int64_t kSumGrain = 4096;

/**
 * The sum over [rows, N] of f(i, n), whose lanes beyond n must be 0: of float32 inside each range of kSumGrain elements, of float64
 * over the ranges in their order. `parts` has room for one number for each range.
 */
template <class F>
static double sum_elements(Run& run, int64_t rows, int64_t N, double* parts, F f) {
  parallel_ranges(run, rows * N, kSumGrain, [&](int64_t begin, int64_t end, int) {
    parts[begin / kSumGrain] = (double)sum_columns(end - begin, [&](int64_t j, int n) { return f(begin + j, n); });
  });
  double total = 0;
  for (int64_t i = 0; i < ceil_div(rows * N, kSumGrain); i++) total += parts[i];
  return total;
}
static Scratch sum_scratch(const Call& call) {
  return {ceil_div((int64_t)call.attributes[BK_PLACE(prelu_backward_weight, rows)] * call.attributes[BK_PLACE(prelu_backward_weight, N)], kSumGrain) * 8, 0};
}

static void put_gradient(float* gradient, bool add, double value) { gradient[0] = (add ? gradient[0] : 0.0f) + (float)value; }

/** max(z, 0) + weight min(z, 0): He et al., "Delving Deep into Rectifiers" (2015). */
static Status prelu(Run& run, const Call& call) {
  Cursor c(call);
  const ElementType type = (ElementType)call.attributes[BK_PLACE(prelu, type)];
  const Flat z = {c.any(), type};
  const float* weight = c.f32();
  const Flat y = {c.any(), type};
  const int64_t rows = c.dim(), N = c.dim();
  map_flat(run, rows, N, y, [&](int64_t i, int n) {
    const f32 v = z.get(i, n);
    return select(v > 0.0f, v, v * weight[0]);
  });
  return kOk;
}
static constexpr Scratch (*prelu_scratch)(const Call&) = nullptr;

static Status prelu_backward(Run& run, const Call& call) {
  Cursor c(call);
  const ElementType type = (ElementType)call.attributes[BK_PLACE(prelu_backward, type)];
  const Flat dy = {c.any(), type}, z = {c.any(), type};
  const float* weight = c.f32();
  const Flat dz = {c.any(), type};
  const int64_t rows = c.dim(), N = c.dim();
  map_flat(run, rows, N, dz, [&](int64_t i, int n) {
    const f32 d = dy.get(i, n);
    return select(z.get(i, n) > 0.0f, d, d * weight[0]);
  });
  return kOk;
}
static constexpr Scratch (*prelu_backward_scratch)(const Call&) = nullptr;

/** dweight = the sum of dy z where z is not positive */
static Status prelu_backward_weight(Run& run, const Call& call) {
  Cursor c(call);
  const ElementType type = (ElementType)call.attributes[BK_PLACE(prelu_backward_weight, type)];
  const Flat dy = {c.any(), type}, z = {c.any(), type};
  float* dweight = c.f32();
  const int64_t rows = c.dim(), N = c.dim();
  const double sum = sum_elements(run, rows, N, (double*)run.shared, [&](int64_t i, int n) {
    const f32 v = z.get(i, n);
    return select(v > 0.0f, f32{}, v * dy.get(i, n));
  });
  put_gradient(dweight, accumulates(run, c.integer()), sum);
  return kOk;
}
static Scratch prelu_backward_weight_scratch(const Call& call) { return sum_scratch(call); }

static double softplus_of(float x) { return (x > 0 ? (double)x : 0) + __builtin_log1p(__builtin_exp(x > 0 ? -(double)x : (double)x)); }
static double sigmoid_of(float x) { return 1 / (1 + __builtin_exp(-(double)x)); }

/** Huang and Schlag, "Deriving Activation Functions Using Integration" (2024), as in Transformers' XIELUActivation. */
struct Xielu {
  float p, n, beta, eps;

  static Xielu of(Cursor& c) {
    const float alpha_p = c.f32()[0], alpha_n = c.f32()[0], beta = c.f32()[0], eps = c.f32()[0];
    return {(float)softplus_of(alpha_p), (float)((double)beta + softplus_of(alpha_n)), beta, eps};
  }

  /** e^min(z, eps) - 1 - z: what n multiplies. Keeps its digits near 0, where it is z^2 / 2. */
  static f32 negative(f32 z, float eps) {
    const f32 m = select(z < eps, z, set1(eps));
    return select(abs(m) < 1.0f, exp_tail(m) + (m - z), exp(m) - 1.0f - z);
  }

  f32 value(f32 z) const { return fma(set1(beta), z, select(z > 0.0f, z * z * p, negative(z, eps) * n)); }

  /** Where z is eps, the minimum passes half of a gradient, as PyTorch's does. */
  f32 slope(f32 z) const {
    const f32 e = select(abs(z) < 1.0f, exp_tail(z) + z, exp(z) - 1.0f);
    const f32 past = select(z == eps, 0.5f * e - 0.5f, select(z > eps, set1(-1), z));
    return select(z > 0.0f, z * (2 * p), select(z < eps, e, past) * n) + beta;
  }
};

static Status xielu(Run& run, const Call& call) {
  Cursor c(call);
  const ElementType type = (ElementType)call.attributes[BK_PLACE(xielu, type)];
  const Flat z = {c.any(), type};
  const Xielu act = Xielu::of(c);
  const Flat y = {c.any(), type};
  const int64_t rows = c.dim(), N = c.dim();
  map_flat(run, rows, N, y, [&](int64_t i, int n) { return act.value(z.get(i, n)); });
  return kOk;
}
static constexpr Scratch (*xielu_scratch)(const Call&) = nullptr;

static Status xielu_backward(Run& run, const Call& call) {
  Cursor c(call);
  const ElementType type = (ElementType)call.attributes[BK_PLACE(xielu_backward, type)];
  const Flat dy = {c.any(), type}, z = {c.any(), type};
  const Xielu act = Xielu::of(c);
  const Flat dz = {c.any(), type};
  const int64_t rows = c.dim(), N = c.dim();
  map_flat(run, rows, N, dz, [&](int64_t i, int n) { return dy.get(i, n) * act.slope(z.get(i, n)); });
  return kOk;
}
static constexpr Scratch (*xielu_backward_scratch)(const Call&) = nullptr;

/** dalpha_p = sigmoid(alpha_p) times the sum of dy z^2 where z > 0; dalpha_n = sigmoid(alpha_n) times that of dy (e^min(z, eps) - 1 - z) elsewhere */
static Status xielu_backward_weight(Run& run, const Call& call) {
  Cursor c(call);
  const ElementType type = (ElementType)call.attributes[BK_PLACE(xielu_backward_weight, type)];
  const Flat dy = {c.any(), type}, z = {c.any(), type};
  const float *alpha_p = c.f32(), *alpha_n = c.f32();
  const float eps = c.f32()[0];
  float *dalpha_p = c.f32(), *dalpha_n = c.f32();
  const int64_t rows = c.dim(), N = c.dim();
  const bool add = accumulates(run, c.integer());
  double* parts = (double*)run.shared;
  if (dalpha_p) {
    const double sum = sum_elements(run, rows, N, parts, [&](int64_t i, int n) {
      const f32 v = z.get(i, n);
      return select(v > 0.0f, v * v * dy.get(i, n), f32{});
    });
    put_gradient(dalpha_p, add, sum * sigmoid_of(alpha_p[0]));
  }
  if (dalpha_n) {
    const double sum = sum_elements(run, rows, N, parts, [&](int64_t i, int n) {
      const f32 v = z.get(i, n);
      return select(v > 0.0f, f32{}, Xielu::negative(v, eps) * dy.get(i, n));
    });
    put_gradient(dalpha_n, add, sum * sigmoid_of(alpha_n[0]));
  }
  return kOk;
}
static Scratch xielu_backward_weight_scratch(const Call& call) { return sum_scratch(call); }
