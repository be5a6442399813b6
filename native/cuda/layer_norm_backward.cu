// The backward of layer_norm. With g = dy gamma and h = (sum - mean) rstd: dsum = rstd (g - mean(g) - h mean(g h)), which dresidual is, and
// dx = dropout(dsum); dgamma and dbeta are the column sums of dy h and of dy.
#include "layer_norm_backward.cuh"

namespace bk {
namespace cuda {

/** Each operand is read or written once. */
template <class T, class Layout>
__global__ void __launch_bounds__(kNormThreads) layer_norm_backward_kernel(LayerNormBackward<T> a) {
  begin_kernel();
  constexpr int S = Layout::kSteps, W = kNormWidth;
  const int row = Layout::row(), H = a.H;
  if (row >= *a.rows) return;
  const int64_t start = (int64_t)row * H;
  const bool add = a.add && a.dresidual;
  float g[S][W] = {}, h[S][W] = {}, old[S][W];
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (column >= H) continue;
    load(a.dy + start + column, g[s]);
    load(a.sum + start + column, h[s]);
    if (add) load(a.dresidual + start + column, old[s]);
  }
  const float mean = a.mean[row], rstd = a.rstd[row];
  float total = 0, with_h = 0;
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (column >= H) continue;
    float gamma[W];
    load(a.gamma + column, gamma);
#pragma unroll
    for (int j = 0; j < W; j++) {
      g[s][j] = weighted(g[s][j], gamma[j]);
      h[s][j] = normalized(h[s][j], mean, rstd);
      total += g[s][j];
      with_h = fmaf(g[s][j], h[s][j], with_h);
    }
  }
  const float mean_g = Layout::sum(total) / (float)H, mean_gh = Layout::sum(with_h) / (float)H;
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
#pragma unroll
    for (int j = 0; j < W; j++) g[s][j] = gradient_of_sum(g[s][j], h[s][j], mean_g, mean_gh, rstd);
    if (a.dresidual && column < H) {
#pragma unroll
      for (int j = 0; j < W; j++) h[s][j] = add ? old[s][j] + g[s][j] : g[s][j];
      store(a.dresidual + start + column, h[s]);
    }
  }
  if (!a.dx) return;
  const bool dropped = a.site.p > 0;
  const Dropout drop = Dropout::of(a.state, a.site.p, a.site.site);
  StepMasks<S> masks;
  if (dropped && !a.site.keep) masks.draw(drop, row, Layout::first);
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (dropped) {
      const uint32_t bits = a.site.keep ? Dropout::given_columns<W>(a.site.keep, row, column, H) : masks.at(s);
#pragma unroll
      for (int j = 0; j < W; j++) g[s][j] = bits >> j & 1 ? g[s][j] * drop.scale : 0.0f;
    }
    if (column < H) store(a.dx + start + column, g[s]);
  }
}

/** The same for rows of any length, a column a lane at a time. */
template <class T, class Layout>
__global__ void __launch_bounds__(kNormThreads) layer_norm_backward_any_kernel(LayerNormBackward<T> a) {
  begin_kernel();
  const int row = Layout::row(), H = a.H;
  if (row >= *a.rows) return;
  const int64_t start = (int64_t)row * H;
  const Dropout drop = Dropout::of(a.state, a.site.p, a.site.site);
  const float mean = a.mean[row], rstd = a.rstd[row];
  float total = 0, with_h = 0;
  for (int j = Layout::lane(); j < H; j += Layout::kLanes) {
    const float g = to_float(a.dy[start + j]) * a.gamma[j];
    total += g;
    with_h = fmaf(g, (to_float(a.sum[start + j]) - mean) * rstd, with_h);
  }
  const float mean_g = Layout::sum(total) / (float)H, mean_gh = Layout::sum(with_h) / (float)H;
  for (int j = Layout::lane(); j < H; j += Layout::kLanes) {
    const float h = (to_float(a.sum[start + j]) - mean) * rstd;
    const float d = (to_float(a.dy[start + j]) * a.gamma[j] - mean_g - h * mean_gh) * rstd;
    if (a.dresidual) {
      T* to = a.dresidual + start + j;
      *to = from_float<T>(a.add ? to_float(*to) + d : d);
    }
    if (!a.dx) continue;
    const bool kept = !(a.site.p > 0) || drop.keeps_columns<1>(a.site.keep, row, j, H);
    a.dx[start + j] = from_float<T>(a.site.p > 0 ? (kept ? d * drop.scale : 0.0f) : d);
  }
}

