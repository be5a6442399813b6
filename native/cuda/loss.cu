// cross_entropy: -log softmax(logits)[label], summed over rows whose label is not -100; with smoothing e, (1 - e) of that and e of the mean
// over all classes (Szegedy et al., "Rethinking the Inception Architecture", 2016). Saves lse, the log-sum-exp of each row: the greatest
// logit, and the log of the sum of exponentials relative to it.
#include "loss.cuh"
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kRowThreads = 256, kRowUnroll = 4;

/** A row of a block for each `TEAM` warps. Rows of C float32 begin anywhere: what lies before the first border of 16 bytes is taken apart. */
template <int TEAM>
struct Team {
  static constexpr int kLanes = TEAM * kWarp, kRows = kRowThreads / kLanes;

  static __device__ int row() { return blockIdx.x * kRows + threadIdx.x / kLanes; }
  static __device__ int lane() { return threadIdx.x % kLanes; }
  static __device__ int head(int64_t start, int C) {
    const int before = (int)(-start & 3);
    return before < C ? before : C;
  }
  static dim3 grid(Rows rows) { return dim3(ceil_div(rows.capacity, kRows)); }
};

/** The greatest number so far, and the sum of exponentials relative to it: one pass over a row. */
struct LogSumExp {
  float top, sum;  // top is finite from the beginning, so that -inf - top is -inf

  __device__ void add(const float (&z)[4]) {
    const float most = fmaxf(fmaxf(z[0], z[1]), fmaxf(z[2], z[3]));
    if (most > top) {
      sum *= expf(top - most);
      top = most;
    }
    sum += (expf(z[0] - top) + expf(z[1] - top)) + (expf(z[2] - top) + expf(z[3] - top));
  }
  __device__ void add(float z) {
    if (z > top) {
      sum *= expf(top - z);
      top = z;
    }
    sum += expf(z - top);
  }
  __device__ void relative_to(float most) {
    sum *= expf(top - most);
    top = most;
  }
};

/** Reads each row once. */
template <int TEAM>
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_kernel(const float* __restrict__ logits, const int32_t* __restrict__ labels, float* lse, double* parts, const int32_t* rows, int C,
                         bool smooth, const RunState* state, Checked checked) {
  typedef Team<TEAM> Row;
  const int row = Row::row(), lane = Row::lane();
  if (row >= *rows) return;
  const double smoothing = smooth ? state->scalars[kScalar_label_smoothing] : 0;
  const int64_t start = (int64_t)row * C;
  const float* z = logits + start;
  const int head = Row::head(start, C), fours = (C - head) / 4, tail = head + 4 * fours;
  const int label = labels[row];
  const bool counted = label != kIgnoreIndex && checked(label, 0, C, row);
  const int own = counted ? label : 0;
  LogSumExp others = {-3.40282347e38f, 0};  // without the label's own term: where that is nearly the whole sum, the loss is as small as the others are
  double sum = 0;
  if (lane < head + C - tail) {  // at most six elements
    const int column = lane < head ? lane : tail + lane - head;
    sum += (double)z[column];
    others.add(column == own ? -INFINITY : z[column]);
  }
  for (int i = lane; i < fours; i += kRowUnroll * Row::kLanes) {
    float v[kRowUnroll][4];
#pragma unroll
    for (int u = 0; u < kRowUnroll; u++)
      if (i + u * Row::kLanes < fours) load(z + head + 4 * (i + u * Row::kLanes), v[u]);
#pragma unroll
    for (int u = 0; u < kRowUnroll; u++)
      if (i + u * Row::kLanes < fours) {
        if (smoothing != 0) sum += ((double)v[u][0] + (double)v[u][1]) + ((double)v[u][2] + (double)v[u][3]);
#pragma unroll
        for (int j = 0; j < 4; j++)
          if (head + 4 * (i + u * Row::kLanes) + j == own) v[u][j] = -INFINITY;
        others.add(v[u]);
      }
  }
  const float z_own = z[own];
  others.relative_to(fmaxf(TEAM == 1 ? warp_max(others.top) : block_max(others.top), z_own));
  const float total = TEAM == 1 ? warp_sum(others.sum) : block_sum(others.sum);
  if (smoothing != 0) sum = TEAM == 1 ? warp_sum(sum) : block_sum(sum);
  if (lane != 0) return;
  const double top = (double)others.top, log_sum = log1p((double)total + expm1((double)z_own - top));
  lse[2 * (int64_t)row] = others.top;
  lse[2 * (int64_t)row + 1] = (float)log_sum;
  double target = (double)z_own;
  if (smoothing != 0) target = (1 - smoothing) * target + smoothing * sum / (double)C;
  parts[row] = counted ? (top - target) + log_sum : 0;
}

