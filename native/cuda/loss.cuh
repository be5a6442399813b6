// What the losses share: a sum divided by a denominator that the run brings (counted over all micro-batches of an update).
#pragma once
#include "sum.cuh"

namespace bk {
namespace cuda {

constexpr int kIgnoreIndex = -100;

/** loss[0] = (add ? loss[0] : 0) + the sum of the parts / denominator; no labelled element at all (denominator 0) is a loss of 0. By one block. */
struct PutLoss {
  float* loss;
  const RunState* state;
  int denominator;  // place among the scalars
  bool add;

  __device__ void operator()(const double* parts, int64_t count) const {
    const double total = sum_parts(parts, count), divisor = state->scalars[denominator];
    if (threadIdx.x != 0) return;
    const float value = divisor > 0 ? (float)(total / divisor) : 0.0f;
    loss[0] = add ? loss[0] + value : value;
  }
};

/** A part for each row. */
static __global__ void __launch_bounds__(kSumThreads) put_row_losses_kernel(const double* parts, const int32_t* rows, PutLoss put) { put(parts, *rows); }

}  // namespace cuda
}  // namespace bk
