// What becomes of a warp group's 64 rows of a part of C (gemm_hopper.cuh), 16 for each warp, when the products have been made.
#pragma once
#include "gemm.cuh"
#include "hopper.cuh"

namespace bk {
namespace cuda {

/** Takes a warp group's 64 rows of C to the epilogue, some columns at a time. */
template <class Shape, class Epilogue>
__device__ __forceinline__ void finish_part(const float (&sums)[Shape::kSums], const Epilogue& epilogue, float* slab, const Part& part, int row, int M, int N) {
  const int lane = threadIdx.x % kWarp;
  constexpr int kTurns = Shape::kColumns / Shape::kSlabColumns, kPerTurn = Shape::kSlabColumns / 8;
#pragma unroll 1
  for (int turn = 0; turn < kTurns; turn++) {
    if (part.column + turn * Shape::kSlabColumns >= N) break;
    __syncwarp();
#pragma unroll
    for (int t = 0; t < kTurns; t++)
      if (t == turn)  // so that no register is looked up by a number
#pragma unroll
        for (int j = 0; j < kPerTurn; j++)
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const float* two = sums + (t * kPerTurn + j) * 4 + 2 * i;
            *(float2*)(slab + (lane / 4 + 8 * i) * Shape::kSlabPitch + 8 * j + lane % 4 * 2) = make_float2(two[0], two[1]);
          }
    __syncwarp();
    epilogue.finish(Slab<Shape::kSlabColumns>{slab, row, part.column + turn * Shape::kSlabColumns, M, N, part.split});
  }
}

/** The same where sums are stored as they are, in rows of an even number of float32: four lanes write 32 bytes of a row at a time. */
template <class Shape>
__device__ __forceinline__ void finish_sums(const float (&sums)[Shape::kSums], float* to, bool add, const Part& part, int row, int M, int N) {
  constexpr int kAtOnce = 4;  // of 8 columns: what is added to is read together
  const int lane = threadIdx.x % kWarp, first = part.column + lane % 4 * 2;
  row += lane / 4;
#pragma unroll
  for (int j = 0; j < Shape::kColumns / 8; j += kAtOnce) {
    float2 before[kAtOnce][2] = {};
    const auto each = [&](auto body) {
#pragma unroll
      for (int k = 0; k < kAtOnce; k++)
#pragma unroll
        for (int i = 0; i < 2; i++)
          if (row + 8 * i < M && first + 8 * (j + k) < N) body(k, i, (float2*)(to + (int64_t)(row + 8 * i) * N + first + 8 * (j + k)));
    };
    if (add) each([&](int k, int i, const float2* at) { before[k][i] = *at; });
    each([&](int k, int i, float2* at) {
      const float* two = sums + (j + k) * 4 + 2 * i;
      *at = make_float2(before[k][i].x + two[0], before[k][i].y + two[1]);
    });
  }
}

/**
 * The same for epilogues whose results are bfloat16 in whole chunks of 16 bytes, one or two of each element (`Epilogue::kRounded`): they are
 * computed and rounded where the sums are, and go through shared memory only to be written a row's 128 bytes at a time. Each sum starts from
 * its column's `bias`, if that is not null, or, where `kJoins`, is `join`ed to an element of a matrix `with`.
 */
template <class Shape, class Epilogue>
struct RoundedPart {
  static constexpr int kTurns = Shape::kColumns / 64, kResults = Epilogue::kRounded, kTile = 16 * kSwizzle;
  const Epilogue& epilogue;
  int row, column, M, N;  // of this warp's first row and the part's first column; of C
  int lane = (int)threadIdx.x % kWarp;
  float2 bias[kTurns];                      // of columns 2 * lane and 2 * lane + 1 of each turn
  uint4 with[Epilogue::kJoins ? 2 : 1][4];  // of this turn and the next