/** dlogits = (softmax(logits) - (1 - e) one_hot(label) - e / C) / denominator; rows labelled -100 get 0. */
struct LogitsGradient {
  float top, log_sum, spread, scale, own;  // own: softmax - 1 + e of the label
  int label;

  __device__ float operator()(float z, int column) const { return ((column == label ? own : expf((z - top) - log_sum)) - spread) * scale; }
};

template <int TEAM>
__global__ void __launch_bounds__(kRowThreads) cross_entropy_backward_kernel(const float* __restrict__ logits, const int32_t* __restrict__ labels,
                                                                             const float* __restrict__ lse, float* __restrict__ dlogits, const int32_t* rows,
                                                                             int C, int denominator, bool smooth, const RunState* state, Checked checked) {
  typedef Team<TEAM> Row;
  const int row = Row::row(), lane = Row::lane();
  if (row >= *rows) return;
  const double smoothing = smooth ? state->scalars[kScalar_label_smoothing] : 0, divisor = state->scalars[denominator];
  const int label = labels[row];
  const bool counted = label != kIgnoreIndex && checked(label, 0, C, row);
  const float scale = counted && divisor > 0 ? (float)(1 / divisor) : 0.0f;
  const int64_t start = (int64_t)row * C;
  const float* z = logits + start;
  float* d = dlogits + start;
  const float top = lse[2 * (int64_t)row], log_sum = lse[2 * (int64_t)row + 1], own = counted ? expm1f((z[label] - top) - log_sum) + (float)smoothing : 0.0f;
  const LogitsGradient gradient = {top, log_sum, (float)(smoothing / (double)C), scale, own, counted ? label : -1};
  const int head = Row::head(start, C), fours = (C - head) / 4, tail = head + 4 * fours;
  if (lane < head + C - tail) {
    const int column = lane < head ? lane : tail + lane - head;
    d[column] = gradient(z[column], column);
  }
  for (int i = lane; i < fours; i += kRowUnroll * Row::kLanes) {
    float v[kRowUnroll][4];
#pragma unroll
    for (int u = 0; u < kRowUnroll; u++)
      if (i + u * Row::kLanes < fours) load(z + head + 4 * (i + u * Row::kLanes), v[u]);
#pragma unroll
    for (int u = 0; u < kRowUnroll; u++) {
      const int column = head + 4 * (i + u * Row::kLanes);
      if (column >= tail) continue;
#pragma unroll
      for (int j = 0; j < 4; j++) v[u][j] = gradient(v[u][j], column + j);
      store(d + column, v[u]);
    }
  }
}

/** Above this many classes a block takes a row, up to it a warp. */
constexpr int kWarpClasses = 2048;

Status cross_entropy(Launch& launch, Operands c) {
  const float* logits = c.f32();
  const int32_t* labels = c.i32();
  float *lse = c.f32(), *loss = c.f32();
  const Rows rows = c.rows();
  const int C = c.dim(), denominator = c.integer();
  const bool add = c.flag(), smooth = c.flag();
  double* parts = launch.reserve<double>(rows.capacity);
  const bool alone = C <= kWarpClasses;
  launch(alone ? cross_entropy_kernel<1> : cross_entropy_kernel<kRowThreads / kWarp>, alone ? Team<1>::grid(rows) : dim3(rows.capacity), dim3(kRowThreads), 0,
         logits, labels, lse, parts, rows.count, C, smooth, launch.state, launch.check("labels", labels, 0, C));
  launch(put_row_losses_kernel, dim3(1), dim3(kSumThreads), 0, parts, rows.count, PutLoss{loss, launch.state, denominator, add});
  return kOk;
}

Status cross_entropy_backward(Launch& launch, Operands c) {
  const float* logits = c.f32();
  const int32_t* labels = c.i32();
  const float* lse = c.f32();
  float* dlogits = c.f32();
  const Rows rows = c.rows();
  const int C = c.dim(), denominator = c.integer();
  const bool smooth = c.flag(), alone = C <= kWarpClasses;
  launch(alone ? cross_entropy_backward_kernel<1> : cross_entropy_backward_kernel<kRowThreads / kWarp>, alone ? Team<1>::grid(rows) : dim3(rows.capacity),
         dim3(kRowThreads), 0, logits, labels, lse, dlogits, rows.count, C, denominator, smooth, launch.state, launch.check("labels", labels, 0, C));
  return kOk;
}

}  // namespace cuda
}  // namespace bk
