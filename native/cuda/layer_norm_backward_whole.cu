// layer_norm_backward_weight and layer_norm_backward in one pass over dy and sum, for rows that a warp holds. To the bits of the latter; the
// sums over rows have another order than the former's.
#include "layer_norm_backward.cuh"
#include "tensor_core.cuh"

namespace bk {
namespace cuda {

constexpr int kWholeWarps = 8, kWholeThreads = kWholeWarps * kWarp, kWholeResident = 2;
/** Two blocks on each multiprocessor of an H100 are a few more than 256: all begin and end at once. Few rows go to as many warps as there are. */
constexpr Stretches kWholeStretches = {2 * kWholeWarps, 256};

/**
 * The shared memory of a block: of each warp kSlots rows on their way, dy then sum, and later the sums of its rows, dgamma then dbeta; then
 * gamma. A lane reads of a row only what it has copied itself.
 */
template <class T, int S>
struct WholeMemory {
  static constexpr int kSlots = 2, kColumns = S * kWarp * kNormWidth;
  static constexpr int kWarpBytes = kSlots * 2 * kColumns * (int)sizeof(T), kBytes = kWholeWarps * kWarpBytes + kColumns * (int)sizeof(float);
  static_assert(kWarpBytes >= 2 * kColumns * (int)sizeof(float), "expected room for a warp's sums");

