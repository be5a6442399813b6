// segment_cross_entropy: -log softmax of one column over the rows of each segment, at its target row. A column of logits is short: in float64.
#include "loss.cuh"

namespace bk {
namespace cuda {

constexpr int kSegmentWarps = 4;

/** Rows of each segment, at least one; positions that lie in their segment or are -100. */
struct Segments {
  const int32_t *cu, *positions;
  Checked zero, border, position, end;

  static Segments of(Launch& launch, const int32_t* cu, const int32_t* positions, Rows rows) {
    return {cu,
            positions,
            launch.check("cu_segments", cu, 0, 1),
            launch.check("cu_segments", cu, 1, 1, rows.symbol, true),
            launch.check("positions", positions, 0, 1, rows.symbol),
            launch.check("cu_segments", cu, 0, 1, rows.symbol)};
  }

  /** The first row of segment g and how many there are, and the position of its target (-1: left out). No rows where the segment is wrong. */
  struct Segment {
    int64_t begin;
    int length, target;
  };
  __device__ Segment segment(int g, int segments, int rows) const {
    if (segments == 0) {  // asked for g = 0 all the same
      if (zero(cu[0], 0, 1, 0)) end(cu[0], rows, (int64_t)rows + 1, 0);
      return {0, 0, -1};
    }
    const int64_t begin = cu[g], end_row = cu[g + 1];
    bool good = begin >= 0;
    if (g == 0) good = zero(begin, 0, 1, 0) && good;
    good = border(end_row, begin + 1, (int64_t)rows + 1, g + 1) && good;
    if (g == segments - 1) good = end(end_row, rows, (int64_t)rows + 1, g + 1) && good;
    if (!good) return {0, 0, -1};
    const int length = (int)(end_row - begin), target = positions[g];
    const bool counted = target != kIgnoreIndex && position(target, 0, length, g);
    return {begin, length, counted ? target : -1};
  }
};

/** A warp takes a segment. */
__global__ void __launch_bounds__(kSegmentWarps* kWarp)
    segment_losses_kernel(const float* __restrict__ logits, Segments all, float* lse, double* parts, const int32_t* rows, const int32_t* segments, int C,
                          int column, bool smooth, const RunState* state) {
  const int g = blockIdx.x * kSegmentWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (g >= max(*segments, 1)) return;
  const double smoothing = smooth ? state->scalars[kScalar_label_smoothing] : 0;
  const auto s = all.segment(g, *segments, *rows);
  const float* z = logits + s.begin * C + column;
  float top = -3.40282347e38f;
  for (int i = lane; i < s.length; i += kWarp) top = fmaxf(top, z[(int64_t)i * C]);
  top = warp_max(top);
  const int own = s.target < 0 ? 0 : s.target;
  double others = 0, sum_z = 0;
  for (int i = lane; i < s.length; i += kWarp) {
    const double v = (double)z[(int64_t)i * C];
    if (i != own) others += exp(v - (double)top);
    sum_z += v;
  }
  others = warp_sum(others);
  sum_z = warp_sum(sum_z);
  if (lane != 0 || s.length == 0) return;
  const double z_own = (double)z[(int64_t)own * C], log_sum = log1p(others + expm1(z_own - (double)top));
  lse[2 * g] = top;
  lse[2 * g + 1] = (float)log_sum;
  const double target = (1 - smoothing) * z_own + smoothing * sum_z / (double)s.length;
  parts[g] = s.target < 0 ? 0 : ((double)top - target) + log_sum;
}

/** This column of dlogits = (softmax - (1 - e) one_hot(target) - e / rows) / denominator; 0 in segments that are left out. */
__global__ void __launch_bounds__(kSegmentWarps* kWarp)
    segment_gradients_kernel(const float* __restrict__ logits, Segments all, const float* __restrict__ lse, float* __restrict__ dlogits, const int32_t* rows,
                             const int32_t* segments, int C, int column, int denominator, bool smooth, const RunState* state) {
  const int g = blockIdx.x * kSegmentWarps + threadIdx.x / kWarp;
  if (g >= max(*segments, 1)) return;
  const double smoothing = smooth ? state->scalars[kScalar_label_smoothing] : 0, divisor = state->scalars[denominator];
  const auto s = all.segment(g, *segments, *rows);
  if (s.length == 0) return;
  const double spread = smoothing / (double)s.length, scale = s.target < 0 || !(divisor > 0) ? 0 : 1 / divisor;
  const double top = (double)lse[2 * g], log_sum = (double)lse[2 * g + 1];
#pragma unroll 1
  for (int i = threadIdx.x % kWarp; i < s.length; i += kWarp) {
    const int64_t at = (s.begin + i) * C + column;
    const double log_p = ((double)logits[at] - top) - log_sum, d = i == s.target ? expm1(log_p) + smoothing : exp(log_p);
    dlogits[at] = (float)((d - spread) * scale);
  }
}

static dim3 segment_grid(Rows segments) { return dim3(ceil_div(segments.capacity, kSegmentWarps)); }

Status segment_cross_entropy(Launch& launch, Operands c) {
  const float* logits = c.f32();
  const int32_t *cu = c.i32(), *positions = c.i32();
  float *lse = c.f32(), *loss = c.f32();
  const Rows rows = c.rows(), segments = c.rows();
  const int C = c.dim(), column = c.integer(), denominator = c.integer();
  const bool add = c.flag(), smooth = c.flag();
  if (column < 0 || column >= C) return {"column", 0, column, 0, C};
  double* parts = launch.reserve<double>(segments.capacity);
  launch(segment_losses_kernel, segment_grid(segments), dim3(kSegmentWarps * kWarp), 0, logits, Segments::of(launch, cu, positions, rows), lse, parts,
         rows.count, segments.count, C, column, smooth, launch.state);
  launch(put_row_losses_kernel, dim3(1), dim3(kSumThreads), 0, parts, segments.count, PutLoss{loss, launch.state, denominator, add});
  return kOk;
}

Status segment_cross_entropy_backward(Launch& launch, Operands c) {
  const float* logits = c.f32();
  const int32_t *cu = c.i32(), *positions = c.i32();
  const float* lse = c.f32();
  float* dlogits = c.f32();
  const Rows rows = c.rows(), segments = c.rows();
  const int C = c.dim(), column = c.integer(), denominator = c.integer();
  const bool smooth = c.flag();
  if (column < 0 || column >= C) return {"column", 0, column, 0, C};
  launch(segment_gradients_kernel, segment_grid(segments), dim3(kSegmentWarps * kWarp), 0, logits, Segments::of(launch, cu, positions, rows), lse, dlogits,
         rows.count, segments.count, C, column, denominator, smooth, launch.state);
  return kOk;
}

}  // namespace cuda
}  // namespace bk
