// Attention for heads of any size, without tensor cores: what heads of more than 128 elements take, and devices whose shared memory is too
// small for the tiles of the other kernels. A block is one row of one head, and kColumns columns of what is computed for it.
#pragma once
#include "attention.cuh"

namespace bk {
namespace cuda {
namespace heads {
namespace plain {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kEach = 4, kColumns = kEach * kThreads;

struct Greater {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};

/** By a warp. */
template <class T>
__device__ float dot(const T* a, const T* b, int D) {
  float sum = 0;
  for (int d = threadIdx.x % kWarp; d < D; d += kWarp) sum = fmaf(to_float(a[d]), to_float(b[d]), sum);
  return warp_sum(sum);
}

/** exp(score - lse) of query i and key j, 0 where it does not see it. By a warp. */
template <class T>
__device__ float probability(const Sequences<T>& s, const Head<T>& h, int i, int j, float lse) {
  if (!h.sees(s, i, j)) return 0;
  const float score = dot(h.q + (int64_t)i * s.q_stride, h.k + (int64_t)j * s.kv_stride, s.D);
  return exp2_fast(fmaf(score, s.factor, -lse * kLog2E));
}

/** sums[e] += factors[r] * rows[r][column of e], the columns of this thread. */
template <class T>
__device__ void accumulate(float sums[kEach], const float* factors, const T* rows, int64_t stride, int count, int D) {
#pragma unroll
  for (int e = 0; e < kEach; e++) {
    const int d = blockIdx.z * kColumns + e * kThreads + threadIdx.x;
    if (d >= D) break;
    for (int r = 0; r < count; r++) sums[e] = fmaf(factors[r], to_float(rows[r * stride + d]), sums[e]);
  }
}

/** row[column of e] = sums[e] * factor. */
template <class T>
__device__ void write(T* row, const float sums[kEach], float factor, int D) {
#pragma unroll
  for (int e = 0; e < kEach; e++) {
    const int d = blockIdx.z * kColumns + e * kThreads + threadIdx.x;
    if (d < D) row[d] = from_float<T>(sums[e] * factor);
  }
}

/** context and lse of one query. */
template <class T>
__global__ void __launch_bounds__(kThreads) attend(Sequences<T> s, T* context, float* lse) {
  __shared__ float scores[kThreads];
  if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0) s.check();
  if (!s.find(blockIdx.x, Blocks{1, false})) return;
  const Place& place = block_place();
  const Head<T>& h = Head<T>::of(s, place, blockIdx.y);
  const int i = place.part, limit = h.visible(s, i, h.seen), warp = threadIdx.x / kWarp;
  float top = -INFINITY, sum = 0, out[kEach] = {};
  for (int j0 = 0; j0 < limit; j0 += kThreads) {
    const int count = min(kThreads, limit - j0);
    for (int j = warp; j < count; j += kWarps) {
      const float score = h.sees(s, i, j0 + j) ? dot(h.q + (int64_t)i * s.q_stride, h.k + (int64_t)(j0 + j) * s.kv_stride, s.D) : -INFINITY;
      if (threadIdx.x % kWarp == 0) scores[j] = score;
    }
    __syncthreads();
    const float score = (int)threadIdx.x < count ? scores[threadIdx.x] : -INFINITY, greatest = fmaxf(top, block_combine(score, Greater()));
    const float base = greatest == -INFINITY ? 0.0f : greatest * s.factor, shrink = exp2_fast(top * s.factor - base);
    const float p = exp2_fast(fmaf(score, s.factor, -base));
    top = greatest;
    sum = fmaf(sum, shrink, block_combine(p, Add()));
    if ((int)threadIdx.x < count) scores[threadIdx.x] = h.keeps(s, i, j0 + threadIdx.x) ? as_stored<T>(p) : 0.0f;
    __syncthreads();
    for (float& x : out) x *= shrink;
    accumulate(out, scores, h.v + (int64_t)j0 * s.kv_stride, s.kv_stride, count, s.D);
    __syncthreads();
  }
  const int64_t row = (h.first_query + i) * s.A + h.head;
  if (threadIdx.x == 0 && blockIdx.z == 0) lse[row] = sum == 0 ? INFINITY : (top * s.factor + log2f(sum)) * kLn2;
  write(context + row * s.D, out, sum == 0 ? 0.0f : h.drop.scale / sum, s.D);
}

/** What the backward's kernels read, and where gradients go; dq, or dk and dv, may be null. */
template <class T>
struct Gradients {
  const T* dcontext;
  const float *lse, *delta;  // delta: rowsum(dcontext context)
  T *dq, *dk, *dv;
};

/** The dropped probability of query i and key j, and the gradient of its unscaled score, on every lane. By a warp. */
template <class T>
__device__ void differentiate(const Sequences<T>& s, const Head<T>& h, const Gradients<T>& gradients, int i, int j, float& p, float& ds) {
  const int64_t row = (h.first_query + i) * s.A + h.head;
  const float whole = probability(s, h, i, j, gradients.lse[row]), factor = h.keeps(s, i, j) ? h.drop.scale : 0.0f;
  p = as_stored<T>(whole * factor);
  const float dp = whole == 0 ? 0.0f : dot(gradients.dcontext + row * s.D, h.v + (int64_t)j * s.kv_stride, s.D);
  ds = as_stored<T>(whole * fmaf(dp, factor, -gradients.delta[row]));
}

/** dq of one query. */
template <class T>
__global__ void __launch_bounds__(kThreads) query_gradient(Sequences<T> s, Gradients<T> gradients) {
  __shared__ float factors[kThreads];
  if (!s.find(blockIdx.x, Blocks{1, false})) return;
  const Place& place = block_place();
  const Head<T>& h = Head<T>::of(s, place, blockIdx.y);
  const int i = place.part, warp = threadIdx.x / kWarp;
  float out[kEach] = {};
  for (int j0 = 0; j0 < h.L; j0 += kThreads) {
    const int count = min(kThreads, h.L - j0);
    for (int j = warp; j < count; j += kWarps) {
      float p, ds;
      differentiate(s, h, gradients, i, j0 + j, p, ds);
      if (threadIdx.x % kWarp == 0) factors[j] = ds;
    }
    __syncthreads();
    accumulate(out, factors, h.k + (int64_t)j0 * s.kv_stride, s.kv_stride, count, s.D);
    __syncthreads();
  }
  write(gradients.dq + (h.first_query + i) * s.q_stride + h.head * s.D, out, s.scale, s.D);
}

/** dk and dv of one key. */
template <class T>
__global__ void __launch_bounds__(kThreads) key_gradient(Sequences<T> s, Gradients<T> gradients) {
  __shared__ float factors[2][kThreads];
  if (!s.find(blockIdx.x, Blocks{1, true})) return;
  const Place& place = block_place();
  const Head<T>& h = Head<T>::of(s, place, blockIdx.y);
  const int j = place.part, warp = threadIdx.x / kWarp;
  float dk[kEach] = {}, dv[kEach] = {};
  for (int i0 = 0; i0 < h.Lq; i0 += kThreads) {
    const int count = min(kThreads, h.Lq - i0);
    for (int i = warp; i < count; i += kWarps) {
      float p, ds;
      differentiate(s, h, gradients, i0 + i, j, p, ds);
      if (threadIdx.x % kWarp == 0) factors[0][i] = p, factors[1][i] = ds;
    }
    __syncthreads();
    accumulate(dv, factors[0], gradients.dcontext + ((h.first_query + i0) * s.A + h.head) * s.D, (int64_t)s.A * s.D, count, s.D);
    accumulate(dk, factors[1], h.q + (int64_t)i0 * s.q_stride, s.q_stride, count, s.D);
    __syncthreads();
  }
  const int64_t row = ((int64_t)place.first_key + j) * s.kv_stride + h.head * s.D;
  write(gradients.dk + row, dk, s.scale, s.D);
  write(gradients.dv + row, dv, 1.0f, s.D);
}

}  // namespace plain

template <class T>
void attend_plain(Launch& launch, const Sequences<T>& s, T* context, float* lse) {
  launch(plain::attend<T>, s.grid({1, false}, ceil_div(s.D, plain::kColumns)), plain::kThreads, 0, s, context, lse);
}

template <class T>
void attend_backward_plain(Launch& launch, const Sequences<T>& s, const plain::Gradients<T>& gradients) {
  const int depth = ceil_div(s.D, plain::kColumns);
  if (gradients.dq) launch(plain::query_gradient<T>, s.grid({1, false}, depth), plain::kThreads, 0, s, gradients);
  if (gradients.dk) launch(plain::key_gradient<T>, s.grid({1, true}, depth), plain::kThreads, 0, s, gradients);
}

}  // namespace heads
}  // namespace cuda
}  // namespace bk
