// act(z) and act'(z), as Transformers' ACT2FN names them; ids in ../ops.def.

BK_INLINE f32 gelu_tanh_argument(f32 z) { return 0.797884561f * fma(0.044715f * z * z, z, z); }

struct Linear {
  static f32 value(f32 z) { return z; }
  static f32 slope(f32) { return set1(1); }
};
struct Gelu {  // 0.5 z (1 + erf(z / sqrt 2)), exact
  static f32 value(f32 z) {
    f32 d;
    return z * normal_cdf(z, d);
  }
  static f32 slope(f32 z) {
    f32 d;
    const f32 c = normal_cdf(z, d);
    return fma(z, d, c);
  }
};
struct GeluTanh {  // 0.5 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3)))
  static f32 value(f32 z) { return 0.5f * z * (1.0f + tanh(gelu_tanh_argument(z))); }
  static f32 slope(f32 z) {
    const f32 t = tanh(gelu_tanh_argument(z)), du = 0.797884561f * (1.0f + 0.134145f * z * z);
    return 0.5f * (1.0f + t) + 0.5f * z * (1.0f - t * t) * du;
  }
};
struct QuickGelu {
  static f32 value(f32 z) { return z * sigmoid(1.702f * z); }
  static f32 slope(f32 z) {
    const f32 s = sigmoid(1.702f * z);
    return s * (1.0f + 1.702f * z * (1.0f - s));
  }
};
struct Relu {
  static f32 value(f32 z) { return select(z <= 0.0f, f32{}, z); }
  static f32 slope(f32 z) { return select(z <= 0.0f, f32{}, set1(1)); }
};
struct Silu {
  static f32 value(f32 z) { return z * sigmoid(z); }
  static f32 slope(f32 z) {
    const f32 s = sigmoid(z);
    return s * (1.0f + z * (1.0f - s));
  }
};
struct Tanh {
  static f32 value(f32 z) { return tanh(z); }
  static f32 slope(f32 z) {
    const f32 t = tanh(z);
    return 1.0f - t * t;
  }
};
struct Sigmoid {
  static f32 value(f32 z) { return sigmoid(z); }
  static f32 slope(f32 z) {
    const f32 s = sigmoid(z);
    return s * (1.0f - s);
  }
};

/** Calls body with the activation's functions as a type, so that loops over elements have no branch. */
template <class Body>
static inline void with_activation(int act, Body&& body) {
  switch (act) {
    case 1: return body(Gelu());
    case 2:
    case 3: return body(GeluTanh());  // gelu_new and gelu_fast differ in the order of the products only
    case 4: return body(QuickGelu());
    case 5: return body(Relu());
    case 6: return body(Silu());
    case 7: return body(Tanh());
    case 8: return body(Sigmoid());
    default: return body(Linear());
  }
}

/** dz = dy act'(z) */
static Status activation_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float *dy = c.f32(), *z = c.f32();
  float* dz = c.f32();
  const int64_t rows = c.dim(), N = c.dim();
  with_activation(c.integer(), [&](auto act) {
    typedef decltype(act) Act;
    parallel_ranges(run, rows * N, 16384, [&](int64_t begin, int64_t end, int) {
      int64_t i = begin;
      for (; i + W <= end; i += W) store(dz + i, load(dy + i) * Act::slope(load(z + i)));
      if (i < end) {
        const int n = (int)(end - i);
        store_n(dz + i, load_n(dy + i, n) * Act::slope(load_n(z + i, n)), n);
      }
    });
  });
  return kOk;
}
static constexpr Scratch (*activation_backward_scratch)(const Call&) = nullptr;
