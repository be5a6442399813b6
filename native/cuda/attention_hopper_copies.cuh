// What the warp groups of attention_hopper.cuh find in shared memory, and the warps that see to it.
//
// A block stays for as many tiles as there are, a tile being some queries of one head of a sequence. One warp asks for queries, keys and
// values; two warp groups have 64 queries each, and make, block of keys after block of keys, scores, exponentials and sums of values. Where there
// is dropout, a third one draws what it keeps, for both of them.
// All meet at barriers in shared memory, whose phases both sides count:
//   asked[2]   queries, and what tile they are of. Full: what the copies bring. Empty: each warp that multiplies, when it is through with the
//              tile's exponentials, the warp that sweeps, and each warp that draws.
//   keys[]     full: what the copies bring. Empty: each warp that multiplies, when its product with them has been made.
//   values[]   the same; where keys end before the block does, what is copied is expected at `arrived`, and full is the warp that sweeps, after
//              it has cleared the rest: rows of another sequence, times probabilities of 0, could be NaN.
//   masks[]    two of each warp group that multiplies. Full: each warp that draws. Empty: each warp of the group, when it has read them.
// They are asked for in the order in which they are needed, keys one block before values: queries, keys 0, keys 1, values 0, keys 2, values 1,
// ..., then the next tile's queries, its keys 0, and the last values. Nobody needs what he has not given back before he waits for what is to
// come in its place: two stages of each do.
#pragma once
#include "attention.cuh"
#include "hopper.cuh"

namespace bk {
namespace cuda {
namespace heads {

/** Some queries of one head of a sequence. No keys: there are no more tiles. */
struct AttentionTile {
  int first, L, query, head;  // the sequence's first row and length, the first query in it
};

/**
 * Two warp groups, which take turns with exponentials, so that one computes them while the other multiplies; a turn ends after three quarters
 * of them, or half with dropout, as it takes the next a while to begin.
 */
template <bool kDropout_>
struct HopperHeads {
  static constexpr bool kDropout = kDropout_;
  static constexpr int kGroups = 2, kKeys = 128, kStages = 4;
  static constexpr int kQueries = 64 * kGroups, kThreads = (kGroups + 1 + kDropout) * kWarpGroup, kConsumers = 4 * kGroups;  // warps that multiply
  static constexpr int kDrawers = kDropout ? 4 : 0, kMaskStages = 2, kMaskBytes = kDropout ? kQueries / kGroups * kKeys * 2 : 0;
  static constexpr int kOfOthers = kDropout ? 32 : 40, kOfProducts = kDropout ? 224 : 232;          // registers of a thread
  static constexpr int kScores = kKeys / 2, kEarly = kScores * (kDropout ? 2 : 3) / 4, kSums = 32;  // of a thread
  static constexpr int kQueryBytes = kQueries * kSwizzle, kKeyBytes = kKeys * kSwizzle;
  static constexpr int kAtKeys = 2 * kQueryBytes, kAtValues = kAtKeys + kStages * kKeyBytes, kAtMasks = kAtValues + kStages * kKeyBytes;
  static constexpr int kAtTiles = kAtMasks + kGroups * kMaskStages * kMaskBytes, kAtBarriers = kAtTiles + 2 * (int)sizeof(AttentionTile);
  static constexpr int kBytes = kSwizzled + kAtBarriers + (4 + 5 * kStages + 2 * kGroups * kMaskStages) * 8;
};

/** Shared memory of a block. */
template <class Shape>
struct HopperHeadsBlock {
  char* start;
  __device__ static __forceinline__ HopperHeadsBlock make() {
    char* shared = dynamic_shared();
    return {shared + (kSwizzled - (uintptr_t)shared % kSwizzled) % kSwizzled};
  }
  __device__ __forceinline__ char* queries(int slot) const { return start + slot * Shape::kQueryBytes; }
  __device__ __forceinline__ char* keys(int stage) const { return start + Shape::kAtKeys + stage * Shape::kKeyBytes; }
  __device__ __forceinline__ char* values(int stage) const { return start + Shape::kAtValues + stage * Shape::kKeyBytes; }
  __device__ __forceinline__ AttentionTile& tile(int slot) const { return ((AttentionTile*)(start + Shape::kAtTiles))[slot]; }
  __device__ __forceinline__ Mbarrier* barriers() const { return (Mbarrier*)(start + Shape::kAtBarriers); }
  __device__ __forceinline__ Mbarrier* asked_full(int slot) const { return barriers() + slot; }
  __device__ __forceinline__ Mbarrier* asked_empty(int slot) const { return barriers() + 2 + slot; }
  __device__ __forceinline__ Mbarrier* keys_full(int stage) const { return barriers() + 4 + stage; }
  __device__ __forceinline__ Mbarrier* keys_empty(int stage) const { return barriers() + 4 + Shape::kStages + stage; }
  __device__ __forceinline__ Mbarrier* values_full(int stage) const { return barriers() + 4 + 2 * Shape::kStages + stage; }
  __device__ __forceinline__ Mbarrier* values_empty(int stage) const { return barriers() + 4 + 3 * Shape::kStages + stage; }
  __device__ __forceinline__ Mbarrier* values_arrived(int stage) const { return barriers() + 4 + 4 * Shape::kStages + stage; }

