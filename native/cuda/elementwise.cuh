// y[i] = f(a[i], b[i]) over [rows, N].
#pragma once
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kMapThreads = 256, kMapVectors = 2;

/** A block takes kMapVectors vectors of 16 bytes for each thread, all loaded before the first is stored. y may lie on a or b. */
template <class T, class F>
__global__ void __launch_bounds__(kMapThreads) map_kernel(const T* a, const T* b, T* y, const int32_t* rows, int N, F function) {
  begin_kernel();
  constexpr int W = kWidth<T>, kBlock = kMapThreads * kMapVectors * W;
  const int64_t n = (int64_t)*rows * N, begin = (int64_t)blockIdx.x * kBlock;
  if (begin >= n) return;
  const auto f = function.ready();
  if (begin + kBlock > n) {
    for (int64_t i = begin + threadIdx.x; i < n; i += kMapThreads) y[i] = from_float<T>(f(to_float(a[i]), F::kTwo ? to_float(b[i]) : 0.0f));
    return;
  }
  float va[kMapVectors][W], vb[kMapVectors][W] = {};
#pragma unroll
  for (int u = 0; u < kMapVectors; u++) {
    const int64_t i = begin + (u * kMapThreads + threadIdx.x) * W;
    load(a + i, va[u]);
    if (F::kTwo) load(b + i, vb[u]);
  }
#pragma unroll
  for (int u = 0; u < kMapVectors; u++) {
#pragma unroll
    for (int j = 0; j < W; j++) va[u][j] = f(va[u][j], vb[u][j]);
    store(y + begin + (u * kMapThreads + threadIdx.x) * W, va[u]);
  }
}

/** y = f(a, b), or f(a, 0) where F::kTwo is false. F::ready() gives a thread what computes. */
template <class F>
void map_elements(Launch& launch, ElementType type, const void* a, const void* b, void* y, Rows rows, int N, F f) {
  with_type(type, [&](auto element) {
    typedef decltype(element) T;
    const dim3 grid(ceil_div((int64_t)rows.capacity * N, kMapThreads * kMapVectors * kWidth<T>));
    launch.early(map_kernel<T, F>, grid, dim3(kMapThreads), 0, (const T*)a, (const T*)b, (T*)y, rows.count, N, f);
  });
}

}  // namespace cuda
}  // namespace bk
