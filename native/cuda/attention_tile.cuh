// Tiles of q, k and v in shared memory, and fragments of them for tensor cores (tensor_core.cuh). Rows of a tile have W elements, columns
// from D on are zeros. g = lane / 4 and t = lane % 4, as there.
#pragma once
#include "tensor_core.cuh"

namespace bk {
namespace cuda {
namespace heads {

/** Tiles are offsets from here; a multiple of 256 bytes, and so are they. */
__device__ __forceinline__ char* shared(int offset) { return dynamic_shared() + offset; }

template <class T, int W>
struct Tile;

/** Chunks of 16 bytes lie in an order that changes from row to row, so that the same one of eight rows is in all banks. */
template <int W>
struct Tile<bf16, W> {
  static constexpr int kRow = 2 * W;  // bytes
  __device__ static int at(unsigned row, unsigned column) {
    constexpr unsigned kTurns = W < 64 ? W / 8 : 8;
    return row * kRow + ((column / 8 ^ row / (8 / kTurns) % kTurns) * 16 | column % 8 * 2);
  }
};
/** Rows are 4 words longer than a multiple of all banks: at(g, t) and at(2 t, g) of a warp are each in all banks. */
template <int W>
struct Tile<float, W> {
  static constexpr int kRow = 4 * (W + 4);
  __device__ static int at(unsigned row, unsigned column) { return row * kRow + column * 4; }
};

/**
 * Products of elements of T, 16 deep at a time. c: 16 rows x 8 columns of sums. A: 16 rows of the left factor; B: 16 columns of the right.
 * load_a and load_b read a tile with a row for each row of the left factor, each column of the right one; the contraction goes along its
 * rows. load_a_turned and load_b_turned read one with a row for each step of the contraction. Both factors are to be of the same kind
 * (to_a is of the second): the order of the contraction within a fragment differs.
 */
template <class T>
struct Fragments;

template <>
struct Fragments<bf16> {
  struct A {
    uint32_t r[4];
  };
  typedef A B;                       // of columns 0 .. 7 and 8 .. 15
  static constexpr int kDepth = 64;  // of a contraction's stretch that is unrolled

  /** Where this lane's rows of matrices begin: first along the rows of the tile, or first across them. */
  template <int W>
  struct Lanes {
    int down, across;
    __device__ Lanes() {
      const unsigned lane = threadIdx.x % kWarp;
      down = Tile<bf16, W>::at(lane % 16, lane / 16 * 8);
      across = Tile<bf16, W>::at(lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
    }
  };
  template <int W>
  __device__ static const char* place(int tile, int lanes, int row, int column) {
    return shared(((tile + lanes) ^ column * 2) + row * Tile<bf16, W>::kRow);
  }
  template <int W>
  __device__ static void load_a(A& a, int tile, const Lanes<W>& lanes, int row, int k) {
    ldmatrix_x4(a.r, place<W>(tile, lanes.down, row, k));
  }
  template <int W>
  __device__ static void load_b(B& b, int tile, const Lanes<W>& lanes, int column, int k) {
    ldmatrix_x4(b.r, place<W>(tile, lanes.across, column, k));
  }
  template <int W>
  __device__ static void load_a_turned(A& a, int tile, const Lanes<W>& lanes, int k, int row) {
    ldmatrix_x4_trans(a.r, place<W>(tile, lanes.across, k, row));
  }
  template <int W>
  __device__ static void load_b_turned(B& b, int tile, const Lanes<W>& lanes, int k, int column) {
    ldmatrix_x4_trans(b.r, place<W>(tile, lanes.down, k, column));
  }
  __device__ static void to_a(A& a, const float left[4], const float right[4]) {
    a.r[0] = to_bf16_pair(left[0], left[1]);
    a.r[1] = to_bf16_pair(left[2], left[3]);
    a.r[2] = to_bf16_pair(right[0], right[1]);
    a.r[3] = to_bf16_pair(right[2], right[3]);
  }
  __device__ static void multiply(float left[4], float right[4], const A& a, const B& b) {
    mma_bf16(left, a.r, b.r);
    mma_bf16(right, a.r, b.r + 2);
  }
  __device__ static void store_pair(char* place, float x, float y) { *(uint32_t*)place = to_bf16_pair(x, y); }
  /** Writes what to_a has made of left and right to 16 rows of a tile. */
  template <int W>
  __device__ static void store_a(int tile, int row, int column, const A& a, const float[4], const float[4]) {
    const unsigned lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < 4; i++) *(uint32_t*)shared(tile + Tile<bf16, W>::at(row + i % 2 * 8 + lane / 4, column + i / 2 * 8 + lane % 4 * 2)) = a.r[i];
  }
};

/**
 * float32 in three products of TF32: x = high + low up to 2^-22 of it, and low times low is left out. Tensor cores cut each sum toward
 * zero, so chains are short: every 16 products are added up in float32.
 */
template <>
struct Fragments<float> {
  /** [step of 8][element], or of B [step][columns 0 .. 7 or 8 .. 15][element] */
  struct A {
    uint32_t high[2][4], low[2][4];
    __device__ void set(int step, int i, float x) {
      high[step][i] = to_tf32(x);
      low[step][i] = __float_as_uint(x - __uint_as_float(high[step][i]));
    }
  };
  typedef A B;
  static constexpr int kDepth = 16;

