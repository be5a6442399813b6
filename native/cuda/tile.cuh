// A block's part of an operand of a product, in shared memory: `lines` (rows of the left operand, columns of the right one) by a stretch of
// the contraction's index, the depth. In global memory the depth may run along rows, as in x and w of x w^T; or across them, as in dy and x of
// dy^T x. Tiles keep the order of global memory, so that chunks of 16 bytes are copied as they are.
//
// Chunk c of a row lies at c ^ turn(row): what tensor cores read at once, the same chunk of eight rows or a few words of four, is in
// different banks.
#pragma once
#include "tensor_core.cuh"

namespace bk {
namespace cuda {

template <class T_, int kLines_, bool kAlong_>
struct OperandTile {
  typedef T_ T;
  static constexpr bool kAlong = kAlong_;  // the depth runs along rows
  static constexpr int kLines = kLines_, kDepth = 128 / sizeof(T), kChunk = 16 / sizeof(T);
  static constexpr int kHeight = kAlong ? kLines : kDepth, kChunks = (kAlong ? kDepth : kLines) / kChunk, kRowBytes = kChunks * 16;
  static constexpr int kBytes = kHeight * kRowBytes;
  static_assert(kChunks % 8 == 0 || kChunks == 4, "rows would not fill the banks");

  __device__ static __forceinline__ int turn(int row) {
    if (!kAlong && sizeof(T) == 4) return (row & 3) << 1;
    return kChunks >= 8 ? row & 7 : row >> 1 & 3;
  }
  __device__ static __forceinline__ int place(int row, int chunk) { return row * kRowBytes + ((chunk ^ turn(row)) << 4); }

  __device__ static __forceinline__ uint32_t word(const char* tile, int row, int column) {
    return *(const uint32_t*)(tile + place(row, column / 4) + column % 4 * 4);
  }

  /** The left operand of mma: 16 lines, and the step-th 2 chunks of the depth. */
  __device__ static __forceinline__ void left(uint32_t r[4], const char* tile, int line, int step) {
    const int lane = threadIdx.x % kWarp;
    if (kAlong) {
      ldmatrix_x4(r, tile + place(line + lane % 16, 2 * step + lane / 16));
    } else if (sizeof(T) == 2) {
      ldmatrix_x4_trans(r, tile + place(16 * step + lane / 16 * 8 + lane % 8, line / 8 + lane / 8 % 2));
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) r[i] = word(tile, 8 * step + lane % 4 + i / 2 * 4, line + lane / 4 + i % 2 * 8);
    }
  }

  /** Two right operands, of 8 lines each: r[0], r[1] and r[2], r[3]. */
  __device__ static __forceinline__ void right(uint32_t r[4], const char* tile, int line, int step) {
    const int lane = threadIdx.x % kWarp;
    if (kAlong) {
      ldmatrix_x4(r, tile + place(line + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
    } else if (sizeof(T) == 2) {
      ldmatrix_x4_trans(r, tile + place(16 * step + lane / 8 % 2 * 8 + lane % 8, line / 8 + lane / 16));
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) r[i] = word(tile, 8 * step + lane % 4 + i % 2 * 4, line + lane / 4 + i / 2 * 8);
    }
  }

  /** One element of float32. */
  __device__ static __forceinline__ float element(const char* tile, int line, int k) {
    return __uint_as_float(kAlong ? word(tile, line, k) : word(tile, k, line));
  }
};

/** What one thread copies to the tiles of an operand, stretch after stretch of the depth. */
template <class Tile, int kThreads>
struct Loader {
  typedef typename Tile::T T;
  static constexpr int kStep = kThreads / Tile::kChunks, kCopies = Tile::kHeight / kStep;
  static_assert(kThreads % Tile::kChunks == 0 && Tile::kHeight % kStep == 0, "threads would copy different numbers of chunks");

  const T* at;
  int lines;  // that are left from the thread's first on

  __device__ __forceinline__ void begin(const T* data, int64_t pitch, int line, int lines_of_all, int k) {
    const int row = threadIdx.x / Tile::kChunks, column = threadIdx.x % Tile::kChunks * Tile::kChunk;
    at = data + (int64_t)((Tile::kAlong ? line : k) + row) * pitch + (Tile::kAlong ? k : line) + column;
    lines = lines_of_all - line - (Tile::kAlong ? row : column);
  }

  /** Copies the thread's chunks; `depth` is what is left of it. `somewhere` is any address that may be read. */
  __device__ __forceinline__ void copy(char* tile, int64_t pitch, int depth, const T* somewhere) const {
    const int row = threadIdx.x / Tile::kChunks, chunk = threadIdx.x % Tile::kChunks;
    const int rows = Tile::kAlong ? lines : depth - row, columns = Tile::kAlong ? depth - chunk * Tile::kChunk : lines;
#pragma unroll
    for (int i = 0; i < kCopies; i++) {
      const bool valid = i * kStep < rows && columns > 0;
      cp_async16(tile + Tile::place(row + i * kStep, chunk), valid ? at + i * kStep * pitch : somewhere, valid);
    }
  }

  __device__ __forceinline__ void advance(int64_t pitch) { at += Tile::kAlong ? Tile::kDepth : Tile::kDepth * pitch; }
};

}  // namespace cuda
}  // namespace bk
