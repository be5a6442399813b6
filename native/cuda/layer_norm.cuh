// How rows are given to threads in layer_norm and its backward.
#pragma once
#include "dropout.cuh"
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kNormThreads = 128;
/** Columns that a lane holds side by side: four for either type, so that sums have the same order in both. */
constexpr int kNormWidth = 4;

/**
 * A row for each `TEAM` warps of a block, which hold it in registers, kNormWidth columns a lane in each of STEPS steps. Without steps, a
 * row of any length, which is read again from memory.
 */
template <int TEAM, int STEPS>
struct RowLayout {
  static constexpr int kTeam = TEAM, kSteps = STEPS, kLanes = TEAM * kWarp, kRows = kNormThreads / kLanes;

  static __device__ int row() { return blockIdx.x * kRows + threadIdx.x / kLanes; }
  static __device__ int lane() { return threadIdx.x % kLanes; }
  static __device__ int column(int step) { return (step * kLanes + lane()) * kNormWidth; }
  /** That of the warp's first lane. */
  static __device__ int first(int step) { return (step * kLanes + lane() / kWarp * kWarp) * kNormWidth; }
  /** The sum over the lanes of a row, which all get it. */
  static __device__ float sum(float x) { return TEAM == 1 ? warp_sum(x) : block_sum(x); }
};

/** On the host: calls body with the layout for rows of H columns. */
template <class Body>
void with_row_layout(int H, Body body) {
  constexpr int kOne = kWarp * kNormWidth, kAll = kNormThreads * kNormWidth, kTeam = kNormThreads / kWarp;
  const int steps = ceil_div(H, kOne);
  if (H % kNormWidth != 0 || H > 8 * kAll) return steps > 2 ? body(RowLayout<kTeam, 0>()) : body(RowLayout<1, 0>());
  if (steps > 8) return H > 4 * kAll ? body(RowLayout<kTeam, 8>()) : body(RowLayout<kTeam, 4>());
  switch (steps) {
    case 1: return body(RowLayout<1, 1>());
    case 2: return body(RowLayout<1, 2>());
    case 3: return body(RowLayout<1, 3>());
    case 4: return body(RowLayout<1, 4>());
    case 5:
    case 6: return body(RowLayout<1, 6>());
    default: return body(RowLayout<1, 8>());
  }
}

template <class Layout>
dim3 row_grid(Rows rows) {
  return dim3(ceil_div(rows.capacity, Layout::kRows));
}

}  // namespace cuda
}  // namespace bk
