// Activations of Transformers' ACT2FN that have parameters: prelu and xielu. Saved for the backward: z. dz may lie on dy.
#include "activation.cuh"
#include "elementwise.cuh"
#include "sum.cuh"

namespace bk {
namespace cuda {

constexpr int kWeightThreads = 256, kWeightElements = 32;
/** Elements of [rows, N] whose terms one block sums. */
constexpr int kWeightChunk = kWeightThreads * kWeightElements;

/**
 * Part s of each chunk is the sum of sum s of F's terms(dy, z, sums), which adds to its kSums sums: of float32 for a thread's elements,
 * eight side by side at a time for either type, and of float64 over threads.
 */
template <class T, class F>
__global__ void __launch_bounds__(kWeightThreads)
    sum_terms_kernel(const T* __restrict__ dy, const T* __restrict__ z, const int32_t* rows, int N, F function, double* parts) {
  constexpr int W = 8;
  const int64_t n = (int64_t)*rows * N, begin = (int64_t)blockIdx.x * kWeightChunk;
  if (begin >= n) return;
  const auto f = function.ready();
  float sums[F::kSums] = {};
#pragma unroll
  for (int u = 0; u < kWeightElements / W; u++) {
    const int64_t i = begin + (u * kWeightThreads + threadIdx.x) * W;
    float d[W] = {}, v[W] = {};
    if (i + W <= n) {
      load(dy + i, d);
      load(z + i, v);
    } else {
      for (int j = 0; j < W; j++)
        if (i + j < n) {
          d[j] = to_float(dy[i + j]);
          v[j] = to_float(z[i + j]);
        }
    }
#pragma unroll
    for (int j = 0; j < W; j++)
      if (i + j < n) f.terms(d[j], v[j], sums);
  }
#pragma unroll
  for (int s = 0; s < F::kSums; s++) {
    const double part = block_sum((double)sums[s]);
    if (threadIdx.x == 0) parts[(int64_t)s * gridDim.x + blockIdx.x] = part;
  }
}

/** Block s adds the parts of sum s, `chunks` of them where all rows are there, and puts what F's `gradient` makes of it. */
template <class F>
__global__ void __launch_bounds__(kSumThreads)
    put_weight_kernel(const double* parts, int chunks, const int32_t* rows, int N, F f, const RunState* state, bool accumulate) {
  float* gradient = f.to[blockIdx.x];
  if (!gradient) return;
  const int64_t n = (int64_t)*rows * N;
  const double total = sum_parts(parts + (int64_t)blockIdx.x * chunks, ceil_div(n, kWeightChunk));
  if (threadIdx.x == 0) gradient[0] = (accumulates(state, accumulate) ? gradient[0] : 0.0f) + (float)f.gradient(blockIdx.x, total);
}

template <class F>
static void sum_terms(Launch& launch, ElementType type, const void* dy, const void* z, Rows rows, int N, F f, bool accumulate) {
  const int chunks = ceil_div((int64_t)rows.capacity * N, kWeightChunk);
  double* parts = launch.reserve<double>((int64_t)F::kSums * chunks);
  with_type(type, [&](auto element) {
    typedef decltype(element) T;
    launch(sum_terms_kernel<T, F>, dim3(chunks), dim3(kWeightThreads), 0, (const T*)dy, (const T*)z, rows.count, N, f, parts);
  });
  launch(put_weight_kernel<F>, dim3(F::kSums), dim3(kSumThreads), 0, parts, chunks, rows.count, N, f, launch.state, accumulate);
}

/** max(z, 0) + weight min(z, 0): He et al., "Delving Deep into Rectifiers" (2015). */
struct Prelu {
  static constexpr bool kTwo = false;
  const float* weight;
  float w;

  __device__ Prelu ready() const { return {weight, weight[0]}; }
  __device__ float operator()(float z, float) const { return z > 0.0f ? z : z * w; }
};

struct PreluBackward {
  static constexpr bool kTwo = true;
  const float* weight;
  float w;

  __device__ PreluBackward ready() const { return {weight, weight[0]}; }
  __device__ float operator()(float dy, float z) const { return z > 0.0f ? dy : dy * w; }
};

/** dweight = the sum of dy z where z is not positive */
struct PreluBackwardWeight {
  static constexpr int kSums = 1;
  float* to[kSums];

  __device__ PreluBackwardWeight ready() const { return *this; }
  __device__ void terms(float dy, float z, float (&sums)[kSums]) const { sums[0] += z > 0.0f ? 0.0f : z * dy; }
  __device__ double gradient(int, double total) const { return total; }
};

Status prelu(Launch& launch, Operands c) {
  const void* z = c.any();
  const float* weight = c.f32();
  void* y = c.any();
  const Rows rows = c.rows();
  const int N = c.dim();
  map_elements(launch, c.type(), z, nullptr, y, rows, N, Prelu{weight, 0});
  return kOk;
}

Status prelu_backward(Launch& launch, Operands c) {
  const void *dy = c.any(), *z = c.any();
  const float* weight = c.f32();
  void* dz = c.any();
  const Rows rows = c.rows();
  const int N = c.dim();
  map_elements(launch, c.type(), dy, z, dz, rows, N, PreluBackward{weight, 0});
  return kOk;
}

Status prelu_backward_weight(Launch& launch, Operands c) {
  const void *dy = c.any(), *z = c.any();
  float* dweight = c.f32();
  const Rows rows = c.rows();
  const int N = c.dim();
  const bool accumulate = c.flag();
  sum_terms(launch, c.type(), dy, z, rows, N, PreluBackwardWeight{{dweight}}, accumulate);
  return kOk;
}

__device__ inline double softplus_of(double x) { return (x > 0 ? x : 0) + log1p(exp(x > 0 ? -x : x)); }

/** e^x - 1 - x for |x| < 1, relative error 3e-7: x^2 times the sum of x^k / (k + 2)!. Any number elsewhere. */
__device__ __forceinline__ float exp_tail(float x) {
  float p = 1.0f / 39916800;
  p = fmaf(p, x, 1.0f / 3628800);
  p = fmaf(p, x, 1.0f / 362880);
  p = fmaf(p, x, 1.0f / 40320);
  p = fmaf(p, x, 1.0f / 5040);
  p = fmaf(p, x, 1.0f / 720);
  p = fmaf(p, x, 1.0f / 120);
  p = fmaf(p, x, 1.0f / 24);
  p = fmaf(p, x, 1.0f / 6);
  p = fmaf(p, x, 0.5f);
  return p * x * x;
}

/** Huang and Schlag, "Deriving Activation Functions Using Integration" (2024), as in Transformers' XIELUActivation. */
struct XieluNumbers {
  float p, n, beta, eps;

