// C = A B on tensor cores, float32 sums. Blocks stay for as many parts of C as there are, and copy the tiles of the next part while they
// finish one: a ring of stages in shared memory, filled by asynchronous copies, read by ldmatrix into fragments one step ahead of their
// products.
//
// Products of float32 are three of TF32, whose 11 bits a number is the sum of two of: big * small, small * big, big * big. What is lost is
// at most 8 units of float32's roundoff of a product. Tensor cores cut sums instead of rounding them, so each stretch of the depth is summed
// from zero and added in float32. A depth of one stretch, where a bound that grows with it would be exceeded, is multiplied in float32.
//
// An element's sum is in the same order whatever the shape of the block and the place in C, so a row's bits do not depend on the rows
// beside it.
#pragma once
#include "tile.cuh"

namespace bk {
namespace cuda {

/** What is multiplied: A is M x K, B is K x N; chunks of 16 bytes of a row can be copied, `pitch` elements are between rows. */
template <class T>
struct Product {
  const T *a, *b;
  int64_t a_pitch, b_pitch;
  int M, N, K;               // or
  const int32_t* counted_M;  // of M's and K's places; null where those are given
  const int32_t* counted_K;
  int splits;  // of the depth, at most
};

/** How many splits of a depth are not empty (at least one), each a multiple of `unit` deep. */
__host__ __device__ __forceinline__ int split_depth(int K, int splits, int unit) { return splits == 1 ? K : (int)round_up(ceil_div(K, splits), unit); }
__device__ __forceinline__ int used_splits(int K, int splits, int unit) { return splits == 1 || K == 0 ? 1 : ceil_div(K, split_depth(K, splits, unit)); }

/** A block's tile of C and its warps' tiles, stages of shared memory, blocks that share a multiprocessor. */
template <class T_, int kRows_, int kColumns_, int kWarpRows_, int kWarpColumns_, int kStages_, int kBlocks_>
struct BlockShape {
  typedef T_ T;
  static constexpr int kRows = kRows_, kColumns = kColumns_, kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_;
  static constexpr int kStages = kStages_, kBlocks = kBlocks_;
  static constexpr int kDepth = 128 / sizeof(T), kSteps = 4;  // of a stage; a step is 2 chunks of 16 bytes
  static constexpr int kAcross = kColumns / kWarpColumns, kWarps = kRows / kWarpRows * kAcross, kThreads = kWarps * kWarp;
  static constexpr int kLefts = kWarpRows / 16, kRights = kWarpColumns / 8;
  static constexpr int kStageBytes = (kRows + kColumns) * 128, kBytes = kStages * kStageBytes;
  // a warp's 16 rows of C on their way to global memory, pairs of whose columns are written without conflicts of banks
  static constexpr int kSlabPitch = kWarpColumns + 8;
  static_assert(kRights % 2 == 0 && kWarps * 16 * kSlabPitch * 4 <= kStageBytes, "slabs take a stage");
};

/** Which part of C a block computes, over which stretch of the depth. */
struct Part {
  int row, column, split, begin, end;
};

/** C in parts: one split of the depth after another, in each 16 rows of tiles after another, column by column, so that parts that are computed at the same time
 * share rows and columns in the L2. */
template <class Shape>
struct Parts {
  static constexpr int kGroup = 16;
  int M, N, K, depth, down, across, count;

  template <class T>
  __device__ explicit Parts(const Product<T>& p) : M(p.counted_M ? *p.counted_M : p.M), N(p.N), K(p.counted_K ? *p.counted_K : p.K) {
    depth = split_depth(K, p.splits, Shape::kDepth);
    down = ceil_div(M, Shape::kRows);
    across = max(1, ceil_div(N, Shape::kColumns));
    count = down * across * used_splits(K, p.splits, Shape::kDepth);
  }
  __device__ Part operator[](int index) const {
    const int split = index / (down * across), in_split = index % (down * across);
    const int group = in_split / (kGroup * across), in_group = in_split % (kGroup * across), height = min(kGroup, down - group * kGroup);
    const int begin = split * depth;
    return {(group * kGroup + in_group % height) * Shape::kRows, in_group / height * Shape::kColumns, split, begin, min(K, begin + depth)};
  }
  /** Stages that a part takes: at least one, of zeros where there is no depth. */
  __device__ static int stages(const Part& part) { return max(1, ceil_div(part.end - part.begin, Shape::kDepth)); }
};

/** Fills stages: those of this block's parts, one after another. */
template <class Shape, bool kAlongA, bool kAlongB>
struct Producer {
  typedef typename Shape::T T;
  typedef Tile<T, Shape::kRows, kAlongA> A;
  typedef Tile<T, Shape::kColumns, kAlongB> B;
  static_assert(A::kBytes + B::kBytes == Shape::kStageBytes, "");

