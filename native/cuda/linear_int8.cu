// linear_int8: y = act(x w^T + bias) with a weight of int8 and a scale for each of its rows; x is rounded to int8 here, with a scale for each
// block of columns. Sums of a block are whole numbers, and exact; those of blocks are float32 in their order, and nothing is fused: the bits
// are those of every other backend, but for the activation's. quantize_rows writes such a weight.
#include "activation.cuh"
#include "gemm.cuh"
#include "linear_int8.cuh"

namespace bk {
namespace cuda {

constexpr int kRoundLanes = kInt8Block / 4;

/** x in whole numbers, `pitch` words a row, and the scale of each block of columns; 16 lanes take a block, four columns each. */
__global__ void __launch_bounds__(256)
    round_rows_kernel(const float* __restrict__ x, const int32_t* counted, int K, uint32_t* __restrict__ words, int pitch, float* __restrict__ scales) {
  const int blocks = pitch / kRoundLanes;
  const int64_t count = (int64_t)*counted * blocks, step = (int64_t)gridDim.x * blockDim.x / kRoundLanes;
  for (int64_t first = (int64_t)blockIdx.x * blockDim.x / kRoundLanes; first < count; first += step) {
    const int64_t i = first + threadIdx.x / kRoundLanes, row = i / blocks;
    const int block = (int)(i - row * blocks), k = block * kInt8Block + threadIdx.x % kRoundLanes * 4;
    float v[4] = {}, most = 0;
    bool finite = true;
    if (i < count) load_four(x + row * K, k, K, v);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      most = fmaxf(most, fabsf(v[j]));
      finite = finite && is_finite(v[j]);
    }
#pragma unroll
    for (int offset = kRoundLanes / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, offset));
    const uint32_t all = __ballot_sync(0xffffffffu, finite) >> threadIdx.x % kWarp / kRoundLanes * kRoundLanes & 0xffff;
    const Quantizer quantizer = Quantizer::of(most, all == 0xffff);
    if (i >= count) continue;
    words[row * pitch + k / 4] = quantizer.word(v);
    if (threadIdx.x % kRoundLanes == 0) scales[i] = quantizer.scale;
  }
}

/** A block of 4 warps computes 64 x 64 of y; a stage is two blocks of columns, 128 bytes of a row. */
struct Int8Shape {
  static constexpr int kRows = 64, kColumns = 64, kWarpRows = 32, kWarpColumns = 32, kThreads = 128, kStages = 3, kDepth = 128;
  static constexpr int kLefts = kWarpRows / 16, kRights = kWarpColumns / 8, kSlabPitch = kWarpColumns + 8;
  typedef OperandTile<int8_t, kRows, true> X;
  static constexpr int kPanels = kColumns / kInt8Panel, kPanelBytes = kDepth / 4 * kInt8Panel * 4, kStageBytes = X::kBytes + kPanels * kPanelBytes;
  static constexpr int kBytes = kStages * kStageBytes;
  static_assert(4 * 16 * kSlabPitch * 4 <= kStageBytes, "slabs take a stage");
};

struct Int8Product {
  const int8_t* x;  // rows of `pitch` bytes
  const float* x_scales;
  const int32_t *w, *counted;
  int pitch, K, N;
};

/** Chunk c of four k's of a panel, which are 64 bytes, lies at c ^ turn: words of four of them are in different banks. */
__device__ __forceinline__ int panel_place(int four, int chunk) { return four * 64 + ((chunk ^ (four >> 1 & 1) * 2) << 4); }

__device__ __forceinline__ void copy_int8_stage(const Int8Product& p, const Loader<Int8Shape::X, Int8Shape::kThreads>& rows, char* stage, int column, int k) {
  typedef Int8Shape Shape;
  if (k < p.pitch) rows.copy(stage, p.pitch, p.pitch - k, p.x);
  constexpr int kChunks = Shape::kPanels * Shape::kPanelBytes / 16;
  const int depth = int8_depth(p.K), panels = ceil_div(p.N, kInt8Panel);
#pragma unroll
  for (int i = threadIdx.x; i < kChunks; i += Shape::kThreads) {
    const int chunk = i % 4, four = i / 4 % (Shape::kDepth / 4), panel = i / Shape::kDepth;
    const int from_panel = column / kInt8Panel + panel, from_four = k / 4 + four;
    const bool valid = from_panel < panels && from_four < depth;
    const int32_t* from = valid ? p.w + ((int64_t)from_panel * depth + from_four) * kInt8Panel + chunk * 4 : p.w;
    cp_async16(stage + Shape::X::kBytes + panel * Shape::kPanelBytes + panel_place(four, chunk), from, valid);
  }
}

