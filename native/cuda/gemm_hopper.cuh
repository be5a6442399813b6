// C = A B of bfloat16 for compute capability 9.0, as gemm.cuh has it for all: the same parts of C. A block is one warp group
// that only asks for tiles, and two that multiply them, 64 rows each; a ring of stages is between them. Blocks stay for as many parts as there
// are. The two have either 64 rows each of a part, or take turns at parts of 64 rows: then one multiplies while the other finishes.
#pragma once
#include "gemm_hopper_epilogue.cuh"
#include "warp_group.cuh"

namespace bk {
namespace cuda {

#if defined(BK_CUDA_EMULATED)
constexpr int kWideCluster = 1;  // the emulation runs one block at a time
#else
constexpr int kWideCluster = 2;
#endif

/** A cluster's tile of C: `kCluster` blocks, one below the other, with 64 rows for each of `kTogether` warp groups, share what they read of B. */
template <int kColumns_, int kStages_, int kCluster_, int kTogether_>
struct HopperShape {
  typedef bf16 T;
  static constexpr int kColumns = kColumns_, kStages = kStages_, kCluster = kCluster_, kTogether = kTogether_, kDepth = 64;
  static constexpr int kBlockRows = 64 * kTogether, kRows = kCluster * kBlockRows;
  static constexpr int kGroups = 2, kTurns = kGroups / kTogether, kThreads = (kGroups + 1) * kWarpGroup;
  static constexpr int kBytesA = kBlockRows * kSwizzle, kBytesB = kColumns * kSwizzle, kStageBytes = kBytesA + kBytesB;
  static constexpr int kSums = kColumns / 2;  // of a thread: 64 rows of a warp group
  // a warp's 16 rows of some columns of C on their way to global memory: as float32, or as one or two tiles of 64 columns of bfloat16
  static constexpr int kSlabColumns = 32, kSlabPitch = kSlabColumns + 8, kSlabBytes = 2 * 16 * kSwizzle;
  static_assert(kSlabBytes >= 16 * kSlabPitch * 4, "");
  static constexpr int kOnesBytes = kSwizzled;  // 8 columns of ones, for the sums of A's rows
  static constexpr int kBytes = kSwizzled + kStages * kStageBytes + kOnesBytes + kGroups * 4 * kSlabBytes + (2 * kStages + 2 * kTurns) * 8;
};

/** Shared memory of a block. */
template <class Shape>
struct HopperBlock {
  char* stages;
  char* ones;
  char* slabs;
  Mbarrier *full, *empty, *cleared, *done;