  Loader<A, Shape::kThreads> a;
  Loader<B, Shape::kThreads> b;
  int index, depth;  // the part, and what is left of its depth

  __device__ void begin(const Product<T>& p, const Parts<Shape>& parts, int part_index) {
    index = part_index;
    if (index >= parts.count) return;
    const Part part = parts[index];
    depth = part.end - part.begin;
    a.begin(p.a, p.a_pitch, part.row, parts.M, part.begin);
    b.begin(p.b, p.b_pitch, part.column, parts.N, part.begin);
  }
  __device__ __forceinline__ void copy_a(const Product<T>& p, const Parts<Shape>& parts, char* stage) const {
    if (index < parts.count) a.copy(stage, p.a_pitch, depth, p.a);
  }
  __device__ __forceinline__ void copy_b(const Product<T>& p, const Parts<Shape>& parts, char* stage) {
    if (index < parts.count) {
      b.copy(stage + A::kBytes, p.b_pitch, depth, p.b);
      depth -= Shape::kDepth;
      a.advance(p.a_pitch);
      b.advance(p.b_pitch);
      if (depth <= 0) begin(p, parts, index + gridDim.x);
    }
    cp_async_commit();
  }
};

/** What a warp multiplies in one step. */
template <class Shape>
struct Fragments {
  uint32_t left[Shape::kLefts][4], right[Shape::kRights][2];

  template <class A, class B>
  __device__ __forceinline__ void load(const char* stage, int row, int column, int step) {
#pragma unroll
    for (int m = 0; m < Shape::kLefts; m++) A::left(left[m], stage, row + 16 * m, step);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n += 2) {
      uint32_t two[4];
      B::right(two, stage + A::kBytes, column + 8 * n, step);
      right[n][0] = two[0], right[n][1] = two[1], right[n + 1][0] = two[2], right[n + 1][1] = two[3];
    }
  }
};

template <class Shape>
struct Sums {
  float at[Shape::kLefts][Shape::kRights][4];

  __device__ __forceinline__ void zero() {
#pragma unroll
    for (int m = 0; m < Shape::kLefts; m++)
#pragma unroll
      for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) at[m][n][i] = 0;
  }
  __device__ __forceinline__ void add(const Sums& other) {
#pragma unroll
    for (int m = 0; m < Shape::kLefts; m++)
#pragma unroll
      for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) at[m][n][i] += other.at[m][n][i];
  }
};

template <class Shape>
__device__ __forceinline__ void multiply(Sums<Shape>& sums, const Fragments<Shape>& f, bf16) {
#pragma unroll
  for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
    for (int m = 0; m < Shape::kLefts; m++) mma_bf16(sums.at[m][n], f.left[m], f.right[n]);
}

/**
 * x is the sum of the two, but for half a unit in its last place: what the hardware would cut of small is rounded, since errors to one side
 * add up over the steps of a training. Its lower bits are not looked at. Where big is NaN or infinite, small may be anything.
 */
template <int kCount>
__device__ __forceinline__ void cut_in_two(const uint32_t (&x)[kCount], uint32_t (&big)[kCount], uint32_t (&small)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i++) {
    big[i] = to_tf32(__uint_as_float(x[i]));
    small[i] = __float_as_uint(__uint_as_float(x[i]) - __uint_as_float(big[i])) + 0x1000u;
  }
}

template <class Shape>
__device__ __forceinline__ void multiply(Sums<Shape>& sums, const Fragments<Shape>& f, float) {
  uint32_t big[Shape::kRights][2], small[Shape::kRights][2];
#pragma unroll
  for (int n = 0; n < Shape::kRights; n++) cut_in_two(f.right[n], big[n], small[n]);
#pragma unroll
  for (int m = 0; m < Shape::kLefts; m++) {
    uint32_t left_big[4], left_small[4];
    cut_in_two(f.left[m], left_big, left_small);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++) mma_tf32(sums.at[m][n], left_small, big[n]);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++) mma_tf32(sums.at[m][n], left_big, small[n]);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++) mma_tf32(sums.at[m][n], left_big, big[n]);
  }
}