template <class T, class Layout>
static auto kernel_of(Layout) -> void (*)(LayerNormBackward<T>) {
  if constexpr (Layout::kSteps == 0)
    return layer_norm_backward_any_kernel<T, Layout>;
  else
    return layer_norm_backward_kernel<T, Layout>;
}

Status layer_norm_backward(Launch& launch, Operands c) {
  with_layer_norm_backward(launch, c, [&](auto element, const auto& a, const Rows& rows) {
    with_row_layout(a.H, [&](auto layout) { launch.early(kernel_of<decltype(element)>(layout), row_grid<decltype(layout)>(rows), dim3(kNormThreads), 0, a); });
  });
  return kOk;
}

constexpr int kColumnWarps = 8, kColumnRows = 64;

/**
 * Block (c, t) sums kColumnRows rows from kColumnRows c on, of the 32 W columns of tile t: each warp every eighth row, then over warps in
 * order. parts[2 c] are sums of dy h, parts[2 c + 1] of dy.
 */
template <class T, int W>
__global__ void __launch_bounds__(kColumnWarps* kWarp, 2)
    sum_columns_kernel(const T* __restrict__ dy, const T* __restrict__ sum, const float* __restrict__ mean, const float* __restrict__ rstd, const int32_t* rows,
                       int H, float* parts) {
  begin_kernel();
  constexpr int kColumnBatch = W > 4 ? 4 : 8;  // rows that are loaded together
  __shared__ float sums[kColumnWarps][2][kWarp * W];
  const int count = *rows, begin = blockIdx.x * kColumnRows, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  if (begin >= count) return;
  const int tile = blockIdx.y * kWarp * W, column = tile + lane * W;
  float gamma[W] = {}, beta[W] = {};
  if (column < H) {
#pragma unroll 1
    for (int first = begin + warp; first < begin + kColumnRows; first += kColumnBatch * kColumnWarps) {
      float g[kColumnBatch][W], v[kColumnBatch][W], m[kColumnBatch], scale[kColumnBatch];
#pragma unroll
      for (int i = 0; i < kColumnBatch; i++) {
        const int row = first + i * kColumnWarps;
        if (row >= count) continue;
        load(dy + (int64_t)row * H + column, g[i]);
        load(sum + (int64_t)row * H + column, v[i]);
        m[i] = mean[row];
        scale[i] = rstd[row];
      }
#pragma unroll
      for (int i = 0; i < kColumnBatch; i++) {
        if (first + i * kColumnWarps >= count) continue;
#pragma unroll
        for (int j = 0; j < W; j++) {
          gamma[j] = fmaf(g[i][j], (v[i][j] - m[i]) * scale[i], gamma[j]);
          beta[j] += g[i][j];
        }
      }
    }
  }
#pragma unroll
  for (int j = 0; j < W; j++) {
    sums[warp][0][j * kWarp + lane] = gamma[j];
    sums[warp][1][j * kWarp + lane] = beta[j];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * kWarp * W; i += kColumnWarps * kWarp) {
    const int which = i / (kWarp * W), offset = i % (kWarp * W);
    float total = 0;
    for (int w = 0; w < kColumnWarps; w++) total += sums[w][which][offset % W * kWarp + offset / W];
    if (tile + offset < H) parts[((int64_t)blockIdx.x * 2 + which) * H + tile + offset] = total;
  }
}

Status layer_norm_backward_weight(Launch& launch, Operands c) {
  const void *dy = c.any(), *sum = c.any();
  const float *mean = c.f32(), *rstd = c.f32();
  float *dgamma = c.f32(), *dbeta = c.f32();
  const Rows rows = c.rows();
  const int H = c.dim();
  const bool accumulate = c.flag();
  const ElementType type = c.type();
  const int chunks = ceil_div(rows.capacity, kColumnRows);
  float* parts = launch.reserve<float>((int64_t)chunks * 2 * H);
  with_type(type, [&](auto element) {
    typedef decltype(element) T;
    constexpr int W = kWidth<T>;
    const bool whole = H % W == 0;
    launch.early(whole ? sum_columns_kernel<T, W> : sum_columns_kernel<T, 1>, dim3(chunks, ceil_div(H, kWarp * (whole ? W : 1))), dim3(kColumnWarps * kWarp), 0,
                 (const T*)dy, (const T*)sum, mean, rstd, rows.count, H, parts);
  });
  put_columns(launch, parts, Stretches{kColumnRows, INT32_MAX}, rows, H, dgamma, dbeta, accumulate);
  return kOk;
}

}  // namespace cuda
}  // namespace bk