  __device__ static HopperBlock make() {
    char* shared = dynamic_shared();
    char* stages = shared + (kSwizzled - (uintptr_t)shared % kSwizzled) % kSwizzled;
    char* ones = stages + Shape::kStages * Shape::kStageBytes;
    char* slabs = ones + Shape::kOnesBytes;
    Mbarrier* full = (Mbarrier*)(slabs + Shape::kGroups * 4 * Shape::kSlabBytes);
    return {stages, ones, slabs, full, full + Shape::kStages, full + 2 * Shape::kStages, full + 2 * Shape::kStages + Shape::kTurns};
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

/** Rows of a stage from `depth` on are zeros: what lies beyond the rows of a run is nobody's, and may be NaN. All threads that multiply it. */
template <class Shape>
__device__ void clear_rest(char* stage, int depth, int thread) {
  const int rest = Shape::kDepth - depth, words = rest * (kSwizzle / 16);  // of each 64 lines
  for (int i = thread; i < words * (Shape::kBlockRows + Shape::kColumns) / 64; i += Shape::kTogether * kWarpGroup)
    *(uint4*)(stage + i / words * 64 * kSwizzle + depth * kSwizzle + i % words * 16) = make_uint4(0, 0, 0, 0);
  fence_async();
}

/** The products of one stage with both operands in shared memory. */
template <class Shape, bool kAlongA, bool kAlongB, bool kRowSums>
__device__ __forceinline__ void multiply_stage(float (&sums)[Shape::kSums], float (&row_sums)[4], const char* stage, const char* ones, int half) {
  const SharedMatrix a = shared_matrix(stage + half * 64 * kSwizzle, 64 * kSwizzle, kSwizzled);
  const SharedMatrix b = shared_matrix(stage + Shape::kBytesA, 64 * kSwizzle, kSwizzled);
  const SharedMatrix one = shared_matrix(ones, 64 * kSwizzle, kSwizzled);
  constexpr int kStepA = kAlongA ? 32 : 16 * kSwizzle, kStepB = kAlongB ? 32 : 16 * kSwizzle;
  warp_group_fence();
#pragma unroll
  for (int step = 0; step < Shape::kDepth / 16; step++) {
    warp_group_mma<kAlongA, kAlongB>(sums, a.advanced(step * kStepA), b.advanced(step * kStepB));
    if (kRowSums) warp_group_mma<kAlongA, true>(row_sums, a.advanced(step * kStepA), one);
  }
  warp_group_commit();
}

/** A warp group that multiplies: part after part, or by turns with the other. */
template <class Shape, bool kAlongA, bool kAlongB>
struct Consumer {
  const HopperBlock<Shape>& block;
  const int thread = (threadIdx.x - kWarpGroup) % (Shape::kTogether * kWarpGroup);  // of those that have a part together
  const int turn = (threadIdx.x - kWarpGroup) / (Shape::kTogether * kWarpGroup), half = thread / kWarpGroup;
  Ring<Shape::kStages> ring;
  int cleared = 0, others = 0;  // parities: of the barrier of those that clear, of the one that says what the other warp group has done

  /** Of each warp group one thread tells each block of the cluster. */
  __device__ __forceinline__ void give_back(int stage) const {
    if (thread % kWarpGroup >= Shape::kCluster) return;
    if (Shape::kCluster == 1)
      mbarrier_arrive(block.empty + stage);
    else
      mbarrier_arrive_at(block.empty + stage, thread % kWarpGroup);
  }

  /**
   * Passes over what the other warp group multiplies, when that has waited for all of its stages: a barrier says whether a phase is over by
   * its parity, so nobody may wait for a phase while the one before the last goes on.
   */
  __device__ __forceinline__ void skip(const PartsOfC<Shape>& parts, int index) {
    if (Shape::kTurns == 1 || index >= parts.count) return;
    ring.skip(PartsOfC<Shape>::stages(parts[index]));
    mbarrier_wait(block.done + 1 - turn, others);
    others ^= 1;
  }

  /** The next `stages` of a part, of whose depth there is `depth` left; `ends` it. */
  template <bool kRowSums>
  __device__ __forceinline__ void multiply(int stages, int& depth, bool ends, float (&sums)[Shape::kSums], float (&row_sums)[4]) {
    int last = -1;
    for (int left = stages; left > 0; left--, depth -= Shape::kDepth) {
      char* stage = block.stages + ring.stage * Shape::kStageBytes;
      mbarrier_wait(block.full + ring.stage, ring.parity);
      if (!kAlongA && depth < Shape::kDepth) {
        clear_rest<Shape>(stage, max(0, depth), thread);
        mbarrier_arrive(block.cleared + turn);
        mbarrier_wait(block.cleared + turn, cleared);
        cleared ^= 1;
      }
      hold(sums);
      if (kRowSums) hold(row_sums);
      multiply_stage<Shape, kAlongA, kAlongB, kRowSums>(sums, row_sums, stage, block.ones, half);
      hold(sums);
      if (kRowSums) hold(row_sums);
      warp_group_wait<1>();  // the products of the stage before have been made
      if (last >= 0) give_back(last);
      last = ring.stage;
      ring.advance();
    }
    if (Shape::kTurns > 1 && ends) mbarrier_arrive(block.done + turn);
    warp_group_wait<0>();
    hold(sums);
    if (kRowSums) hold(row_sums);
    if (last >= 0) give_back(last);
  }

  template <class Epilogue>
  __device__ __forceinline__ void run(const Epilogue& epilogue, const PartsOfC<Shape>& parts, int rank) {
    const int warp = (threadIdx.x - kWarpGroup) / kWarp, lane = threadIdx.x % kWarp, step = gridDim.x / Shape::kCluster;
    char* slab = block.slabs + warp * Shape::kSlabBytes;
    int index = blockIdx.x / Shape::kCluster;
    if (turn == 1) {
      skip(parts, index);
      index += step;
    }
    for (; index < parts.count; index += Shape::kTurns * step) {
      const Part part = parts[index];
      const int row = part.row + rank * Shape::kBlockRows + 64 * half + 16 * (warp % 4), stages = PartsOfC<Shape>::stages(part);
      int depth = part.end - part.begin;
      float sums[Shape::kSums] = {}, row_sums[4] = {};
      if constexpr (Epilogue::kRounded) {
        RoundedPart<Shape, Epilogue> rounded = {epilogue, row, part.column, parts.M, parts.N};
        rounded.ask_ahead();
        multiply<false>(stages, depth, true, sums, row_sums);
        rounded.finish(sums, slab);
      } else if constexpr (!Epilogue::kRowSums) {
        multiply<false>(stages, depth, true, sums, row_sums);
        finish_part<Shape>(sums, epilogue, (float*)slab, part, row, parts.M, parts.N);
      } else {
        // the parts of the same rows share what there is to sum, as it makes products an eighth slower: each has a stretch of the stages
        const int mine = part.column / Shape::kColumns, begin = stages * mine / parts.across;
        const int end = epilogue.wants_sums() ? stages * (mine + 1) / parts.across : begin;
#pragma unroll 1
        for (int stretch = 0; stretch < 3; stretch++)
          if (stretch == 1)  // products in a branch of their own would wait for each other
            multiply<true>(end - begin, depth, end == stages, sums, row_sums);
          else
            multiply<false>(stretch == 0 ? begin : stages - end, depth, stretch == 2 && end < stages, sums, row_sums);
        if (parts.N % 2 == 0)
          finish_sums<Shape>(sums, epilogue.target(part.split), epilogue.adds(), part, row, parts.M, parts.N);
        else
          finish_part<Shape>(sums, epilogue, (float*)slab, part, row, parts.M, parts.N);
        if (lane % 4 == 0)
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const int at = row + lane / 4 + 8 * i;
            if (at < parts.M) epilogue.finish_sum(at, row_sums[2 * i], part.split * parts.across + mine);
          }
      }
      skip(parts, index + step);
    }
  }
};

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
      mbarrier_init(block.empty + i, Shape::kTogether * Shape::kCluster);
    }
    for (int i = 0; i < Shape::kTurns; i++) {
      mbarrier_init(block.cleared + i, Shape::kTogether * kWarpGroup);
      mbarrier_init(block.done + i, kWarpGroup);
    }
    fence_barriers();
  }
  if (threadIdx.x < Shape::kOnesBytes / 16) ((uint4*)block.ones)[threadIdx.x] = make_uint4(0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u);
  fence_async();
  begin_kernel();
  if (Shape::kCluster == 1)
    __syncthreads();
  else
    cluster_sync();
  if (threadIdx.x < kWarpGroup) {
    give_registers<40>();
    if (threadIdx.x == 0) produce<Shape, kAlongA, kAlongB>(&map_a, &map_b, parts, block, rank);
  } else {
    take_registers<232>();
    Consumer<Shape, kAlongA, kAlongB>{block}.run(epilogue, parts, rank);
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
  launch.early(gemm_hopper_kernel<Shape, kAlongA, kAlongB, Epilogue>, dim3((unsigned)((tiles < most ? tiles : most) * Shape::kCluster)), dim3(Shape::kThreads),
               Shape::kBytes, map_a, map_b, p, epilogue);
  launch.cluster = 1;
}

typedef HopperShape<256, 4, kWideCluster, 2> HopperWide;
typedef HopperShape<256, 4, kWideCluster, 1> HopperTurns;
typedef HopperShape<128, 5, 1, 2> HopperSquare;
typedef HopperShape<64, 6, 1, 2> HopperNarrow;

/**
 * How long a product takes, in the time of a stage of 128 rows and 256 columns, 0.7 us: rounds of all multiprocessors, each of its stages, at a
 * speed that was measured on an H100, and what an epilogue takes of 256 columns, `around`, which taking turns hides but for once.
 */
template <class Shape>
double hopper_cost(const Launch& launch, int64_t M, int64_t N, int64_t K, int splits, double around, double speed) {
  const double tiles = (double)ceil_div(M, Shape::kRows) * ceil_div(N > 0 ? N : 1, Shape::kColumns) * splits, share = Shape::kColumns / 256.0;
  const double rounds = ceil_div((int64_t)tiles, launch.multiprocessors / Shape::kCluster);
  const double stages = ceil_div(ceil_div(K, splits), Shape::kDepth) * share * Shape::kTogether / 2 / speed;
  if (Shape::kTurns == 1) return rounds * (stages + around * share);
  return rounds * (stages > around / 2 ? stages : around / 2) + around;
}

/** Calls body(shape, cost) with the best shape. */
template <class Body>
void with_hopper_shape(const Launch& launch, int64_t M, int64_t N, int64_t K, int splits, double around, Body body) {
  const double wide = hopper_cost<HopperWide>(launch, M, N, K, splits, around, 1), turns = hopper_cost<HopperTurns>(launch, M, N, K, splits, around, 0.82);
  const double square = hopper_cost<HopperSquare>(launch, M, N, K, splits, around, 0.9),
               narrow = hopper_cost<HopperNarrow>(launch, M, N, K, splits, around, 0.5);
  if (narrow < square && narrow < turns && narrow < wide)
    body(HopperNarrow(), narrow);
  else if (square < turns && square < wide)
    body(HopperSquare(), square);
  else if (turns < wide)
    body(HopperTurns(), turns);
  else
    body(HopperWide(), wide);
}

/**
 * As launch_gemm. Epilogues have more to say here. kRounded, how many results of bfloat16 each element has: 0, and `finish` as elsewhere; or
 * `to`, where they go, `round`, and either `bias` or, where kJoins, `with` and `join` (RoundedPart). Where kRowSums, `target` and `adds`, where
 * sums go as they are, and `wants_sums`; the parts of finish_sum are of each split as many as there are parts of C beside each other. kAround: what
 * an epilogue takes, see hopper_cost.
 */
template <bool kAlongA, bool kAlongB, class Epilogue>
void launch_hopper(Launch& launch, const Product<bf16>& p, const Epilogue& epilogue) {
  with_hopper_shape(launch, p.M, p.N, p.K, p.splits, Epilogue::kAround,
                    [&](auto shape, double) { launch_hopper_shape<decltype(shape), kAlongA, kAlongB>(launch, p, epilogue); });
}

}  // namespace cuda
}  // namespace bk