/**
 * The sums of the rows of A, by products with ones: a warp's rows are shared out to those beside it, which have the same, `turn` saying
 * which this one is. Every column of `sums` is the same.
 */
template <class Shape>
struct RowSums {
  static constexpr int kShare = Shape::kLefts > Shape::kAcross ? Shape::kLefts / Shape::kAcross : 1;
  float at[kShare][4];

  __device__ __forceinline__ void zero() {
#pragma unroll
    for (int m = 0; m < kShare; m++)
#pragma unroll
      for (int i = 0; i < 4; i++) at[m][i] = 0;
  }
  __device__ __forceinline__ void add(const Fragments<Shape>& f, int turn) {
    const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
#pragma unroll
    for (int warp = 0; warp < Shape::kAcross; warp++)
      if (turn == warp)
#pragma unroll
        for (int m = 0; m < kShare; m++) mma_bf16(at[m], f.left[warp * kShare + m], ones);
  }
};

/** A stage's products in float32. */
template <class Shape, class A, class B>
__device__ __forceinline__ void multiply_exactly(Sums<Shape>& sums, const char* stage, int row, int column) {
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
#pragma unroll 1
  for (int k = 0; k < Shape::kDepth; k++) {
    float left[2 * Shape::kLefts];
#pragma unroll
    for (int m = 0; m < 2 * Shape::kLefts; m++) left[m] = A::element(stage, row + 8 * m + g, k);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float right = B::element(stage + A::kBytes, column + 8 * n + 2 * t + i, k);
#pragma unroll
        for (int m = 0; m < 2 * Shape::kLefts; m++) sums.at[m / 2][n][m % 2 * 2 + i] = fmaf(left[m], right, sums.at[m / 2][n][m % 2 * 2 + i]);
      }
  }
}

/** Elements in a row of a matrix as one access. */
template <class T, int V>
__device__ __forceinline__ void load_elements(const T* from, float (&values)[V]) {
  struct alignas(V * sizeof(T)) Elements {
    T at[V];
  };
  const Elements elements = *(const Elements*)from;
#pragma unroll
  for (int i = 0; i < V; i++) values[i] = to_float(elements.at[i]);
}
template <class T, int V>
__device__ __forceinline__ void store_elements(T* to, const float (&values)[V]) {
  struct alignas(V * sizeof(T)) Elements {
    T at[V];
  } elements;
#pragma unroll
  for (int i = 0; i < V; i++) elements.at[i] = from_float<T>(values[i]);
  *(Elements*)to = elements;
}

/** 16 rows of C of one warp, in shared memory; what an epilogue takes. */
template <int kColumns>
struct Slab {
  const float* data;
  int row, column, M, N, split;

  /** Calls body(row, column, values) for what is inside C, four columns at a time where N is a multiple. No lane waits for another. */
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
    if (N % 4 == 0)
#pragma unroll 2
      for (int i = threadIdx.x % kWarp; i < 4 * kColumns; i += kWarp) take<4>(i, body);
    else
#pragma unroll 1
      for (int i = threadIdx.x % kWarp; i < 16 * kColumns; i += kWarp) take<1>(i, body);
  }

 private:
  template <int V, class Body>
  __device__ __forceinline__ void take(int i, Body body) const {
    constexpr int kPerRow = kColumns / V;
    const int r = i / kPerRow, c = i % kPerRow * V;
    if (row + r >= M || column + c >= N) return;
    float values[V];
    load_elements(data + r * (kColumns + 8) + c, values);
    body(row + r, column + c, values);
  }
};

/**
 * Each warp computes a tile of the block's tile. Epilogue: `finish(slab)` takes rows of C; where kRowSums, `finish_sum(row, sum, split)` takes
 * the sum of each row of A.
 */
