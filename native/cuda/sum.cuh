// Sums in float64 in a fixed order: each block leaves a part in scratch, and one block adds the parts.
#pragma once
#include "device.cuh"

namespace bk {
namespace cuda {

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
