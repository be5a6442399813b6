// layer_norm over the residual stream: sum = dropout(x) + residual; y = (sum - mean) rstd gamma + beta.
// Ba, Kiros and Hinton, "Layer Normalization" (2016); two-pass variance: one pass loses all digits when the mean is large.
// Saved for the backward: sum, mean, rstd.
#include "layer_norm.cuh"

namespace bk {
namespace cuda {

template <class T>
struct LayerNorm {
  const T *x, *residual;
  const float *gamma, *beta;
  T *sum, *y;
  float *mean, *rstd;
  const int32_t* rows;
  int H;
  float eps;
  DropoutSite site;
  const RunState* state;
};

/** Each input is read once and each output written once; sum may lie on x. */
template <class T, class Layout>
__global__ void __launch_bounds__(kNormThreads) layer_norm_kernel(LayerNorm<T> a) {
  begin_kernel();
  constexpr int S = Layout::kSteps, W = kNormWidth;
  const int row = Layout::row(), H = a.H;
  if (row >= *a.rows) return;
  const int64_t start = (int64_t)row * H;
  float v[S][W], r[S][W];  // the residual, in the end beta
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (column < H) load(a.x + start + column, v[s]);
  }
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (a.residual && column < H) load(a.residual + start + column, r[s]);
  }
  const bool dropped = a.site.p > 0;
  if (dropped) {
    const Dropout drop = Dropout::of(a.state, a.site.p, a.site.site);
    StepMasks<S> masks;
    if (!a.site.keep) masks.draw(drop, row, Layout::first);
#pragma unroll
    for (int s = 0; s < S; s++) {
      const uint32_t bits = a.site.keep ? Dropout::given_columns<W>(a.site.keep, row, Layout::column(s), H) : masks.at(s);
#pragma unroll
      for (int j = 0; j < W; j++) v[s][j] = bits >> j & 1 ? v[s][j] * drop.scale : 0.0f;
    }
  }
  float total = 0;
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (column >= H) continue;
#pragma unroll
    for (int j = 0; j < W; j++) {
      v[s][j] = as_stored<T>(a.residual ? v[s][j] + r[s][j] : v[s][j]);
      total += v[s][j];
    }
    if (dropped || a.residual || a.sum != a.x) store(a.sum + start + column, v[s]);
  }
  const float mean = Layout::sum(total) / (float)H;
  float squares = 0;
#pragma unroll
  for (int s = 0; s < S; s++)
    if (Layout::column(s) < H)
#pragma unroll
      for (int j = 0; j < W; j++) squares += (v[s][j] - mean) * (v[s][j] - mean);
  float gamma[S][W];
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (column >= H) continue;
    load(a.gamma + column, gamma[s]);
    load(a.beta + column, r[s]);
  }
  const float rstd = rsqrtf(Layout::sum(squares) / (float)H + a.eps);
  if (Layout::lane() == 0) {
    a.mean[row] = mean;
    a.rstd[row] = rstd;
  }
#pragma unroll
  for (int s = 0; s < S; s++) {
    const int column = Layout::column(s);
    if (column >= H) continue;
#pragma unroll
    for (int j = 0; j < W; j++) v[s][j] = fmaf((v[s][j] - mean) * rstd, gamma[s][j], r[s][j]);
    store(a.y + start + column, v[s]);
  }
}

/** The same for rows of any length, a column a lane at a time; each thread reads again what it has stored itself. */
template <class T, class Layout>
__global__ void __launch_bounds__(kNormThreads, 8) layer_norm_any_kernel(LayerNorm<T> a) {
  begin_kernel();
  const int row = Layout::row(), H = a.H;
  if (row >= *a.rows) return;
  const int64_t start = (int64_t)row * H;
  const Dropout drop = Dropout::of(a.state, a.site.p, a.site.site);
  T* sum = a.sum + start;
  float total = 0;
#pragma unroll 1
  for (int j = Layout::lane(); j < H; j += Layout::kLanes) {
    float v = to_float(a.x[start + j]);
    if (a.site.p > 0) v = drop.keeps_columns<1>(a.site.keep, row, j, H) ? v * drop.scale : 0.0f;
    if (a.residual) v += to_float(a.residual[start + j]);
    sum[j] = from_float<T>(v);
    total += as_stored<T>(v);
  }
  const float mean = Layout::sum(total) / (float)H;
  float squares = 0;
#pragma unroll 1
  for (int j = Layout::lane(); j < H; j += Layout::kLanes) squares += (to_float(sum[j]) - mean) * (to_float(sum[j]) - mean);
  const float rstd = rsqrtf(Layout::sum(squares) / (float)H + a.eps);
  if (Layout::lane() == 0) {
    a.mean[row] = mean;
    a.rstd[row] = rstd;
  }
#pragma unroll 1
  for (int j = Layout::lane(); j < H; j += Layout::kLanes) a.y[start + j] = from_float<T>(fmaf((to_float(sum[j]) - mean) * rstd, a.gamma[j], a.beta[j]));
}

template <class T, class Layout>
static auto kernel_of(Layout) -> void (*)(LayerNorm<T>) {
  if constexpr (Layout::kSteps == 0)
    return layer_norm_any_kernel<T, Layout>;
  else
    return layer_norm_kernel<T, Layout>;
}

Status layer_norm(Launch& launch, Operands c) {
  const void *x = c.any(), *residual = c.any();
  const float *gamma = c.f32(), *beta = c.f32();
  const int32_t* keep = c.i32();
  void *sum = c.any(), *y = c.any();
  float *mean = c.f32(), *rstd = c.f32();
  const Rows rows = c.rows();
  const int H = c.dim();
  const float eps = c.real(), p = c.real();
  const DropoutSite site = {p, (uint32_t)c.integer(), keep};
  with_type(c.type(), [&](auto element) {
    typedef decltype(element) T;
    const LayerNorm<T> a = {(const T*)x, (const T*)residual, gamma, beta, (T*)sum, (T*)y, mean, rstd, rows.count, H, eps, site, launch.state};
    with_row_layout(H, [&](auto layout) { launch.early(kernel_of<T>(layout), row_grid<decltype(layout)>(rows), dim3(kNormThreads), 0, a); });
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
