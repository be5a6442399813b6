// C = A B of bfloat16 for compute capability 9.0, as gemm.cuh has it for all: the same parts of C, the same epilogues. A block is one warp group
// that only asks for tiles, and two that multiply them, each 64 rows of the block's tile; a ring of stages is between them. Blocks stay for
// as many parts as there are, and tiles of the next part come while an epilogue goes on.
#pragma once
#include "gemm.cuh"
#include "warp_group.cuh"

namespace bk {
namespace cuda {

#if defined(BK_CUDA_EMULATED)
constexpr int kWideCluster = 1;  // the emulation runs one block at a time
#else
constexpr int kWideCluster = 2;
#endif

/** A cluster's tile of C: `kCluster` blocks with 128 rows each, one below the other, share what they read of B. */
template <int kColumns_, int kStages_, int kCluster_>
struct HopperShape {
  typedef bf16 T;
  static constexpr int kBlockRows = 128, kColumns = kColumns_, kStages = kStages_, kCluster = kCluster_, kDepth = 64;
  static constexpr int kRows = kCluster * kBlockRows;
  static constexpr int kGroups = 2, kThreads = (kGroups + 1) * kWarpGroup;
  static constexpr int kBytesA = kBlockRows * kSwizzle, kBytesB = kColumns * kSwizzle, kStageBytes = kBytesA + kBytesB;
  static constexpr int kSums = kColumns / 2;  // of a thread: 64 rows of a warp group
  // a warp's 16 rows of some columns of C on their way to global memory
  static constexpr int kSlabColumns = 32, kSlabPitch = kSlabColumns + 8, kSlabBytes = 16 * kSlabPitch * 4;
  static constexpr int kOnesBytes = kSwizzled;  // 8 columns of ones, for the sums of A's rows
  static constexpr int kBytes = kSwizzled + kStages * kStageBytes + kOnesBytes + kGroups * 4 * kSlabBytes + (2 * kStages + 1) * 8;
};

/** Shared memory of a block. */
template <class Shape>
struct HopperBlock {
  char* stages;
  char* ones;
  char* slabs;
  Mbarrier *full, *empty, *cleared;