  /** Calls body(i, place in a tile, place in C) for the four chunks of this lane that are in C. */
  template <class Body>
  __device__ __forceinline__ void each_chunk(int first, Body body) const {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int r = 4 * i + lane / 8, at = first + 8 * (lane % 8);
      if (row + r < M && at < N) body(i, r * kSwizzle + ((lane % 8 ^ r % 8) << 4), (int64_t)(row + r) * N + at);
    }
  }
  __device__ __forceinline__ void ask(int turn) {
    if constexpr (Epilogue::kJoins)
      each_chunk(column + turn * 64, [&](int i, int, int64_t place) { with[turn % 2][i] = *(const uint4*)(epilogue.with + place); });
  }
  /** Before the products are made: what the epilogue reads has come when it begins. */
  __device__ __forceinline__ void ask_ahead() {
    if constexpr (Epilogue::kJoins) {
      ask(0);
      if (kTurns > 1) ask(1);
#pragma unroll
      for (int c = 128; c < Shape::kColumns; c += 128) {
        const int r = row + lane % 16, at = column + c + lane / 16 * 64;
        if (r < M && at < N) prefetch_to_l2(epilogue.with + (int64_t)r * N + at);
      }
    } else {
#pragma unroll
      for (int turn = 0; turn < kTurns; turn++) {
        const int at = column + turn * 64 + 2 * lane;
        bias[turn] = epilogue.bias && at < N ? *(const float2*)(epilogue.bias + at) : make_float2(0.0f, 0.0f);
      }
    }
  }

  __device__ __forceinline__ void finish(const float (&sums)[Shape::kSums], char* slab) {
    const int line = lane % 16, half = lane / 16;
    __syncwarp();  // what the part before this one left in the tiles has been read
#pragma unroll
    for (int turn = 0; turn < kTurns; turn++) {
      const int first = column + turn * 64;
      if (first >= N) break;
      // with one result a turn, two tiles take turns
      char* tile = slab + (kResults == 1 ? turn % 2 * kTile : 0);
      if (kResults > 1) __syncwarp();  // what was there has been read
      if (Epilogue::kJoins) {
        each_chunk(first, [&](int i, int place, int64_t) { *(uint4*)(tile + place) = with[turn % 2][i]; });
        __syncwarp();
        if (turn + 2 < kTurns) ask(turn + 2);
      }
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        char* const matrices = tile + line * kSwizzle + (((j + half) ^ line % 8) << 4);
        uint32_t there[4] = {}, rounded[kResults][4];  // of columns 8 j on rows 0 .. 7 and 8 .. 15, then of the next 8
        if (Epilogue::kJoins) ldmatrix_x4(there, matrices);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          float two[2] = {sums[(turn * 8 + j) * 4 + 2 * i], sums[(turn * 8 + j) * 4 + 2 * i + 1]};
          if constexpr (Epilogue::kJoins) {
            float others[2];
            unpack_bf16<1>({there[i]}, others);
            two[0] = epilogue.join(two[0], others[0]);
            two[1] = epilogue.join(two[1], others[1]);
          } else if (epilogue.bias) {
            const int from = 4 * (j + i / 2) + lane % 4;
            two[0] += __shfl_sync(0xffffffffu, bias[turn].x, from);
            two[1] += __shfl_sync(0xffffffffu, bias[turn].y, from);
          }
          uint32_t pairs[kResults];
          epilogue.round(two[0], two[1], pairs);
#pragma unroll
          for (int k = 0; k < kResults; k++) rounded[k][i] = pairs[k];
        }
#pragma unroll
        for (int k = 0; k < kResults; k++) stmatrix_x4(rounded[k], matrices + k * kTile);
      }
      __syncwarp();
#pragma unroll
      for (int k = 0; k < kResults; k++)
        each_chunk(first, [&](int, int place, int64_t to) { *(uint4*)(epilogue.to[k] + to) = *(const uint4*)(tile + k * kTile + place); });
    }
  }
};

}  // namespace cuda
}  // namespace bk
