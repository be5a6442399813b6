// Global gradient norm with PyTorch's clip coefficient, and AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
// 2019) in the order of PyTorch's fused implementation, one pass over the flat buffers. With the decay coupled it is Adam with an L2
// term (torch.optim.Adam), which the moments see.
#include "packed_weight.cuh"
#include "sum.cuh"
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kNormThreads = 256, kNormVectors = 16, kNormBatch = 8;
/** Elements whose squares one block sums. */
constexpr int kNormChunk = kNormThreads * kNormVectors * 4;

/** Sums of squares: of float32 over at most 64 elements, and of float64 beyond, so the error does not grow with n. */
__global__ void __launch_bounds__(kNormThreads, 4) sum_squares_kernel(const float* __restrict__ g, int64_t n, double* parts) {
  const int64_t begin = (int64_t)blockIdx.x * kNormChunk;
  float sums[4] = {};
  if (begin + kNormChunk <= n) {
#pragma unroll 1
    for (int first = 0; first < kNormVectors; first += kNormBatch) {
      float v[kNormBatch][4];
#pragma unroll
      for (int u = 0; u < kNormBatch; u++) load(g + begin + ((first + u) * kNormThreads + threadIdx.x) * 4, v[u]);
#pragma unroll
      for (int u = 0; u < kNormBatch; u++)
#pragma unroll
        for (int j = 0; j < 4; j++) sums[j] = fmaf(v[u][j], v[u][j], sums[j]);
    }
  } else {
    for (int64_t i = begin + threadIdx.x; i < n; i += kNormThreads) sums[0] = fmaf(g[i], g[i], sums[0]);
  }
  const double sum = block_sum(((double)sums[0] + (double)sums[1]) + ((double)sums[2] + (double)sums[3]));
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kSumThreads) put_norm_kernel(const double* parts, int chunks, float* norm, const RunState* state) {
  const double length = sqrt(sum_parts(parts, chunks)), limit = state->scalars[kScalar_max_grad_norm], coefficient = limit / (length + 1e-6);
  if (threadIdx.x != 0) return;
  norm[0] = (float)length;
  norm[1] = limit > 0 && coefficient < 1 ? (float)coefficient : 1.0f;
}

Status gradient_norm(Launch& launch, Operands c) {
  const float* g = c.f32();
  float* norm = c.f32();
  const int n = c.dim(), chunks = ceil_div(n, kNormChunk);
  double* parts = launch.reserve<double>(chunks);
  launch(sum_squares_kernel, dim3(chunks), dim3(kNormThreads), 0, g, (int64_t)n, parts);
  launch(put_norm_kernel, dim3(1), dim3(kSumThreads), 0, parts, chunks, norm, launch.state);
  return kOk;
}

/** What a step does to an element, with the scalars of the step and of the group. */
struct AdamWStep {
  float clip, keep, b1, b2, b2c, eps, step, root, decay;
  bool coupled;

  __device__ static AdamWStep of(const RunState* state, int group_at, float clip) {
    const double *group = state->scalars + group_at, beta1 = state->scalars[kScalar_beta1], beta2 = state->scalars[kScalar_beta2];
    const double lr = group[0], decay = group[1];
    return {clip,
            (float)(1 - lr * decay),
            (float)(1 - beta1),
            (float)beta2,
            (float)(1 - beta2),
            (float)state->scalars[kScalar_eps],
            (float)(lr / group[2]),
            (float)group[3],
            (float)decay,
            state->scalars[kScalar_coupled_decay] != 0};
  }

  __device__ __forceinline__ void operator()(float g, float& w, float& m, float& v) const {
    g *= clip;
    if (coupled)
      g = fmaf(decay, w, g);
    else
      w *= keep;
    m = fmaf(g - m, b1, m);
    v = fmaf(g * g, b2c, v * b2);
    w -= step * (m / (sqrtf(v) / root + eps));
  }
};

/** Where nothing is packed. */
struct NotPacked {
  template <int V>
  __device__ __forceinline__ void store(int64_t, const float (&)[V]) const {}
};

struct AdamWBuffers {
  const float *g, *norm;
  float *w, *exp_avg, *exp_avg_sq;
  int n, group;
  const RunState* state;
  const Failure* failure;
};

constexpr int kAdamWThreads = 256;

/** V elements a thread, side by side: on an H200 two times as many took 2 to 7 % longer. They are on their way before the step is looked at. */
template <int V, class Packed>
__global__ void __launch_bounds__(kAdamWThreads) adamw_kernel(AdamWBuffers a, Packed packed) {
  const int64_t i = ((int64_t)blockIdx.x * kAdamWThreads + threadIdx.x) * V;
  const bool whole = i + V <= a.n;
  float g[V], w[V], m[V], v[V];
  if (whole) {
    load(a.g + i, g);
    load(a.w + i, w);
    load(a.exp_avg + i, m);
    load(a.exp_avg_sq + i, v);
  }
  const float length = a.norm[0];
  if (!(length - length == 0) || *a.failure != kNoFailure) return;  // NaN or inf, or data that is refused: nothing changes
  const AdamWStep step = AdamWStep::of(a.state, a.group, a.norm[1]);
  if (whole) {
#pragma unroll
    for (int j = 0; j < V; j++) step(g[j], w[j], m[j], v[j]);
    store(a.w + i, w);
    store(a.exp_avg + i, m);
    store(a.exp_avg_sq + i, v);
    packed.store(i, w);
  } else {  // what is left of the last ones; a weight that is packed has none
    for (int64_t rest = i; rest < a.n; rest++) step(a.g[rest], a.w[rest], a.exp_avg[rest], a.exp_avg_sq[rest]);
  }
}

template <class Packed>
static void launch_adamw(Launch& launch, const AdamWBuffers& a, bool fours, Packed packed) {
  launch(fours ? adamw_kernel<4, Packed> : adamw_kernel<1, Packed>, dim3(ceil_div(a.n, kAdamWThreads * (fours ? 4 : 1))), dim3(kAdamWThreads), 0, a, packed);
}

Status adamw(Launch& launch, Operands c) {
  const float *g = c.f32(), *norm = c.f32();
  float *w = c.f32(), *exp_avg = c.f32(), *exp_avg_sq = c.f32();
  void *forward = c.any(), *backward = c.any();
  const int n = c.dim(), W = c.dim(), G = c.dim(), w_first = c.integer(), g_first = c.integer(), group = c.integer();
  if (w_first < 0 || w_first > W - n) return {"w_first", 0, w_first, 0, W - n + 1};
  if (g_first < 0 || g_first > G - n) return {"g_first", 0, g_first, 0, G - n + 1};
  const int N = c.dim(), K = c.dim(), forward_words = c.dim(), backward_words = c.dim();
  const ElementType product = c.type();
  const AdamWBuffers a = {g + g_first, norm, w + w_first, exp_avg + g_first, exp_avg_sq + g_first, n, group, launch.state, launch.failure};
  const bool fours = w_first % 4 == 0 && g_first % 4 == 0;
  if (!forward && !backward) {
    launch_adamw(launch, a, fours, NotPacked());
    return kOk;
  }
  if ((int64_t)N * K != n) return {"n", 0, n, (int64_t)N * K, (int64_t)N * K + 1};
  const Status s = check_packed(forward, backward, product, N, K, forward_words, backward_words);
  if (s.where) return s;
  with_type(product, [&](auto element) {
    typedef decltype(element) T;
    launch_adamw(launch, a, fours && K % 4 == 0, PackedTarget<T>{(T*)forward, (T*)backward, N, K});
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
