// What a warp does with a stage of an operand's tiles: fragments, and their products.
//
// Products of float32 are three of TF32, whose 11 bits a number is the sum of two of: big * small, small * big, big * big. What is lost is
// at most 8 units of float32's roundoff of a product. Tensor cores cut sums instead of rounding them, so each stretch of the depth is summed
// from zero and added in float32. A depth of one stretch, where a bound that grows with it would be exceeded, is multiplied in float32.
#pragma once
#include "tile.cuh"

namespace bk {
namespace cuda {

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

/** What a warp multiplies in one step. */
template <class Shape>
struct WarpFragments {
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
struct WarpSums {
  float at[Shape::kLefts][Shape::kRights][4];

  template <class Body>
  __device__ __forceinline__ void each(Body body) {
#pragma unroll
    for (int m = 0; m < Shape::kLefts; m++)
#pragma unroll
      for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) body(m, n, i);
  }
  __device__ __forceinline__ void zero() {
    each([&](int m, int n, int i) { at[m][n][i] = 0; });
  }
  __device__ __forceinline__ void add(const WarpSums& other) {
    each([&](int m, int n, int i) { at[m][n][i] += other.at[m][n][i]; });
  }
  /** Those of the next 16 rows become the first. */
  __device__ __forceinline__ void move_up() {
    each([&](int m, int n, int i) {
      if (m > 0) at[m > 0 ? m - 1 : 0][n][i] = at[m][n][i];
    });
  }
};

template <class Shape>
__device__ __forceinline__ void multiply(WarpSums<Shape>& sums, const WarpFragments<Shape>& f) {
#pragma unroll
  for (int n = 0; n < Shape::kRights; n++)
#pragma unroll
    for (int m = 0; m < Shape::kLefts; m++) mma_bf16(sums.at[m][n], f.left[m], f.right[n]);
}

/**
 * The sums of the rows of A, by products with ones: a warp's rows are shared out to those beside it, which have the same, `turn` saying
 * which this one is. Every column of the products is the same.
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
  __device__ __forceinline__ void add(const WarpFragments<Shape>& f, int turn) {
    const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
#pragma unroll
    for (int warp = 0; warp < Shape::kAcross; warp++)
      if (turn == warp)
#pragma unroll
        for (int m = 0; m < kShare; m++) mma_bf16(at[m], f.left[warp * kShare + m], ones);
  }
  /** Calls body(row of the warp's tile, sum) on one lane. */
  template <class Body>
  __device__ __forceinline__ void each(int turn, Body body) const {
    const int lane = threadIdx.x % kWarp;
    if (lane % 4 != 0) return;
#pragma unroll
    for (int m = 0; m < kShare; m++)
#pragma unroll
      for (int i = 0; i < 2; i++) body(16 * (turn * kShare + m) + lane / 4 + 8 * i, at[m][2 * i]);
  }
};

/**
 * x is the sum of the two, but for half a unit in its last place: what the hardware would cut of small is rounded, since errors to one side
 * add up over the steps of a training. Its lower bits are not looked at. Where big is NaN or infinite, small may be anything.
 */
template <int kCount>
__device__ __forceinline__ void cut_in_two(const uint32_t* x, uint32_t (&big)[kCount], uint32_t (&small)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i++) {
    big[i] = to_tf32(__uint_as_float(x[i]));
    small[i] = __float_as_uint(__uint_as_float(x[i]) - __uint_as_float(big[i])) + 0x1000u;
  }
}

/** A step's products of float32. */
template <class Shape, class A, class B>
__device__ __forceinline__ void multiply_cut(WarpSums<Shape>& sums, const char* stage, int row, int column, int step) {
  uint32_t big[Shape::kRights][2], small[Shape::kRights][2];
#pragma unroll
  for (int n = 0; n < Shape::kRights; n += 2) {
    uint32_t two[4];
    B::right(two, stage + A::kBytes, column + 8 * n, step);
    cut_in_two(two, big[n], small[n]);
    cut_in_two(two + 2, big[n + 1], small[n + 1]);
  }
#pragma unroll
  for (int m = 0; m < Shape::kLefts; m++) {
    uint32_t left[4], left_big[4], left_small[4];
    A::left(left, stage, row + 16 * m, step);
    cut_in_two(left, left_big, left_small);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++) mma_tf32(sums.at[m][n], left_small, big[n]);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++) mma_tf32(sums.at[m][n], left_big, small[n]);
#pragma unroll
    for (int n = 0; n < Shape::kRights; n++) mma_tf32(sums.at[m][n], left_big, big[n]);
  }
}

/** A stage's products in float32. */
template <class Shape, class A, class B>
__device__ __forceinline__ void multiply_exactly(WarpSums<Shape>& sums, const char* stage, int row, int column) {
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

}  // namespace cuda
}  // namespace bk
