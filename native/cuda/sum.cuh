// Sums in float64 in a fixed order: each block leaves a part in scratch, and one block adds the parts.
#pragma once
#include "device.cuh"

namespace bk {
namespace cuda {

// As warp_sum and block_sum of device.cuh, in float64.
__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
__device__ __forceinline__ double block_sum(double x) {
  __shared__ double sums[kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  x = warp_sum(x);
  __syncthreads();  // the sums of a call before this one have been read
  if (lane == 0) sums[warp] = x;
  __syncthreads();
  return warp_sum(lane < (int)blockDim.x / kWarp ? sums[lane] : 0.0);
}

/** The sum of `count` parts, by all threads of a block, which all get it. */
__device__ __forceinline__ double sum_parts(const double* __restrict__ parts, int64_t count) {
  double total = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) total += parts[i];
  return block_sum(total);
}

/** Threads of the block that adds parts. */
constexpr int kSumThreads = 1024;

}  // namespace cuda
}  // namespace bk