/** What the sums become: times the scale of w's row, plus bias, and the activation. */
struct Int8Epilogue {
  const float *scale, *bias;
  float* y;
  int act;

  template <class Slab>
  __device__ __forceinline__ void finish(const Slab& slab) const {
    with_activation(act, [&](auto activation) {
      slab.each([&](int row, int column, auto& values) {
        constexpr int V = sizeof values / sizeof values[0];
        float scales[V], start[V] = {};
        load(scale + column, scales);
        if (bias) load(bias + column, start);
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = decltype(activation)::value(__fadd_rn(__fmul_rn(values[i], scales[i]), start[i]));
        store(y + (int64_t)row * slab.N + column, values);
      });
    });
  }
};

__global__ void __launch_bounds__(Int8Shape::kThreads) linear_int8_kernel(Int8Product p, Int8Epilogue epilogue) {
  typedef Int8Shape Shape;
  const int M = *p.counted, row = blockIdx.y * Shape::kRows, column = blockIdx.x * Shape::kColumns, blocks = p.pitch / kInt8Block;
  if (row >= M) return;
  char* shared = dynamic_shared();
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  const int warp_row = warp / 2 * Shape::kWarpRows, warp_column = warp % 2 * Shape::kWarpColumns;

  Loader<Shape::X, Shape::kThreads> rows;
  rows.begin(p.x, p.pitch, row, M, 0);
  int copied = 0;
  for (; copied < Shape::kStages - 1; copied++) {
    copy_int8_stage(p, rows, shared + copied * Shape::kStageBytes, column, copied * Shape::kDepth);
    rows.advance(p.pitch);
    cp_async_commit();
  }

  float totals[Shape::kLefts][Shape::kRights][4];
#pragma unroll
  for (int m = 0; m < Shape::kLefts; m++)
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) totals[m][n][i] = -0.0f;  // the first block's sum stays what it is

  for (int k = 0; k < p.K; k += Shape::kDepth, copied++) {
    cp_async_wait<Shape::kStages - 2>();
    __syncthreads();
    copy_int8_stage(p, rows, shared + copied % Shape::kStages * Shape::kStageBytes, column, copied * Shape::kDepth);
    rows.advance(p.pitch);
    cp_async_commit();
    const char* stage = shared + k / Shape::kDepth % Shape::kStages * Shape::kStageBytes;
    const char* panels = stage + Shape::X::kBytes;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int block = k / kInt8Block + half;
      float scales[2 * Shape::kLefts];
#pragma unroll
      for (int m = 0; m < 2 * Shape::kLefts; m++) {
        const int of = row + warp_row + 8 * m + g;
        scales[m] = of < M && block < blocks ? p.x_scales[(int64_t)of * blocks + block] : 0.0f;
      }
      int sums[Shape::kLefts][Shape::kRights][4] = {};
#pragma unroll
      for (int step = 2 * half; step < 2 * half + 2; step++) {
        uint32_t left[Shape::kLefts][4];
#pragma unroll
        for (int m = 0; m < Shape::kLefts; m++) Shape::X::left(left[m], stage, warp_row + 16 * m, step);
#pragma unroll
        for (int n = 0; n < Shape::kRights; n++) {
          const int line = warp_column + 8 * n + g;
          const char* panel = panels + line / kInt8Panel * Shape::kPanelBytes + line % 4 * 4;
          const uint32_t right[2] = {*(const uint32_t*)(panel + panel_place(8 * step + t, line % kInt8Panel / 4)),
                                     *(const uint32_t*)(panel + panel_place(8 * step + t + 4, line % kInt8Panel / 4))};
#pragma unroll
          for (int m = 0; m < Shape::kLefts; m++) mma_int8(sums[m][n], left[m], right);
        }
      }
      if (block >= blocks) continue;
#pragma unroll
      for (int m = 0; m < Shape::kLefts; m++)
#pragma unroll
        for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) totals[m][n][i] = __fadd_rn(totals[m][n][i], __fmul_rn(__int2float_rn(sums[m][n][i]), scales[2 * m + i / 2]));
    }
  }

  cp_async_wait<0>();
  __syncthreads();
  float* slab = (float*)shared + warp * 16 * Shape::kSlabPitch;