  /** e^min(z, eps) - 1 - z: what n multiplies. Keeps its digits near 0, where it is z^2 / 2. */
  static __device__ float negative(float z, float eps) {
    const float m = z < eps ? z : eps;
    return fabsf(m) < 1.0f ? exp_tail(m) + (m - z) : expf(m) - 1.0f - z;
  }

  __device__ float value(float z) const { return fmaf(beta, z, z > 0.0f ? z * z * p : negative(z, eps) * n); }

  /** Where z is eps, the minimum passes half of a gradient, as PyTorch's does. */
  __device__ float slope(float z) const {
    const float e = fabsf(z) < 1.0f ? exp_tail(z) + z : expf(z) - 1.0f;
    const float past = z == eps ? 0.5f * e - 0.5f : z > eps ? -1.0f : z;
    return (z > 0.0f ? z * (2 * p) : (z < eps ? e : past) * n) + beta;
  }
};

/** The operands that xielu has in the memory of the device. */
struct XieluOperands {
  const float *alpha_p, *alpha_n, *beta, *eps;

  /** Reads them in the order of ops.def. */
  static XieluOperands of(Operands& c) {
    const float *alpha_p = c.f32(), *alpha_n = c.f32(), *beta = c.f32(), *eps = c.f32();
    return {alpha_p, alpha_n, beta, eps};
  }
  __device__ XieluNumbers numbers() const {
    return {(float)softplus_of((double)alpha_p[0]), (float)((double)beta[0] + softplus_of((double)alpha_n[0])), beta[0], eps[0]};
  }
};

struct Xielu {
  static constexpr bool kTwo = false;
  struct Ready {
    XieluNumbers act;
    __device__ float operator()(float z, float) const { return act.value(z); }
  };
  XieluOperands operands;
  __device__ Ready ready() const { return {operands.numbers()}; }
};

struct XieluBackward {
  static constexpr bool kTwo = true;
  struct Ready {
    XieluNumbers act;
    __device__ float operator()(float dy, float z) const { return dy * act.slope(z); }
  };
  XieluOperands operands;
  __device__ Ready ready() const { return {operands.numbers()}; }
};

/** dalpha_p = sigmoid(alpha_p) times the sum of dy z^2 where z > 0; dalpha_n = sigmoid(alpha_n) times that of dy (e^min(z, eps) - 1 - z) elsewhere */
struct XieluBackwardWeight {
  static constexpr int kSums = 2;
  struct Ready {
    float eps;
    __device__ void terms(float dy, float z, float (&sums)[kSums]) const {
      sums[0] += z > 0.0f ? z * z * dy : 0.0f;
      sums[1] += z > 0.0f ? 0.0f : XieluNumbers::negative(z, eps) * dy;
    }
  };
  const float *alpha[kSums], *eps;
  float* to[kSums];

  __device__ Ready ready() const { return {eps[0]}; }
  __device__ double gradient(int s, double total) const { return total / (1 + exp(-(double)alpha[s][0])); }
};

Status xielu(Launch& launch, Operands c) {
  const void* z = c.any();
  const XieluOperands operands = XieluOperands::of(c);
  void* y = c.any();
  const Rows rows = c.rows();
  const int N = c.dim();
  map_elements(launch, c.type(), z, nullptr, y, rows, N, Xielu{operands});
  return kOk;
}

Status xielu_backward(Launch& launch, Operands c) {
  const void *dy = c.any(), *z = c.any();
  const XieluOperands operands = XieluOperands::of(c);
  void* dz = c.any();
  const Rows rows = c.rows();
  const int N = c.dim();
  map_elements(launch, c.type(), dy, z, dz, rows, N, XieluBackward{operands});
  return kOk;
}

Status xielu_backward_weight(Launch& launch, Operands c) {
  const void *dy = c.any(), *z = c.any();
  const float *alpha_p = c.f32(), *alpha_n = c.f32(), *eps = c.f32();
  float *dalpha_p = c.f32(), *dalpha_n = c.f32();
  const Rows rows = c.rows();
  const int N = c.dim();
  const bool accumulate = c.flag();
  sum_terms(launch, c.type(), dy, z, rows, N, XieluBackwardWeight{{alpha_p, alpha_n}, eps, {dalpha_p, dalpha_n}}, accumulate);
  return kOk;
}

}  // namespace cuda
}  // namespace bk