  __device__ static HopperBlock make() {
    char* shared = dynamic_shared();
    char* stages = shared + (kSwizzled - (uintptr_t)shared % kSwizzled) % kSwizzled;
    char* ones = stages + Shape::kStages * Shape::kStageBytes;
    char* slabs = ones + Shape::kOnesBytes;
    Mbarrier* full = (Mbarrier*)(slabs + Shape::kGroups * 4 * Shape::kSlabBytes);
    return {stages, ones, slabs, full, full + Shape::kStages, full + 2 * Shape::kStages};
  }
};

/** One thread: has the tiles of all parts of this block copied, as stages become free. */
template <class Shape, bool kAlongA, bool kAlongB>
__device__ void produce(const TensorMap* map_a, const TensorMap* map_b, const PartsOfC<Shape>& parts, const HopperBlock<Shape>& block, int rank) {
  constexpr int kShare = Shape::kColumns / Shape::kCluster;  // columns of B that this block copies, for all of the cluster
  constexpr uint16_t kAll = (1 << Shape::kCluster) - 1;
  Ring<Shape::kStages> ring;
  for (int index = blockIdx.x / Shape::kCluster; index < parts.count; index += gridDim.x / Shape::kCluster) {
    const Part part = parts[index];
    const int row = part.row + rank * Shape::kBlockRows;
    int k = part.begin;
    for (int left = PartsOfC<Shape>::stages(part); left > 0; left--, k += Shape::kDepth) {
      mbarrier_wait(block.empty + ring.stage, ring.parity ^ 1);
      Mbarrier* full = block.full + ring.stage;
      char* a = block.stages + ring.stage * Shape::kStageBytes;
      char* b = a + Shape::kBytesA + rank * kShare * kSwizzle;
      mbarrier_expect(full, Shape::kStageBytes);
      if (kAlongA)
        copy_tile(a, map_a, full, k, row);
      else
        for (int i = 0; i < Shape::kBlockRows; i += 64) copy_tile(a + i * kSwizzle, map_a, full, row + i, k);
      for (int i = 0; i < kShare; i += kAlongB ? kShare : 64) {
        const int column = part.column + rank * kShare + i;
        if (Shape::kCluster == 1)
          copy_tile(b + i * kSwizzle, map_b, full, kAlongB ? k : column, kAlongB ? column : k);
        else
          copy_tile_to(b + i * kSwizzle, map_b, full, kAlongB ? k : column, kAlongB ? column : k, kAll);
      }
      ring.advance();
    }
  }
  // the other blocks may still tell this one that stages are free
  for (int i = 0; Shape::kCluster > 1 && i < Shape::kStages; i++) {
    mbarrier_wait(block.empty + ring.stage, ring.parity ^ 1);
    ring.advance();
  }
}

/** Rows of a stage from `depth` on are zeros: what lies beyond the rows of a run is nobody's, and may be NaN. All warp groups that multiply. */
template <class Shape>
__device__ void clear_rest(char* stage, int depth, int thread) {
  const int rest = Shape::kDepth - depth, words = rest * (kSwizzle / 16);  // of each 64 lines
  for (int i = thread; i < words * (Shape::kBlockRows + Shape::kColumns) / 64; i += Shape::kGroups * kWarpGroup)
    *(uint4*)(stage + i / words * 64 * kSwizzle + depth * kSwizzle + i % words * 16) = make_uint4(0, 0, 0, 0);
  fence_async();
}

/** The products of one stage with both operands in shared memory. */
template <class Shape, bool kAlongA, bool kAlongB, bool kRowSums>
__device__ __forceinline__ void multiply_stage(float (&sums)[Shape::kSums], float (&row_sums)[4], const char* stage, const char* ones, int group,
                                               bool sums_rows) {
  const SharedMatrix a = shared_matrix(stage + group * 64 * kSwizzle, 64 * kSwizzle, kSwizzled);
  const SharedMatrix b = shared_matrix(stage + Shape::kBytesA, 64 * kSwizzle, kSwizzled);
  const SharedMatrix one = shared_matrix(ones, 64 * kSwizzle, kSwizzled);
  constexpr int kStepA = kAlongA ? 32 : 16 * kSwizzle, kStepB = kAlongB ? 32 : 16 * kSwizzle;
  warp_group_fence();
  if (kRowSums && sums_rows) {
#pragma unroll
    for (int step = 0; step < Shape::kDepth / 16; step++) {
      warp_group_mma<kAlongA, kAlongB>(sums, a.advanced(step * kStepA), b.advanced(step * kStepB));
      warp_group_mma<kAlongA, true>(row_sums, a.advanced(step * kStepA), one);
    }
  } else {
#pragma unroll
    for (int step = 0; step < Shape::kDepth / 16; step++) warp_group_mma<kAlongA, kAlongB>(sums, a.advanced(step * kStepA), b.advanced(step * kStepB));
  }
  warp_group_commit();
}

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

/** Two warp groups: multiply what has come, part after part. */
template <class Shape, bool kAlongA, bool kAlongB, class Epilogue>
__device__ void consume(const Epilogue& epilogue, const PartsOfC<Shape>& parts, const HopperBlock<Shape>& block, int rank) {
  const int thread = threadIdx.x - kWarpGroup, group = thread / kWarpGroup, warp = thread / kWarp;
  const int lane = threadIdx.x % kWarp;
  float* slab = (float*)(block.slabs + warp * Shape::kSlabBytes);
  Ring<Shape::kStages> ring;
  int cleared = 0;  // the parity of the barrier of those that clear
  const auto give_back = [&](int stage) {
    // of each warp group one thread for each block of the cluster
    if (thread % kWarpGroup < Shape::kCluster) {
      if (Shape::kCluster == 1)
        mbarrier_arrive(block.empty + stage);
      else
        mbarrier_arrive_at(block.empty + stage, thread % kWarpGroup);
    }
  };
  for (int index = blockIdx.x / Shape::kCluster; index < parts.count; index += gridDim.x / Shape::kCluster) {
    const Part part = parts[index];
    const bool sums_rows = Epilogue::kRowSums && part.column == 0;
    float sums[Shape::kSums] = {}, row_sums[4] = {};
    int last = -1, depth = part.end - part.begin;
    for (int left = PartsOfC<Shape>::stages(part); left > 0; left--, depth -= Shape::kDepth) {
      char* stage = block.stages + ring.stage * Shape::kStageBytes;
      mbarrier_wait(block.full + ring.stage, ring.parity);
      if (!kAlongA && depth < Shape::kDepth) {
        clear_rest<Shape>(stage, max(0, depth), thread);
        mbarrier_arrive(block.cleared);
        mbarrier_wait(block.cleared, cleared);
        cleared ^= 1;
      }
      hold(sums);
      hold(row_sums);
      multiply_stage<Shape, kAlongA, kAlongB, Epilogue::kRowSums>(sums, row_sums, stage, block.ones, group, sums_rows);
      hold(sums);
      hold(row_sums);
      warp_group_wait<1>();  // the products of the stage before have been made
      if (last >= 0) give_back(last);
      last = ring.stage;
      ring.advance();
    }
    warp_group_wait<0>();
    hold(sums);
    hold(row_sums);
    give_back(last);
    const int row = part.row + rank * Shape::kBlockRows + 64 * group + 16 * (warp % 4);
    finish_part<Shape>(sums, epilogue, slab, part, row, parts.M, parts.N);
    if constexpr (Epilogue::kRowSums)
      if (sums_rows && lane % 4 == 0)
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int at = row + lane / 4 + 8 * i;
          if (at < parts.M) epilogue.finish_sum(at, row_sums[2 * i], part.split);
        }
  }
}

template <class Shape, bool kAlongA, bool kAlongB, class Epilogue>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    gemm_hopper_kernel(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, Product<bf16> p, Epilogue epilogue) {
#if defined(BK_HOPPER)
  const PartsOfC<Shape> parts(p);
  const HopperBlock<Shape> block = HopperBlock<Shape>::make();
  const int rank = Shape::kCluster == 1 ? 0 : cluster_rank();
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shape::kStages; i++) {
      mbarrier_init(block.full + i, 1);
      mbarrier_init(block.empty + i, Shape::kGroups * Shape::kCluster);
    }
    mbarrier_init(block.cleared, Shape::kGroups * kWarpGroup);
    fence_barriers();
  }
  if (threadIdx.x < Shape::kOnesBytes / 16) ((uint4*)block.ones)[threadIdx.x] = make_uint4(0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u);
  fence_async();
  if (Shape::kCluster == 1)
    __syncthreads();
  else
    cluster_sync();
  if (threadIdx.x < kWarpGroup) {
    give_registers<40>();
    if (threadIdx.x == 0) produce<Shape, kAlongA, kAlongB>(&map_a, &map_b, parts, block, rank);
  } else {
    take_registers<232>();
    consume<Shape, kAlongA, kAlongB>(epilogue, parts, block, rank);
  }