  template <int W>
  struct Lanes {
    int down, across;
    __device__ Lanes() {
      const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
      across = Tile<float, W>::at(g, t);
      down = Tile<float, W>::at(2 * t, g);
    }
  };
  template <int W>
  __device__ static float at(int tile, int lanes, int row, int column) {
    return *(const float*)shared(tile + lanes + Tile<float, W>::at(row, column));
  }
  template <int W>
  __device__ static void load_a(A& a, int tile, const Lanes<W>& lanes, int row, int k) {
#pragma unroll
    for (int step = 0; step < 2; step++)
#pragma unroll
      for (int i = 0; i < 4; i++) a.set(step, i, at<W>(tile, lanes.across, row + i % 2 * 8, k + 8 * step + i / 2 * 4));
  }
  template <int W>
  __device__ static void load_b(B& b, int tile, const Lanes<W>& lanes, int column, int k) {
#pragma unroll
    for (int step = 0; step < 2; step++)
#pragma unroll
      for (int i = 0; i < 4; i++) b.set(step, i, at<W>(tile, lanes.across, column + i / 2 * 8, k + 8 * step + i % 2 * 4));
  }
  // the k's that lane t has of 8 are 2 t and 2 t + 1 here, as a product's sums have columns
  template <int W>
  __device__ static void load_a_turned(A& a, int tile, const Lanes<W>& lanes, int k, int row) {
#pragma unroll
    for (int step = 0; step < 2; step++)
#pragma unroll
      for (int i = 0; i < 4; i++) a.set(step, i, at<W>(tile, lanes.down, k + 8 * step + i / 2, row + i % 2 * 8));
  }
  template <int W>
  __device__ static void load_b_turned(B& b, int tile, const Lanes<W>& lanes, int k, int column) {
#pragma unroll
    for (int step = 0; step < 2; step++)
#pragma unroll
      for (int i = 0; i < 4; i++) b.set(step, i, at<W>(tile, lanes.down, k + 8 * step + i % 2, column + i / 2 * 8));
  }
  __device__ static void to_a(A& a, const float left[4], const float right[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      a.set(0, i, left[i % 2 * 2 + i / 2]);
      a.set(1, i, right[i % 2 * 2 + i / 2]);
    }
  }
  __device__ static void multiply(float left[4], float right[4], const A& a, const B& b) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum[4] = {};
#pragma unroll
      for (int step = 0; step < 2; step++) mma_tf32(sum, a.low[step], b.high[step] + 2 * half);
#pragma unroll
      for (int step = 0; step < 2; step++) mma_tf32(sum, a.high[step], b.low[step] + 2 * half);
#pragma unroll
      for (int step = 0; step < 2; step++) mma_tf32(sum, a.high[step], b.high[step] + 2 * half);
#pragma unroll
      for (int i = 0; i < 4; i++) (half ? right : left)[i] += sum[i];
    }
  }
  __device__ static void store_pair(char* place, float x, float y) { *(float2*)place = make_float2(x, y); }
  template <int W>
  __device__ static void store_a(int tile, int row, int column, const A&, const float left[4], const float right[4]) {
    const unsigned lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float* c = i / 2 ? right : left;
      *(float2*)shared(tile + Tile<float, W>::at(row + i % 2 * 8 + lane / 4, column + i / 2 * 8 + lane % 4 * 2)) = make_float2(c[i % 2 * 2], c[i % 2 * 2 + 1]);
    }
  }
};

