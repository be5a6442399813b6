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

__global__ void __launch_bounds__(kSumThreads) put_norm_kernel(const double* parts, int chunks, const float* loss, float* norm, const RunState* state) {
  const double length = sqrt(sum_parts(parts, chunks)), limit = state->scalars[kScalar_max_grad_norm], coefficient = limit / (length + 1e-6);
  if (threadIdx.x != 0) return;
  norm[0] = (float)length + (loss ? *loss - *loss : 0);  // 0, or NaN
  norm[1] = limit > 0 && coefficient < 1 ? (float)coefficient : 1.0f;
}

Status gradient_norm(Launch& launch, Operands c) {
  const float *g = c.f32(), *loss = c.f32();
  float* norm = c.f32();
  const int n = c.dim(), chunks = ceil_div(n, kNormChunk);
  double* parts = launch.reserve<double>(chunks);
  launch(sum_squares_kernel, dim3(chunks), dim3(kNormThreads), 0, g, (int64_t)n, parts);
  launch(put_norm_kernel, dim3(1), dim3(kSumThreads), 0, parts, chunks, loss, norm, launch.state);
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
    if (fabsf(m) < 1.17549435e-38f) m = 0;  // as on the CPU, where it would take time
    v = fmaf(g * g, b2c, v * b2);
    w -= step * (m / (sqrtf(v) / root + eps));
  }
};

/** What one record updates. */
struct AdamWTensor {
  const float* g;
  float *w, *exp_avg, *exp_avg_sq;
  void* packed;
  int n, group, N, K;
  bool fours;   // four elements are one access
  bool halves;  // packed as bfloat16

  Status read(Operands c, const float** norm) {
    g = c.f32();
    *norm = c.f32();
    w = c.f32(), exp_avg = c.f32(), exp_avg_sq = c.f32();
    packed = c.any();
    n = c.dim();
    const int W = c.dim(), G = c.dim(), w_first = c.integer(), g_first = c.integer();
    group = c.integer(), N = c.dim(), K = c.dim();
    const int words = c.dim();
    const ElementType product = c.type();
    if (w_first < 0 || w_first > W - n) return {"w_first", 0, w_first, 0, W - n + 1};
    if (g_first < 0 || g_first > G - n) return {"g_first", 0, g_first, 0, G - n + 1};
    g += g_first;
    w += w_first, exp_avg += g_first, exp_avg_sq += g_first;
    fours = w_first % 4 == 0 && g_first % 4 == 0;
    halves = product == kBfloat16;
    if (!packed) return kOk;
    if ((int64_t)N * K != n) return {"n", 0, n, (int64_t)N * K, (int64_t)N * K + 1};
    fours = fours && K % 4 == 0;
    return check_packed(packed, product, N, K, words);
  }

  template <int V>
  __device__ __forceinline__ void update(const AdamWStep& step, int64_t i, float (&gs)[V], float (&ws)[V], float (&ms)[V], float (&vs)[V]) const {
#pragma unroll
    for (int j = 0; j < V; j++) step(gs[j], ws[j], ms[j], vs[j]);
    store(w + i, ws);
    store(exp_avg + i, ms);
    store(exp_avg_sq + i, vs);
    if (!packed) return;
    if (halves)
      PackedTarget<bf16>{(bf16*)packed, N, K}.store(i, ws);
    else
      PackedTarget<float>{(float*)packed, N, K}.store(i, ws);
  }
};

constexpr int kAdamWThreads = 256, kAdamWElements = 4, kAdamWBlock = kAdamWThreads * kAdamWElements;

/** What one kernel updates; of their blocks, those of each end before ends[i]. */
struct AdamWTensors {
  AdamWTensor of[kMostUpdates];
  int ends[kMostUpdates];
  int count;
  const float* norm;
  const RunState* state;
  const Failure* failure;
};

/**
 * A block takes kAdamWBlock elements of a tensor, a thread four side by side, on their way before the step is looked at: twice as many took 2 to
 * 7 % longer on an H200.
 */
__global__ void __launch_bounds__(kAdamWThreads) adamw_kernel(const __grid_constant__ AdamWTensors a) {
  int number = 0;
#pragma unroll
  for (int half = kMostUpdates / 2; half > 0; half /= 2)
    if (number + half < a.count && (int)blockIdx.x >= a.ends[number + half - 1]) number += half;
  const AdamWTensor& t = a.of[number];
  const int64_t begin = (int64_t)((int)blockIdx.x - (number > 0 ? a.ends[number - 1] : 0)) * kAdamWBlock;
  const int64_t first = begin + threadIdx.x * kAdamWElements;
  const bool whole = t.fours && first + kAdamWElements <= t.n;
  float g[4], w[4], m[4], v[4];
  if (whole) {
    load(t.g + first, g);
    load(t.w + first, w);
    load(t.exp_avg + first, m);
    load(t.exp_avg_sq + first, v);
  }
  const float length = a.norm[0];
  if (!(length - length == 0) || *a.failure != kNoFailure) return;  // NaN or inf, or data that is refused: nothing changes
  const AdamWStep step = AdamWStep::of(a.state, t.group, a.norm[1]);
  if (whole) {
    t.update(step, first, g, w, m, v);
    return;
  }
  const int64_t from = t.fours ? first : begin + threadIdx.x, by = t.fours ? 1 : kAdamWThreads;
  for (int k = 0; k < kAdamWElements; k++) {
    const int64_t i = from + k * by;
    if (i >= t.n) break;
    float one[4][1] = {{t.g[i]}, {t.w[i]}, {t.exp_avg[i]}, {t.exp_avg_sq[i]}};
    t.update(step, i, one[0], one[1], one[2], one[3]);
  }
}

static Status launch_updates(Launch& launch, const Operands* records, int count) {
  AdamWTensors a = {};
  a.count = count;
  a.state = launch.state;
  a.failure = launch.failure;
  int blocks = 0;
  for (int i = 0; i < count; i++) {
    const Status s = a.of[i].read(records[i], &a.norm);
    if (s.where) return s;
    blocks += ceil_div(a.of[i].n, kAdamWBlock);
    a.ends[i] = blocks;
  }
  launch(adamw_kernel, dim3((unsigned)blocks), dim3(kAdamWThreads), 0, a);
  return kOk;
}

Status adamw(Launch& launch, Operands c) { return launch_updates(launch, &c, 1); }

bool adamw_together(Launch& launch, const Operands* records, int count) { return !launch_updates(launch, records, count).where; }

}  // namespace cuda
}  // namespace bk