#endif
}

template <class Shape, bool kAlongA, bool kAlongB, class Epilogue>
void launch_hopper_shape(Launch& launch, const Product<bf16>& p, const Epilogue& epilogue) {
  TensorMap map_a, map_b;
  const int share = Shape::kColumns / Shape::kCluster, columns = p.N > 0 ? p.N : 1;  // of C none where only sums of A's rows are wanted
  if (!launch.measuring && launch.error == cudaSuccess)
    launch.error = kAlongA ? make_tensor_map(&map_a, p.a, p.a_pitch, p.K, p.M, Shape::kBlockRows) : make_tensor_map(&map_a, p.a, p.a_pitch, p.M, p.K, 64);
  if (!launch.measuring && launch.error == cudaSuccess)
    launch.error = kAlongB ? make_tensor_map(&map_b, p.b, p.b_pitch, p.K, columns, share) : make_tensor_map(&map_b, p.b, p.b_pitch, columns, p.K, 64);
  const int tiles = ceil_div(p.M, Shape::kRows) * ceil_div(columns, Shape::kColumns) * p.splits, most = launch.multiprocessors / Shape::kCluster;
  launch.cluster = Shape::kCluster;
  launch(gemm_hopper_kernel<Shape, kAlongA, kAlongB, Epilogue>, dim3((unsigned)((tiles < most ? tiles : most) * Shape::kCluster)), dim3(Shape::kThreads),
         Shape::kBytes, map_a, map_b, p, epilogue);
  launch.cluster = 1;
}

/** As launch_gemm: with the shape that keeps most multiprocessors busy. */
template <bool kAlongA, bool kAlongB, class Epilogue>
void launch_hopper(Launch& launch, const Product<bf16>& p, const Epilogue& epilogue) {
  const auto rounds = [&](int rows, int columns) {
    const int64_t tiles = (int64_t)ceil_div(p.M, rows) * ceil_div(p.N, columns) * p.splits;
    return (double)ceil_div(tiles * (rows / 128), launch.multiprocessors) * columns;
  };
  const double wide = rounds(128, 256), square = rounds(128, 128) / 0.8, narrow = rounds(128, 64) / 0.5;
  if (narrow < square && narrow < wide)
    launch_hopper_shape<HopperShape<64, 6, 1>, kAlongA, kAlongB>(launch, p, epilogue);
  else if (square < wide)
    launch_hopper_shape<HopperShape<128, 5, 1>, kAlongA, kAlongB>(launch, p, epilogue);
  else
    launch_hopper_shape<HopperShape<256, 4, kWideCluster>, kAlongA, kAlongB>(launch, p, epilogue);
}

}  // namespace cuda
}  // namespace bk