  __device__ __forceinline__ Mbarrier* masks_full(int group, int stage) const {
    return barriers() + 4 + 5 * Shape::kStages + group * Shape::kMaskStages + stage;
  }
  __device__ __forceinline__ Mbarrier* masks_empty(int group, int stage) const { return masks_full(group, stage) + Shape::kGroups * Shape::kMaskStages; }
  /** Of each thread of a warp group, what its probabilities of a block of keys are to be ANDed with, 8 at a time. */
  __device__ __forceinline__ uint4* masks(int group, int stage) const {
    return (uint4*)(start + Shape::kAtMasks + (group * Shape::kMaskStages + stage) * Shape::kMaskBytes);
  }

  /** By one thread. */
  __device__ void make_barriers() const {
    for (int i = 0; i < 2; i++) {
      mbarrier_init(asked_full(i), 1);
      mbarrier_init(asked_empty(i), Shape::kConsumers + 1 + Shape::kDrawers);
    }
    for (int i = 0; i < Shape::kGroups * Shape::kMaskStages; i++) {
      mbarrier_init(masks_full(0, 0) + i, 4);
      mbarrier_init(masks_empty(0, 0) + i, 4);
    }
    for (int i = 0; i < Shape::kStages; i++) {
      mbarrier_init(keys_full(i), 1);
      mbarrier_init(keys_empty(i), Shape::kConsumers);
      mbarrier_init(values_full(i), 1);
      mbarrier_init(values_empty(i), Shape::kConsumers);
      mbarrier_init(values_arrived(i), 1);
    }
    fence_barriers();
  }
};

/** Walks through the tiles of a batch, those of one head of a sequence side by side. By one warp; lane i has sequence `base + i`. */
template <int kQueries>
struct TileWalk {
  const Sequences<bf16>& s;
  int base = 0, first, L, end = 0;  // tiles of sequences up to the lane's own

  __device__ explicit TileWalk(const Sequences<bf16>& s_) : s(s_) { load(); }

  __device__ static int parts(int L) { return (L + kQueries - 1) / kQueries; }

  __device__ void load() {
    const int lane = threadIdx.x % kWarp, before = __shfl_sync(0xffffffffu, end, kWarp - 1);
    Place place = {};
    if (base + lane < *s.count) place = s.at(base + lane);
    first = place.first_query;
    L = place.Lq;
    end = parts(L) * s.A;
#pragma unroll
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, end, offset);
      if (lane >= offset) end += other;
    }
    end += before;
    if (end > Blocks{kQueries, false}.most(*s.rows, *s.count) * s.A) end = 0;  // as borders may have it that are refused
  }

