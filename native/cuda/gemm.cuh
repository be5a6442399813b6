// C = A B on tensor cores, float32 sums. Blocks stay for as many parts of C as there are, and copy the tiles of the next part while they
// finish one: a ring of stages in shared memory, filled by asynchronous copies, read by ldmatrix into fragments one step ahead of their
// products.
//
// An element's sum is in the same order whatever the shape of the block and the place in C, so a row's bits do not depend on the rows
// beside it.
#pragma once
#include "multiply.cuh"
#include "vector.cuh"

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

/** Which part of C a block computes, over which stretch of the depth. */
struct Part {
  int row, column, split, begin, end;
};

/** C in parts: one split of the depth after another, in each 16 rows of tiles after another, column by column, so that parts that are computed at the same time
 * share rows and columns in the L2. */
template <class Shape>
struct PartsOfC {
  static constexpr int kGroup = 16;
  int M, N, K, depth, down, across, count;

  template <class T>
  __device__ explicit PartsOfC(const Product<T>& p) : M(p.counted_M ? *p.counted_M : p.M), N(p.N), K(p.counted_K ? *p.counted_K : p.K) {
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
  typedef OperandTile<T, Shape::kRows, kAlongA> A;
  typedef OperandTile<T, Shape::kColumns, kAlongB> B;
  static_assert(A::kBytes + B::kBytes == Shape::kStageBytes, "");

  Loader<A, Shape::kThreads> a;
  Loader<B, Shape::kThreads> b;
  int index, depth;  // the part, and what is left of its depth

  __device__ void begin(const Product<T>& p, const PartsOfC<Shape>& parts, int part_index) {
    index = part_index;
    if (index >= parts.count) return;
    const Part part = parts[index];
    depth = part.end - part.begin;
    a.begin(p.a, p.a_pitch, part.row, parts.M, part.begin);
    b.begin(p.b, p.b_pitch, part.column, parts.N, part.begin);
  }
  __device__ __forceinline__ void copy_a(const Product<T>& p, const PartsOfC<Shape>& parts, char* stage) const {
    if (index < parts.count) a.copy(stage, p.a_pitch, depth, p.a);
  }
  __device__ __forceinline__ void copy_b(const Product<T>& p, const PartsOfC<Shape>& parts, char* stage) {
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

/** 16 rows of C of one warp, in shared memory; what an epilogue takes. */
template <int kColumns>
struct Slab {
  const float* data;
  int row, column, M, N, split;

  /** Calls body(row, column, values) for what is inside C, four columns at a time where N is a multiple. No lane waits for another. */
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
    if (N % 4 == 0)
#pragma unroll(kColumns == 32 ? 4 : 2)
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
    load(data + r * (kColumns + 8) + c, values);
    body(row + r, column + c, values);
  }
};

/**
 * Each warp computes a tile of the block's tile. Epilogue: `finish(slab)` takes rows of C; where kRowSums, `finish_sum(row, sum, part)` takes
 * the sum of each row of A, of which a split makes a part.
 */
template <class Shape, bool kAlongA, bool kAlongB, class Epilogue>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) gemm_kernel(Product<typename Shape::T> p, Epilogue epilogue) {
  typedef typename Shape::T T;
  typedef Producer<Shape, kAlongA, kAlongB> Source;
  typedef typename Source::A A;
  typedef typename Source::B B;
  constexpr int kStages = Shape::kStages, kSteps = Shape::kSteps;
  constexpr bool kCut = sizeof(T) == 4;
  const PartsOfC<Shape> parts(p);
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

  WarpFragments<Shape> fragments[2];
  if (!kCut) fragments[0].template load<A, B>(shared, warp_row, warp_column, 0);
  WarpSums<Shape> sums;
  RowSums<Shape> row_sums;
  int stage = 0;
  // the stage that is next, when it has come and the one before has been read by all
  const auto turn = [&] {
    cp_async_wait<kStages - 2>();
    __syncthreads();
    stage = stage == kStages - 1 ? 0 : stage + 1;
  };
  const auto stage_before = [&] { return shared + (stage == 0 ? kStages - 1 : stage - 1) * Shape::kStageBytes; };
  for (int index = blockIdx.x; index < parts.count; index += gridDim.x) {
    const Part part = parts[index];
    const bool sums_rows = Epilogue::kRowSums && part.column == 0;
    sums.zero();
    if constexpr (Epilogue::kRowSums) row_sums.zero();
    for (int left = PartsOfC<Shape>::stages(part); left > 0; left--) {
      const char* from = shared + stage * Shape::kStageBytes;
      char* free = stage_before();
      if constexpr (kCut) {
        // three products a step hide the loads of the next one, which is not loaded ahead: registers hold two sums instead
        source.copy_a(p, parts, free);
        source.copy_b(p, parts, free);
        if (exact) {
          multiply_exactly<Shape, A, B>(sums, from, warp_row, warp_column);
        } else {
          WarpSums<Shape> stretch;
          stretch.zero();
#pragma unroll 2  // more would load too far ahead
          for (int step = 0; step < kSteps; step++) multiply_cut<Shape, A, B>(stretch, from, warp_row, warp_column, step);
          sums.add(stretch);
        }
        turn();
      } else {
#pragma unroll
        for (int step = 0; step < kSteps; step++) {
          if (step == kSteps - 1) {
            turn();
            from = shared + stage * Shape::kStageBytes;
          }
          fragments[(step + 1) % 2].template load<A, B>(from, warp_row, warp_column, (step + 1) % kSteps);
          if (step == 0) source.copy_a(p, parts, free);
          if (step == 1) source.copy_b(p, parts, free);
          multiply(sums, fragments[step % 2]);
          if constexpr (Epilogue::kRowSums)
            if (sums_rows) row_sums.add(fragments[step % 2], warp % Shape::kAcross);
        }
      }
    }

    // the stage that was read last is free until the copies of the next; sums move up, so that the body, with a case for each activation, is
    // there once
    float* slab = (float*)stage_before() + warp * 16 * Shape::kSlabPitch;
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
      sums.move_up();
    }
    if constexpr (Epilogue::kRowSums)
      if (sums_rows)
        row_sums.each(warp % Shape::kAcross, [&](int row, float sum) {
          if (part.row + warp_row + row < parts.M) epilogue.finish_sum(part.row + warp_row + row, sum, part.split);
        });
    __syncthreads();
  }
}

}  // namespace cuda
}  // namespace bk
