// Sums of a matrix's columns over a counted number of rows: a bias's gradient, in float32.
#pragma once
#include "product.cuh"

namespace bk {
namespace cuda {

constexpr int kSumColumns = 32, kSumLanes = 8;

/** A stretch of the rows of each block of columns: eight warps take every eighth row, and their sums are added in order. */
template <class T>
__global__ void __launch_bounds__(kSumColumns* kSumLanes)
    column_sums_kernel(const T* __restrict__ x, int64_t pitch, int columns, const int32_t* counted, float* __restrict__ parts) {
  __shared__ float sums[kSumLanes][kSumColumns];
  const int rows = *counted, stretch = ceil_div(rows, gridDim.y), end = min(rows, (int)(blockIdx.y + 1) * stretch);
  const int lane = threadIdx.x % kSumColumns, warp = threadIdx.x / kSumColumns, column = blockIdx.x * kSumColumns + lane;
  float sum = 0;
  if (column < columns)
#pragma unroll 4
    for (int row = blockIdx.y * stretch + warp; row < end; row += kSumLanes) sum += to_float(x[row * pitch + column]);
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  for (int i = 1; i < kSumLanes; i++) sum += sums[i][lane];
  parts[(int64_t)blockIdx.y * columns + column] = sum;
}

/** Adds the stretches in order. */
static __global__ void __launch_bounds__(256)
    column_sums_total_kernel(const float* __restrict__ parts, int stretches, int columns, const RunState* state, bool accumulate, float* __restrict__ to) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float sum = accumulates(state, accumulate) ? to[column] : 0.0f;
#pragma unroll 8
  for (int i = 0; i < stretches; i++) sum += parts[(int64_t)i * columns + column];
  to[column] = sum;
}

inline void column_sums(Launch& launch, const Matrix& m, const Rows& rows, float* to, bool accumulate) {
  const int across = ceil_div(m.columns, kSumColumns), wanted = ceil_div(8 * launch.multiprocessors, across), most = ceil_div(rows.capacity, 64);
  const int stretches = wanted < most ? wanted : most;
  float* parts = launch.reserve<float>((int64_t)stretches * m.columns);
  with_type(m.type, [&](auto element) {
    typedef decltype(element) T;
    launch(column_sums_kernel<T>, dim3(across, stretches), dim3(kSumColumns * kSumLanes), 0, (const T*)m.data + m.first, m.pitch, m.columns, rows.count, parts);
  });
  launch(column_sums_total_kernel, dim3(ceil_div(m.columns, 256)), dim3(256), 0, parts, stretches, m.columns, launch.state, accumulate, to);
}

}  // namespace cuda
}  // namespace bk
