// act(z) and act'(z), as Transformers' ACT2FN names them; ids in ../ops.def, bounds of the errors in test/conformance/activations.ts.
// What is below the least normal float32 may be 0. Each is `value` and `slope`, so that a product's epilogue has one of them inlined.
#pragma once
#include "device.cuh"

namespace bk {
namespace cuda {

/**
 * The standard normal distribution function 0.5 (1 + erf(z / sqrt 2)), also `density` e^(-z^2 / 2) / sqrt(2 pi). Up to sqrt 2 it is 0.5
 * plus an odd polynomial; beyond, the exponential times a polynomial of 1 / (|z| + sqrt 8) that was fitted on [sqrt 2, sqrt 200]: the
 * polynomials of cpu/math.inl, whose argument is z / sqrt 2. Both are computed, since the lanes of a warp seldom agree.
 */
__device__ __forceinline__ float normal_cdf(float z, float& density) {
  const float a = fabsf(z), u = z * z;
  const float e = expf(-0.5f * u);
  density = e * 0.398942280f;
  float p = 4.35814968e-07f;
  p = fmaf(p, u, -8.86185262e-06f);
  p = fmaf(p, u, 0.000114673589f);
  p = fmaf(p, u, -0.00118680997f);
  p = fmaf(p, u, 0.00997338817f);
  p = fmaf(p, u, -0.0664903596f);
  p = fmaf(p, u, 0.398942292f);
  const float near = fmaf(z, p, 0.5f);
  const float t = __fdividef(1.0f, a + 2.82842712f);
  float q = 165.670563f;
  q = fmaf(q, t, -133.989975f);
  q = fmaf(q, t, 6.41847515f);
  q = fmaf(q, t, 9.5337038f);
  q = fmaf(q, t, 5.05745935f);
  q = fmaf(q, t, 2.86198545f);
  q = fmaf(q, t, 1.12396395f);
  q = fmaf(q, t, 0.399090201f);
  q = fmaf(q, t, -2.05127958e-06f);
  const float tail = e * q;
  return a < 1.41421356f ? near : z < 0.0f ? tail : 1.0f - tail;
}

__device__ __forceinline__ float sigmoid_of(float z) { return 1.0f / (1.0f + expf(-z)); }

/** log(1 + e^z) */
__device__ __forceinline__ float softplus_of(float z) { return (z > 0.0f ? z : 0.0f) + log1pf(expf(-fabsf(z))); }

struct Linear {
  static __device__ __forceinline__ float value(float z) { return z; }
  static __device__ __forceinline__ float slope(float) { return 1.0f; }
};

struct Gelu {  // z times the normal distribution function, exact
  static __device__ __forceinline__ float value(float z) {
    float d;
    return z * normal_cdf(z, d);
  }
  static __device__ __forceinline__ float slope(float z) {
    float d;
    const float c = normal_cdf(z, d);
    return fmaf(z, d, c);
  }
};

/**
 * Gelu for results that are rounded to bfloat16: z times the distribution function as 1 / (1 + e^-q(z)), q = z r(z^2) fitted on [-6, 6] so that
 * the value is right within 1.4e-4 (|y| + 3e-4), a fifteenth of the rounding, and the slope within 6e-5. They take a third and half of the
 * instructions of the exact ones, which are as many as a product's where the depth is small.
 */
struct GeluOfBfloat16 {
  static __device__ __forceinline__ float one_over_sigmoid(float z, float s) {
    float r = -4.56660623e-08f;
    r = fmaf(r, s, 2.82968644e-06f);
    r = fmaf(r, s, -5.47991771e-05f);
    r = fmaf(r, s, -0.000357379988f);
    r = fmaf(r, s, 0.0733145491f);
    r = fmaf(r, s, 1.59536113f);
    return 1.0f + __expf(-z * r);
  }
  static __device__ __forceinline__ float value(float z) { return __fdividef(z, one_over_sigmoid(z, fminf(z * z, 36.0f))); }
  static __device__ __forceinline__ float slope(float z) {
    const float s = fminf(z * z, 36.0f), c = __fdividef(1.0f, one_over_sigmoid(z, s));
    float d = 11 * -4.56660623e-08f;  // q'
    d = fmaf(d, s, 9 * 2.82968644e-06f);
    d = fmaf(d, s, 7 * -5.47991771e-05f);
    d = fmaf(d, s, 5 * -0.000357379988f);
    d = fmaf(d, s, 3 * 0.0733145491f);
    d = fmaf(d, s, 1.59536113f);
    return fmaf(z * d * c, 1.0f - c, c);
  }
};

struct GeluTanh {  // 0.5 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))), which is z sigmoid(2 of that)
  static __device__ __forceinline__ float twice(float z) { return 1.59576912f * fmaf(0.044715f * z * z, z, z); }
  static __device__ __forceinline__ float value(float z) { return z * __fdividef(1.0f, 1.0f + expf(-twice(z))); }
  static __device__ __forceinline__ float slope(float z) {
    const float x = twice(z), e = expf(-fabsf(x)), s = __fdividef(1.0f, 1.0f + e);  // e s^2 is the sigmoid's slope without cancellation
    const float dx = 1.59576912f * fmaf(0.134145f * z, z, 1.0f);
    return fmaf(z * (e * s * s), dx, x < 0.0f ? e * s : s);
  }
};

struct QuickGelu {  // z sigmoid(1.702 z)
  static __device__ __forceinline__ float value(float z) { return z * sigmoid_of(1.702f * z); }
  static __device__ __forceinline__ float slope(float z) {
    const float s = sigmoid_of(1.702f * z);
    return s * fmaf(1.702f * z, 1.0f - s, 1.0f);
  }
};

struct Relu {
  static __device__ __forceinline__ float value(float z) { return z <= 0.0f ? 0.0f : z; }
  static __device__ __forceinline__ float slope(float z) { return z <= 0.0f ? 0.0f : 1.0f; }
};

struct Silu {
  static __device__ __forceinline__ float value(float z) { return z * sigmoid_of(z); }
  static __device__ __forceinline__ float slope(float z) {
    const float s = sigmoid_of(z);
    return s * fmaf(z, 1.0f - s, 1.0f);
  }
};

struct Tanh {
  static __device__ __forceinline__ float value(float z) { return tanhf(z); }
  /** 1 - tanh(z)^2 without its cancellation: 4 e / (1 + e)^2 with e = e^(-2 |z|). */
  static __device__ __forceinline__ float slope(float z) {
    const float e = expf(-2.0f * fabsf(z)), d = 1.0f + e;
    return 4.0f * e / (d * d);
  }
};

struct Sigmoid {
  static __device__ __forceinline__ float value(float z) { return sigmoid_of(z); }
  static __device__ __forceinline__ float slope(float z) {
    const float s = sigmoid_of(z);
    return s * (1.0f - s);
  }
};

struct Gelu10 {  // gelu clipped to [-10, 10]; the clip passes a gradient at its borders
  static __device__ __forceinline__ float value(float z) { return z > 10.0f ? 10.0f : Gelu::value(z); }
  static __device__ __forceinline__ float slope(float z) { return z > 10.0f ? 0.0f : Gelu::slope(z); }
};

struct HardSwish {  // z min(max(z + 3, 0), 6) / 6
  static __device__ __forceinline__ float value(float z) { return z * (fminf(fmaxf(z + 3.0f, 0.0f), 6.0f) * (1.0f / 6)); }
  static __device__ __forceinline__ float slope(float z) { return z <= -3.0f ? 0.0f : z < 3.0f ? fmaf(z, 1.0f / 3, 0.5f) : 1.0f; }
};

struct Laplace {  // 0.5 (1 + erf((z - mu) / (sigma sqrt 2)))
  static __device__ __forceinline__ float argument(float z) { return (z - 0.707107f) / 0.282095f; }
  static __device__ __forceinline__ float value(float z) {
    float d;
    return normal_cdf(argument(z), d);
  }
  static __device__ __forceinline__ float slope(float z) {
    float d;
    normal_cdf(argument(z), d);
    return d / 0.282095f;
  }
};

struct LeakyRelu {
  static __device__ __forceinline__ float value(float z) { return z > 0.0f ? z : 0.01f * z; }
  static __device__ __forceinline__ float slope(float z) { return z > 0.0f ? 1.0f : 0.01f; }
};

struct Mish {  // z tanh(log(1 + e^z)) = z n / (n + 2) with n = e^z (e^z + 2); from 20 on the quotient is 1
  static __device__ __forceinline__ float value(float z) {
    const float e = expf(z > 20.0f ? 20.0f : z), n = e * (e + 2.0f);
    return z * (n / (n + 2.0f));
  }
  static __device__ __forceinline__ float slope(float z) {
    const float x = z > 20.0f ? 20.0f : z, e = expf(x), n = e * (e + 2.0f), inverse = 1.0f / (n + 2.0f);
    return inverse * fmaf(4.0f * x * e * (1.0f + e), inverse, n);
  }
};

struct Relu2 {
  static __device__ __forceinline__ float value(float z) { return z <= 0.0f ? 0.0f : z * z; }
  static __device__ __forceinline__ float slope(float z) { return z <= 0.0f ? 0.0f : z + z; }
};

struct Relu6 {
  static __device__ __forceinline__ float value(float z) { return z <= 0.0f ? 0.0f : z >= 6.0f ? 6.0f : z; }
  static __device__ __forceinline__ float slope(float z) { return z <= 0.0f || z >= 6.0f ? 0.0f : 1.0f; }
};

struct SqrtSoftplus {  // sqrt(log(1 + e^z)); below -18 e^(z/2), where PyTorch's gradient ends as 0 / 0 below -104
  static __device__ __forceinline__ float value(float z) { return z < -18.0f ? expf(0.5f * z) : sqrtf(softplus_of(z)); }
  static __device__ __forceinline__ float slope(float z) { return z < -18.0f ? 0.5f * expf(0.5f * z) : 0.5f * sigmoid_of(z) / sqrtf(softplus_of(z)); }
};

/** Calls body(Gelu()), or whatever the activation of this id is, so that loops over elements have it as a type. Body runs where the call is. */
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class Body>
__host__ __device__ auto with_activation(int act, Body body) -> decltype(body(Linear())) {
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

}  // namespace cuda
}  // namespace bk