  /** Tile `index`, which is no lower than any asked for before; false where there is none. */
  __device__ bool find(int index, AttentionTile& tile) {
    for (;;) {
      const unsigned further = __ballot_sync(0xffffffffu, index < end);
      if (further) {
        const int lane = __ffs(further) - 1;
        tile.first = __shfl_sync(0xffffffffu, first, lane);
        tile.L = __shfl_sync(0xffffffffu, L, lane);
        const int n = parts(tile.L), number = index - (__shfl_sync(0xffffffffu, end, lane) - n * s.A);
        tile.head = number / n;
        tile.query = number % n * kQueries;
        return true;
      }
      base += kWarp;
      if (base >= *s.count) return false;
      load();
    }
  }
};

/** One warp: has the queries, keys and values of this block's tiles copied, as their places become free. */
template <class Shape>
__device__ __forceinline__ void produce_heads(const TensorMap* map, const Sequences<bf16>& s, const HopperHeadsBlock<Shape>& block) {
  TileWalk<Shape::kQueries> walk(s);
  Ring<2> slot;
  Ring<Shape::kStages> keys, values;
  const bool leads = threadIdx.x == 0;
  int value_row = 0, value_column = 0, value_rest = 0;  // the block of values that comes next
  const auto copy = [&](char* to, Mbarrier* barrier, int column, int row, int rows) {
    const int boxes = (rows + 63) / 64;
    mbarrier_expect(barrier, boxes * 64 * kSwizzle);
#pragma unroll 1
    for (int i = 0; i < boxes; i++) copy_tile(to + i * 64 * kSwizzle, map, barrier, column, row + i * 64);
  };
  const auto copy_values = [&] {
    if (value_rest == 0) return;
    mbarrier_wait(block.values_empty(values.stage), values.parity ^ 1);
    Mbarrier* barrier = value_rest < Shape::kKeys ? block.values_arrived(values.stage) : block.values_full(values.stage);
    copy(block.values(values.stage), barrier, value_column, value_row, min(value_rest, Shape::kKeys));
    values.advance();
  };
  AttentionTile tile;
  for (int index = blockIdx.x; walk.find(index, tile); index += gridDim.x) {
    if (leads) {
      const int H = s.A * 64, column = tile.head * 64;
      mbarrier_wait(block.asked_empty(slot.stage), slot.parity ^ 1);
      block.tile(slot.stage) = tile;
      copy(block.queries(slot.stage), block.asked_full(slot.stage), column, tile.first + tile.query, min(tile.L - tile.query, Shape::kQueries));
      slot.advance();
#pragma unroll 1
      for (int j = 0; j < tile.L; j += Shape::kKeys) {
        mbarrier_wait(block.keys_empty(keys.stage), keys.parity ^ 1);
        copy(block.keys(keys.stage), block.keys_full(keys.stage), H + column, tile.first + j, min(tile.L - j, Shape::kKeys));
        keys.advance();
        copy_values();
        value_row = tile.first + j;
        value_column = 2 * H + column;
        value_rest = tile.L - j;
      }
    }
    __syncwarp();
  }
  if (leads) {
    copy_values();
    mbarrier_wait(block.asked_empty(slot.stage), slot.parity ^ 1);
    block.tile(slot.stage) = {};
    mbarrier_arrive(block.asked_full(slot.stage));
  }
}

/** One warp: clears what lies beyond the last values of a sequence. */
template <class Shape>
__device__ __forceinline__ void sweep_values(const HopperHeadsBlock<Shape>& block) {
  const int lane = threadIdx.x % kWarp;
  Ring<2> slot;
  int stage = 0;          // of the tile's first values
  unsigned parities = 0;  // of `arrived` of each stage
  for (;;) {
    mbarrier_wait(block.asked_full(slot.stage), slot.parity);
    const int L = block.tile(slot.stage).L;
    __syncwarp();
    if (lane == 0) mbarrier_arrive(block.asked_empty(slot.stage));
    slot.advance();
    if (L == 0) return;
    const int blocks = ceil_div(L, Shape::kKeys), last = (stage + blocks - 1) % Shape::kStages, rest = L - (blocks - 1) * Shape::kKeys;
    stage = (last + 1) % Shape::kStages;
    if (rest == Shape::kKeys) continue;
    mbarrier_wait(block.values_arrived(last), (int)(parities >> last & 1));
    parities ^= 1u << last;
    char* values = block.values(last);
    for (int i = rest * kSwizzle + lane * 16; i < Shape::kKeyBytes; i += kWarp * 16) *(uint4*)(values + i) = make_uint4(0, 0, 0, 0);
    fence_async();
    __syncwarp();
    if (lane == 0) mbarrier_arrive(block.values_full(last));
  }
}

/** A warp group: draws what dropout keeps. Thread i makes the masks that thread i of each group that multiplies will read. */
template <class Shape>
__device__ __forceinline__ void draw_masks(const Sequences<bf16>& s, const HopperHeadsBlock<Shape>& block) {
  const Dropout drop = Dropout::of(s.state, s.p, s.site);
  const int thread = threadIdx.x % kWarpGroup, lane = thread % kWarp;
  Ring<2> slot;
  Ring<Shape::kMaskStages> masks;
  for (;;) {
    mbarrier_wait(block.asked_full(slot.stage), slot.parity);
    const AttentionTile tile = block.tile(slot.stage);
    __syncwarp();
    if (lane == 0) mbarrier_arrive(block.asked_empty(slot.stage));
    slot.advance();
    if (tile.L == 0) return;
    const uint32_t first = (uint32_t)(tile.first + tile.query + thread / kWarp * 16 + lane / 4) * s.A + tile.head;
#pragma unroll 1
    for (int block_of_keys = 0; block_of_keys * Shape::kKeys < tile.L; block_of_keys++, masks.advance())
#pragma unroll 1
      for (int group = 0; group < Shape::kGroups; group++) {
        const uint32_t row = first + group * 64 * s.A, below = row + 8 * s.A, of = block_of_keys * 4 + lane % 4;
        const uint32_t kept[2] = {drop.keeps_group(row, of), drop.keeps_group(below, of)};
        const auto both = [&](int k, int i, uint32_t signs) { return permute_bytes(kept[i] << (7 - k), 0, signs); };
        mbarrier_wait(block.masks_empty(group, masks.stage), masks.parity ^ 1);
#pragma unroll
        for (int k = 0; k < Shape::kKeys / 16; k++)
          block.masks(group, masks.stage)[k * kWarpGroup + thread] = make_uint4(both(k, 0, 0x9988), both(k, 1, 0x9988), both(k, 0, 0xbbaa), both(k, 1, 0xbbaa));
        __syncwarp();
        if (lane == 0) mbarrier_arrive(block.masks_full(group, masks.stage));
      }
  }
}

}  // namespace heads
}  // namespace cuda
}  // namespace bk