template <class Shape, bool kAlongA, bool kAlongB, class Epilogue>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) gemm_kernel(Product<typename Shape::T> p, Epilogue epilogue) {
  typedef typename Shape::T T;
  typedef Producer<Shape, kAlongA, kAlongB> Source;
  typedef typename Source::A A;
  typedef typename Source::B B;
  constexpr int kStages = Shape::kStages, kSteps = Shape::kSteps;
  constexpr bool kCut = sizeof(T) == 4, kAhead = !kCut;  // three products a step hide the next one's loads, and need the registers
  const Parts<Shape> parts(p);
  if ((int)blockIdx.x >= parts.count) return;
  char* shared = dynamic_shared();
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int warp_row = warp / Shape::kAcross * Shape::kWarpRows, warp_column = warp % Shape::kAcross * Shape::kWarpColumns;
  const bool exact = kCut && parts.K <= Shape::kDepth;

  Source source;
  source.begin(p, parts, blockIdx.x);
  for (int s = 0; s < kStages - 1; s++) {
    source.copy_a(p, parts, shared + s * Shape::kStageBytes);
    source.copy_b(p, parts, shared + s * Shape::kStageBytes);
  }
  cp_async_wait<kStages - 2>();
  __syncthreads();

  Fragments<Shape> fragments[2];
  if (kAhead) fragments[0].template load<A, B>(shared, warp_row, warp_column, 0);
  Sums<Shape> sums;
  RowSums<Shape> row_sums;
  int stage = 0;
  for (int index = blockIdx.x; index < parts.count; index += gridDim.x) {
    const Part part = parts[index];
    const bool sums_rows = Epilogue::kRowSums && part.column == 0;
    sums.zero();
    if constexpr (Epilogue::kRowSums) row_sums.zero();
    for (int left = Parts<Shape>::stages(part); left > 0; left--) {
      const char* from = shared + stage * Shape::kStageBytes;
      char* read_before = shared + (stage == 0 ? kStages - 1 : stage - 1) * Shape::kStageBytes;
      Sums<Shape> stretch;
      if (kCut) stretch.zero();
      if (kCut && exact) multiply_exactly<Shape, A, B>(sums, from, warp_row, warp_column);
#pragma unroll
      for (int step = 0; step < kSteps; step++) {
        if (!kAhead) fragments[0].template load<A, B>(from, warp_row, warp_column, step);
        if (step == kSteps - 1) {
          cp_async_wait<kStages - 2>();
          __syncthreads();
          stage = stage == kStages - 1 ? 0 : stage + 1;
          from = shared + stage * Shape::kStageBytes;
        }
        if (kAhead) fragments[(step + 1) % 2].template load<A, B>(from, warp_row, warp_column, (step + 1) % kSteps);
        if (step == 0) source.copy_a(p, parts, read_before);
        if (step == 1) source.copy_b(p, parts, read_before);
        const Fragments<Shape>& f = fragments[kAhead ? step % 2 : 0];
        if (!kCut)
          multiply(sums, f, T());
        else if (!exact)
          multiply(stretch, f, T());
        if constexpr (Epilogue::kRowSums)
          if (sums_rows) row_sums.add(f, warp % Shape::kAcross);
      }
      if (kCut) sums.add(stretch);
    }

    // the stage that was read last is free until the copies of the next
    float* slab = (float*)(shared + (stage == 0 ? kStages - 1 : stage - 1) * Shape::kStageBytes) + warp * 16 * Shape::kSlabPitch;
#pragma unroll 1
    for (int m = 0; m < Shape::kLefts; m++) {
#pragma unroll
      for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
        for (int i = 0; i < 2; i++)
          *(float2*)(slab + (lane / 4 + 8 * i) * Shape::kSlabPitch + 8 * n + lane % 4 * 2) = make_float2(sums.at[0][n][2 * i], sums.at[0][n][2 * i + 1]);
      __syncwarp();
      epilogue.finish(Slab<Shape::kWarpColumns>{slab, part.row + warp_row + 16 * m, part.column + warp_column, parts.M, parts.N, part.split});
      __syncwarp();
      // the sums move up, so that the loop's body is there once, with a case for each activation
#pragma unroll
      for (int next = 1; next < Shape::kLefts; next++)
#pragma unroll
        for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) sums.at[next - 1][n][i] = sums.at[next][n][i];
    }
    if constexpr (Epilogue::kRowSums)
      if (sums_rows && lane % 4 == 0)
#pragma unroll
        for (int m = 0; m < RowSums<Shape>::kShare; m++)
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const int row = part.row + warp_row + 16 * (warp % Shape::kAcross * RowSums<Shape>::kShare + m) + lane / 4 + 8 * i;
            if (row < parts.M) epilogue.finish_sum(row, row_sums.at[m][2 * i], part.split);
          }
    __syncthreads();
  }
}

}  // namespace cuda
}  // namespace bk
