// dropout: y = keep ? x / (1 - p) : 0. The backward is the same function of dy.
#include "dropout.cuh"

#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kDropoutRows = 8;

/** A warp takes a row, a lane W columns of it at a time. y may be x. */
template <class T, int W>
__global__ void __launch_bounds__(kDropoutRows* kWarp) dropout_kernel(const T* x, T* y, const int32_t* rows, int H, DropoutSite site, const RunState* state) {
  const int row = blockIdx.x * kDropoutRows + threadIdx.x / kWarp;
  if (row >= *rows) return;
  const Dropout drop = Dropout::of(state, site.p, site.site);
#pragma unroll 2
  for (int first = 0; first < H; first += kWarp * W) {
    const int column = first + threadIdx.x % kWarp * W;
    const bool inside = column < H;
    const int64_t at = (int64_t)row * H + column;
    float v[W] = {};
    if (inside) load(x + at, v);
    const uint32_t bits = drop.keeps_columns<W>(site.keep, row, column, H);
#pragma unroll
    for (int j = 0; j < W; j++) v[j] = bits >> j & 1 ? v[j] * drop.scale : 0.0f;
    if (inside) store(y + at, v);
  }
}

Status dropout(Launch& launch, Operands c) {
  const void* x = c.any();
  const int32_t* keep = c.i32();
  void* y = c.any();
  const Rows rows = c.rows();
  const int H = c.dim();
  const float p = c.real();
  const DropoutSite site = {p, (uint32_t)c.integer(), keep};
  with_type(c.type(), [&](auto element) {
    typedef decltype(element) T;
    constexpr int W = kWidth<T>;
    launch(H % W == 0 ? dropout_kernel<T, W> : dropout_kernel<T, 1>, dim3(ceil_div(rows.capacity, kDropoutRows)), dim3(kDropoutRows * kWarp), 0, (const T*)x,
           (T*)y, rows.count, H, site, launch.state);
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