  __device__ static T* slot(int warp, int turn) { return (T*)(dynamic_shared() + warp * kWarpBytes) + turn % kSlots * 2 * kColumns; }
  __device__ static float* sums(int warp) { return (float*)(dynamic_shared() + warp * kWarpBytes); }
  __device__ static float* gamma() { return (float*)(dynamic_shared() + kWholeWarps * kWarpBytes); }
};

/**
 * A block takes a stretch of rows, and each of its warps every eighth of them; the next ones are copied meanwhile. g and h are computed twice,
 * from what was copied: registers are for the sums. Block b leaves parts[2 b], sums of dy h, and parts[2 b + 1], of dy.
 */
template <class T, class Layout>
__global__ void __launch_bounds__(kWholeThreads, kWholeResident) layer_norm_backward_whole_kernel(LayerNormBackward<T> a, Stretches stretches, float* parts) {
  begin_kernel();
  constexpr int S = Layout::kSteps, W = kNormWidth;
  typedef WholeMemory<T, S> Memory;
  const int warp = threadIdx.x / kWarp, H = a.H, count = *a.rows;
  const int stretch = stretches.rows(count), begin = blockIdx.x * stretch, end = min(count, begin + stretch);
  if (begin >= count) return;
  const auto ask = [&](int row, int turn) {
    if (row < end) {
      T* const slot = Memory::slot(warp, turn);
#pragma unroll
      for (int s = 0; s < S; s++) {
        const int column = Layout::column(s);
        if (column >= H) continue;
        cp_async<W * sizeof(T)>(slot + column, a.dy + (int64_t)row * H + column);
        cp_async<W * sizeof(T)>(slot + Memory::kColumns + column, a.sum + (int64_t)row * H + column);
      }
    }
    cp_async_commit();
  };
#pragma unroll
  for (int turn = 0; turn < Memory::kSlots; turn++) ask(begin + warp + turn * kWholeWarps, turn);
  for (int column = threadIdx.x * W; column < H; column += kWholeThreads * W) {
    float gamma[W];
    load(a.gamma + column, gamma);
    store(Memory::gamma() + column, gamma);
  }
  __syncthreads();

  const bool add = a.add && a.dresidual, dropped = a.dx && a.site.p > 0;
  const Dropout drop = Dropout::of(a.state, a.site.p, a.site.site);
  float dgamma[S][W] = {}, dbeta[S][W] = {};
  int row = begin + warp;
  float mean = row < end ? a.mean[row] : 0, rstd = row < end ? a.rstd[row] : 0;
#pragma unroll 1
  for (int turn = 0; row < end; turn++, row += kWholeWarps) {
    const int next = min(row + kWholeWarps, end - 1);
    const float next_mean = a.mean[next], next_rstd = a.rstd[next];
    const int64_t start = (int64_t)row * H;
    const T* const slot = Memory::slot(warp, turn);
    float total = 0, with_h = 0;
    cp_async_wait<Memory::kSlots - 1>();
#pragma unroll
    for (int s = 0; s < S; s++) {
      const int column = Layout::column(s);
      if (column >= H) continue;
      float dy[W], h[W], gamma[W];
      load(slot + column, dy);
      load(slot + Memory::kColumns + column, h);
      load(Memory::gamma() + column, gamma);
#pragma unroll
      for (int j = 0; j < W; j++) {
        const float g = weighted(dy[j], gamma[j]);
        h[j] = normalized(h[j], mean, rstd);
        total += g;
        with_h = fmaf(g, h[j], with_h);
        dgamma[s][j] = fmaf(dy[j], h[j], dgamma[s][j]);
        dbeta[s][j] += dy[j];
      }
    }
    StepMasks<S> masks;
    if (dropped && !a.site.keep) masks.draw(drop, row, Layout::first);
    const float mean_g = Layout::sum(total) / (float)H, mean_gh = Layout::sum(with_h) / (float)H;
#pragma unroll 4  // more at once would not fit into registers
    for (int s = 0; s < S; s++) {
      const int column = Layout::column(s);
      float d[W] = {};
      if (column < H) {
        float h[W], gamma[W];
        load(slot + column, d);
        load(slot + Memory::kColumns + column, h);
        load(Memory::gamma() + column, gamma);
#pragma unroll
        for (int j = 0; j < W; j++) d[j] = gradient_of_sum(weighted(d[j], gamma[j]), normalized(h[j], mean, rstd), mean_g, mean_gh, rstd);
        if (a.dresidual) {
          if (add) load(a.dresidual + start + column, h);
#pragma unroll
          for (int j = 0; j < W; j++) h[j] = add ? h[j] + d[j] : d[j];
          store(a.dresidual + start + column, h);
        }
      }
      if (dropped) {
        const uint32_t bits = a.site.keep ? Dropout::given_columns<W>(a.site.keep, row, column, H) : masks.at(s);
#pragma unroll
        for (int j = 0; j < W; j++) d[j] = bits >> j & 1 ? d[j] * drop.scale : 0.0f;
      }
      if (a.dx && column < H) store(a.dx + start + column, d);
    }
    ask(row + Memory::kSlots * kWholeWarps, turn);
    mean = next_mean;
    rstd = next_rstd;
  }

  __syncwarp();  // what other lanes have copied has been read
#pragma unroll
  for (int s = 0; s < S; s++) {
    store(Memory::sums(warp) + Layout::column(s), dgamma[s]);
    store(Memory::sums(warp) + Memory::kColumns + Layout::column(s), dbeta[s]);
  }
  __syncthreads();
  for (int i = threadIdx.x * W; i < 2 * Memory::kColumns; i += kWholeThreads * W) {
    const int which = i / Memory::kColumns, column = i % Memory::kColumns;
    if (column >= H) continue;
    float sum[W] = {};
#pragma unroll
    for (int w = 0; w < kWholeWarps; w++) {
      float more[W];
      load(Memory::sums(w) + i, more);
#pragma unroll
      for (int j = 0; j < W; j++) sum[j] += more[j];
    }
    store(parts + ((int64_t)blockIdx.x * 2 + which) * H + column, sum);
  }
}

bool layer_norm_backward_whole(Launch& launch, Operands weight, Operands c) {
  for (int i = 0; i < 4; i++) weight.any();  // those of the other
  float *dgamma = weight.f32(), *dbeta = weight.f32();
  weight.rows();
  weight.dim();
  const bool accumulate = weight.flag();

  bool launched = false;
  with_layer_norm_backward(launch, c, [&](auto element, const auto& a, const Rows& rows) {
    typedef decltype(element) T;
    with_row_layout(a.H, [&](auto layout) {
      typedef decltype(layout) Layout;
      if constexpr (Layout::kTeam == 1 && Layout::kSteps > 0) {
        constexpr int kBytes = WholeMemory<T, Layout::kSteps>::kBytes;
        if (kBytes > launch.shared_bytes) return;
        const int blocks = kWholeStretches.blocks(rows.capacity);
        float* parts = launch.reserve<float>((int64_t)blocks * 2 * a.H);
        launch.early(layer_norm_backward_whole_kernel<T, Layout>, dim3(blocks), dim3(kWholeThreads), kBytes, a, kWholeStretches, parts);
        put_columns(launch, parts, kWholeStretches, rows, a.H, dgamma, dbeta, accumulate);
        launched = true;
      }
    });
  });
  return launched;
}

}  // namespace cuda
}  // namespace bk