/** sums += a b^T: `a` is a tile with 16 M rows, `b` one with a row for each of 8 N columns of sums. */
template <class F, int W, int M, int N>
__device__ __forceinline__ void multiply_turned(float (&sums)[M][N][4], int a, int b, const typename F::template Lanes<W>& lanes) {
#pragma unroll(F::kDepth / 16)
  for (int k = 0; k < W / 16; k++) {
    typename F::A left[M];
#pragma unroll
    for (int m = 0; m < M; m++) F::load_a(left[m], a, lanes, 16 * m, 16 * k);
#pragma unroll
    for (int n = 0; n < N / 2; n++) {
      typename F::B right;
      F::load_b(right, b, lanes, 16 * n, 16 * k);
#pragma unroll
      for (int m = 0; m < M; m++) F::multiply(sums[m][2 * n], sums[m][2 * n + 1], left[m], right);
    }
  }
}

/** sums += a b: `a` is 16 columns of 16 M rows, `b` a tile from the row on that belongs to the first of them. */
template <class F, int W, int M>
__device__ __forceinline__ void multiply_add(float (&sums)[M][W / 8][4], const typename F::A (&a)[M], int b, const typename F::template Lanes<W>& lanes) {
#pragma unroll
  for (int n = 0; n < W / 16; n++) {
    typename F::B right;
    F::load_b_turned(right, b, lanes, 0, 16 * n);
#pragma unroll
    for (int m = 0; m < M; m++) F::multiply(sums[m][2 * n], sums[m][2 * n + 1], a[m], right);
  }
}

/** Begins to fill ROWS rows of a tile by all THREADS of the block: `rows` of them from memory, zeros elsewhere. */
template <class T, int W, int ROWS, int THREADS>
__device__ __forceinline__ void load_rows(int tile, const T* from, int64_t stride, int rows, int D, bool vector) {
  constexpr int kChunk = 16 / sizeof(T), kChunks = W / kChunk, kStep = THREADS / kChunks;
  static_assert(ROWS % kStep == 0 && (sizeof(T) == 4 || kStep % 8 == 0), "expected whole turns of the order of chunks");
  const int row = threadIdx.x / kChunks, column = threadIdx.x % kChunks * kChunk;
  char* to = shared(tile + Tile<T, W>::at(row, column));
  from += row * stride + column;
  if (vector) {
#pragma unroll
    for (int i = 0; i < ROWS; i += kStep) cp_async16(to + i * Tile<T, W>::kRow, from + i * stride, row + i < rows && column < D);
    return;
  }
#pragma unroll 1
  for (int i = 0; i < ROWS; i += kStep)
#pragma unroll 1
    for (int e = 0; e < kChunk; e++) ((T*)(to + i * Tile<T, W>::kRow))[e] = row + i < rows && column + e < D ? from[i * stride + e] : from_float<T>(0.0f);
}

/** row[column] = x and row[column + 1] = y, as far as the row goes; column is even. */
template <class T>
__device__ void save_columns(T* row, int column, int D, bool vector, float x, float y) {
  if (vector) {
    if (column < D) Fragments<T>::store_pair((char*)(row + column), x, y);
  } else {
    if (column < D) row[column] = from_float<T>(x);
    if (column + 1 < D) row[column + 1] = from_float<T>(y);
  }
}

/** Writes `rows` rows of a tile to memory, by one warp. */
template <class T, int W>
__device__ __forceinline__ void save_rows(int tile, int rows, T* to, int64_t stride, int D, bool vector) {
  constexpr int kChunk = 16 / sizeof(T), kChunks = W / kChunk;
  for (int i = threadIdx.x % kWarp; i < rows * kChunks; i += kWarp) {
    const unsigned row = (unsigned)i / kChunks, column = (unsigned)i % kChunks * kChunk;
    const char* from = shared(tile + Tile<T, W>::at(row, column));
    if (vector) {
      if ((int)column < D) *(uint4*)(to + row * stride + column) = *(const uint4*)from;
    } else {
#pragma unroll 1
      for (int e = 0; e < kChunk && (int)column + e < D; e++) to[row * stride + column + e] = ((const T*)from)[e];
    }
  }
}

}  // namespace heads
}  // namespace cuda
}  // namespace bk