#pragma unroll
  for (int m = 0; m < Shape::kLefts; m++) {
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
      for (int i = 0; i < 2; i++)
        *(float2*)(slab + (g + 8 * i) * Shape::kSlabPitch + 8 * n + 2 * t) = make_float2(totals[m][n][2 * i], totals[m][n][2 * i + 1]);
    __syncwarp();
    epilogue.finish(Slab<Shape::kWarpColumns>{slab, row + warp_row + 16 * m, column + warp_column, M, p.N, 0});
    __syncwarp();
  }
}

Status linear_int8(Launch& launch, Operands c) {
  const float* x = c.f32();
  const int32_t* w = c.i32();
  const float *scale = c.f32(), *bias = c.f32();
  float* y = c.f32();
  const Rows rows = c.rows();
  const int K = c.dim(), N = c.dim(), words = c.dim(), act = c.integer();
  const Status s = check_int8("w", N, K, words);
  if (s.where) return s;
  const int pitch = (int)round_up(K, kInt8Block), blocks = pitch / kInt8Block, most = 16 * launch.multiprocessors;
  uint32_t* rounded = launch.reserve<uint32_t>((int64_t)rows.capacity * pitch / 4);
  float* scales = launch.reserve<float>((int64_t)rows.capacity * blocks);
  const int grid = ceil_div((int64_t)rows.capacity * blocks, 256 / kRoundLanes);
  launch(round_rows_kernel, dim3(grid < most ? grid : most), dim3(256), 0, x, rows.count, K, rounded, pitch / 4, scales);
  launch(linear_int8_kernel, dim3(ceil_div(N, Int8Shape::kColumns), ceil_div(rows.capacity, Int8Shape::kRows)), dim3(Int8Shape::kThreads), Int8Shape::kBytes,
         Int8Product{(const int8_t*)rounded, scales, w, rows.count, pitch, K, N}, Int8Epilogue{scale, bias, y, act});
  return kOk;
}

/** A block rounds a row of x to row `first` + row of the weight, unless that is beyond the last. */
__global__ void __launch_bounds__(256) quantize_rows_kernel(const float* __restrict__ x, const int32_t* counted, int N, int K, int first, Checked ok,
                                                            int32_t* __restrict__ w, float* __restrict__ scale) {
  __shared__ float greatest[256 / kWarp];
  const int rows = *counted;
  if (!ok(rows, 0, N - first + 1, 0)) return;
  for (int row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* from = x + (int64_t)row * K;
    float most = 0;
    int finite = 1;
    for (int k = threadIdx.x; k < K; k += blockDim.x) {
      most = fmaxf(most, fabsf(from[k]));
      finite &= is_finite(from[k]);
    }
    most = warp_max(most);
    finite = __syncthreads_and(finite);
    if (threadIdx.x % kWarp == 0) greatest[threadIdx.x / kWarp] = most;
    __syncthreads();
    for (int i = 0; i < 256 / kWarp; i++) most = fmaxf(most, greatest[i]);
    const Quantizer quantizer = Quantizer::of(most, finite);
    for (int k = threadIdx.x * 4; k < K; k += blockDim.x * 4) {
      float v[4];
      load_four(from, k, K, v);
      w[int8_word(first + row, k, K)] = (int32_t)quantizer.word(v);
    }
    if (threadIdx.x == 0) scale[first + row] = quantizer.scale;
  }
}

Status quantize_rows(Launch& launch, Operands c) {
  const float* x = c.f32();
  int32_t* w = c.i32();
  float* scale = c.f32();
  const Rows rows = c.rows();
  const int N = c.dim(), K = c.dim(), words = c.dim(), first = c.integer();
  const Status s = check_int8("w", N, K, words);
  if (s.where) return s;
  if (first < 0 || first > N) return {"first", 0, first, 0, N + 1};
  // the check is of the count, since how many rows there are is known here only
  const Checked ok = launch.check("the number of rows from first on", rows.count, 0, N - first + 1);
  const int most = 16 * launch.multiprocessors;
  launch(quantize_rows_kernel, dim3(rows.capacity < most ? rows.capacity : most), dim3(256), 0, x, rows.count, N, K, first, ok, w, scale);
  return kOk;
}

}  // namespace cuda
}  // namespace bk
