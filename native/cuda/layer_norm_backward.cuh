// What the kernels of layer_norm's backward share: what is computed for an element, and how sums of columns come together.
#pragma once
#include "layer_norm.cuh"

namespace bk {
namespace cuda {

template <class T>
struct LayerNormBackward {
  const T *dy, *sum;
  const float *mean, *rstd, *gamma;
  T *dx, *dresidual;
  const int32_t* rows;
  int H;
  bool add;
  DropoutSite site;
  const RunState* state;
};

/** On the host: calls body(T(), LayerNormBackward<T>, rows) with what a record of layer_norm_backward is of. */
template <class Body>
void with_layer_norm_backward(const Launch& launch, Operands c, Body body) {
  const void *dy = c.any(), *sum = c.any();
  const float *mean = c.f32(), *rstd = c.f32(), *gamma = c.f32();
  const int32_t* keep = c.i32();
  void *dx = c.any(), *dresidual = c.any();
  const Rows rows = c.rows();
  const int H = c.dim();
  const float p = c.real();
  const DropoutSite site = {p, (uint32_t)c.integer(), keep};
  const bool add = c.flag();
  with_type(c.type(), [&](auto element) {
    typedef decltype(element) T;
    body(element, LayerNormBackward<T>{(const T*)dy, (const T*)sum, mean, rstd, gamma, (T*)dx, (T*)dresidual, rows.count, H, add, site, launch.state}, rows);
  });
}

// Products are rounded whatever is done with them: the compiler may not contract them in one kernel and not in another.
__device__ __forceinline__ float weighted(float dy, float gamma) { return __fmul_rn(dy, gamma); }
__device__ __forceinline__ float normalized(float sum, float mean, float rstd) { return __fmul_rn(sum - mean, rstd); }
__device__ __forceinline__ float gradient_of_sum(float g, float h, float mean_g, float mean_gh, float rstd) {
  return __fmul_rn(fmaf(-h, mean_gh, g - mean_g), rstd);
}

/**
 * How rows are divided among blocks, whose sums are added in order: at least so many to each, and more where there would be more blocks than
 * `most`. That depends on the number of rows alone, and so do the sums.
 */
struct Stretches {
  int least, most;  // a multiple of 8; blocks
  __device__ int rows(int count) const { return max(least, (int)round_up(ceil_div(count, most), 8)); }
  /** Blocks for `count` rows or fewer. */
  int blocks(int count) const { return count / least < most ? ceil_div(count, least) : most; }
};

constexpr int kPartWarps = 32;

/** A warp for every 32nd part of 32 columns, then over warps in order. blockIdx.y: 0 dgamma, 1 dbeta. */
static __global__ void __launch_bounds__(kPartWarps* kWarp) put_columns_kernel(const float* __restrict__ parts, Stretches stretches, const int32_t* rows, int H,
                                                                               float* dgamma, float* dbeta, const RunState* state, bool accumulate) {
  begin_kernel();
  __shared__ float sums[kPartWarps][kWarp];
  float* to = blockIdx.y == 0 ? dgamma : dbeta;
  if (!to) return;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, column = blockIdx.x * kWarp + lane;
  const int count = ceil_div(*rows, stretches.rows(*rows));
  float total = 0;
  if (column < H) {
#pragma unroll 4
    for (int i = warp; i < count; i += kPartWarps) total += parts[((int64_t)i * 2 + blockIdx.y) * H + column];
  }
  sums[warp][lane] = total;
  __syncthreads();
  if (warp != 0 || column >= H) return;
  total = 0;
  for (int w = 0; w < kPartWarps; w++) total += sums[w][lane];
  to[column] = accumulates(state, accumulate) ? total + to[column] : total;
}

inline void put_columns(Launch& launch, const float* parts, Stretches stretches, const Rows& rows, int H, float* dgamma, float* dbeta, bool accumulate) {
  launch.early(put_columns_kernel, dim3(ceil_div(H, kWarp), 2), dim3(kPartWarps * kWarp), 0, parts, stretches, rows.count, H, dgamma, dbeta, launch.state,
               accumulate);
}

}  // namespace cuda
}  // namespace bk
