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
  /** 1 - tanh(z)^2 without its cancellation: 4 e / (1 + e)^2 with e = e^(-2 |z|). */
  static f32 slope(f32 z) {
    const f32 e = exp(-2.0f * abs(z)), d = 1.0f + e;
    return 4.0f * e / (d * d);
  }
};
struct Sigmoid {
  static f32 value(f32 z) { return sigmoid(z); }
  static f32 slope(f32 z) {
    const f32 s = sigmoid(z);
    return s * (1.0f - s);
  }
};

struct Gelu10 {  // gelu clipped to [-10, 10]; the clip passes a gradient at its borders
  static f32 value(f32 z) { return select(z > 10.0f, set1(10), Gelu::value(z)); }
  static f32 slope(f32 z) { return select(z > 10.0f, f32{}, Gelu::slope(z)); }
};
struct HardSwish {  // z min(max(z + 3, 0), 6) / 6
  static f32 value(f32 z) { return z * (min(max(z + 3.0f, f32{}), set1(6)) * (1.0f / 6)); }
  static f32 slope(f32 z) { return select(z <= -3.0f, f32{}, select(z < 3.0f, fma(z, set1(1.0f / 3), set1(0.5f)), set1(1))); }
};
struct Laplace {  // 0.5 (1 + erf((z - mu) / (sigma sqrt 2)))
  static f32 argument(f32 z) { return (z - 0.707107f) / 0.282095f; }
  static f32 value(f32 z) {
    f32 d;
    return select(z == z, normal_cdf(argument(z), d), z);
  }
  static f32 slope(f32 z) {
    f32 d;
    normal_cdf(argument(z), d);
    return select(z == z, d / 0.282095f, z);
  }
};
struct LeakyRelu {
  static f32 value(f32 z) { return select(z > 0.0f, z, 0.01f * z); }
  static f32 slope(f32 z) { return select(z > 0.0f, set1(1), set1(0.01f)); }
};
struct Mish {  // z tanh(log(1 + e^z)) = z n / (n + 2) with n = e^z (e^z + 2); from 20 on the quotient is 1
  static f32 value(f32 z) {
    const f32 e = exp(select(z > 20.0f, set1(20), z)), n = e * (e + 2.0f);
    return z * (n / (n + 2.0f));
  }
  static f32 slope(f32 z) {
    const f32 x = select(z > 20.0f, set1(20), z), e = exp(x), n = e * (e + 2.0f), inverse = 1.0f / (n + 2.0f);
    return inverse * fma(4.0f * x * e * (1.0f + e), inverse, n);
  }
};
struct Relu2 {
  static f32 value(f32 z) { return select(z <= 0.0f, f32{}, z * z); }
  static f32 slope(f32 z) { return select(z <= 0.0f, f32{}, z + z); }
};
struct Relu6 {
  static f32 value(f32 z) { return select(z <= 0.0f, f32{}, select(z >= 6.0f, set1(6), z)); }
  static f32 slope(f32 z) { return select(z <= 0.0f, f32{}, select(z >= 6.0f, f32{}, set1(1))); }
};
struct SqrtSoftplus {  // sqrt(log(1 + e^z)); below -18 e^(z/2), where PyTorch's gradient ends as 0 / 0 below -104
  static f32 value(f32 z) { return select(z < -18.0f, exp(0.5f * z), sqrt(softplus(z))); }
  static f32 slope(f32 z) { return select(z < -18.0f, 0.5f * exp(0.5f * z), 0.5f * sigmoid(z) / sqrt(softplus(z))); }
};

/** to[i] = f(i, n) for n lanes from element i on, over [rows, N]. */
template <class T, class F>
static void map_elements(Run& run, int64_t rows, int64_t N, T* to, F f) {
  parallel_ranges(run, rows * N, 16384, [&](int64_t begin, int64_t end, int) {
    int64_t i = begin;
    for (; i + W <= end; i += W) store(to + i, f(i, W));
    if (i < end) store_n(to + i, f(i, (int)(end - i)), (int)(end - i));
  });
}

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
    case 9: return body(Gelu10());
    case 10: return body(HardSwish());
    case 11: return body(Laplace());
    case 12: return body(LeakyRelu());
    case 13: return body(Mish());
    case 14: return body(Relu2());
    case 15: return body(Relu6());
    case 16: return body(SqrtSoftplus());
    default: return body(Linear());
  }
}

/** dz = dy act'(z), and y = act(z) where it is wanted again */
static Status activation_backward(Run& run, const Call& call) {
  Cursor c(call);
  const void *dy = c.any(), *z = c.any();
  void *dz = c.any(), *y = c.any();
  const int64_t rows = c.dim(), N = c.dim();
  const int act = c.integer();
  with_type(c.type(), [&](auto element) {
    typedef decltype(element) T;
    with_activation(act, [&](auto activation) {
      typedef decltype(activation) Act;
      map_elements(run, rows, N, (T*)dz, [&](int64_t i, int n) {
        const f32 at = load_columns((const T*)z + i, n), slope = Act::slope(at);
        if (y) store_columns((T*)y + i, Act::value(at), n);
        return load_columns((const T*)dy + i, n) * slope;
      });
    });
  });
  return kOk;
}
static constexpr Scratch (*activation_backward_scratch)(const Call&) = nullptr;
