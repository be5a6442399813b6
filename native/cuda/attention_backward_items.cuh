// What the blocks of attention_backward_hopper.cuh have besides their products: the items they take, shared memory and its barriers, and the
// warps that bring what is multiplied.
//
// An item is one head and 128 keys of a sequence. Blocks stay and take items by a ticket, all heads of the same keys one after another, so that an
// item waits only for what was begun before it, and rarely. Who does what in a block:
//   warp 0          takes tickets, finds the items, has tiles copied           warp 1, 2       dq's sums of warp group 1, 2, to and from memory
//   warp 3          lse and delta of the queries                               warp group 1, 2 the products, each of 64 of the keys
//   warp group 3    what dropout keeps, where there is dropout
// All go through the same items, and through the same steps of an item: 128 queries each. n counts a block's items, k its steps, and u the steps
// that have sums of dq to hand over (not those of a sequence with one block of keys). Whoever waits for a phase of a barrier knows its number:
//   items_full, _empty [n % 2]   phase n / 2: the item is there; all warps but warp 0 have read it
//   keys_full, _empty            phase n: keys and values are there; the products of the item have been made
//   full, empty [k % 2]          phase k / 2: queries, gradients, statistics and bits are there; the products of the step have been made
//   free, handed [group]         phase u: the sums' place is the warp group's, with sums of the keys before in it where it is to finish them;
//                                it is the warp's again, with sums of these keys in it where it is to add them
#pragma once
#include "attention_backward.cuh"
#include "bulk.cuh"

namespace bk {
namespace cuda {
namespace heads {
namespace backward {
namespace hopper {

/** Keys of an item and queries of a step; bytes of a tile of so many rows. */
constexpr int kSide = 128, kTile = kSide * kSwizzle;
constexpr int kConsumers = 2 * kWarpGroup, kSums = 64 * 64;  // of dq, that a warp group has

struct alignas(16) Item {
  int first, L, part, head;  // first row of the sequence; L: 0 after the last
  __device__ int blocks() const { return (L + kSide - 1) / kSide; }
  /** The tile of dq's sums of 64 queries. Only sequences of more than kSide rows have any, and those do not meet. */
  __device__ int64_t tile(int A, int block, int group) const { return ((int64_t)(first / 64 + block) * A + head) * 2 + group; }
};
/** Tiles that the sequences of so many rows may have. */
inline int64_t tiles(int rows, int A) { return (int64_t)(rows / 64 + 1) * A * 2; }

struct Barriers {
  Mbarrier items_full[2], items_empty[2], keys_full, keys_empty, full[2], empty[2], free[2], handed[2];
};

/** Shared memory of a block. */
template <bool kDrops>
struct Memory {
  static constexpr int kThreads = (kDrops ? 4 : 3) * kWarpGroup;
  // registers of a thread
  static constexpr int kOfOthers = kDrops ? 32 : 40, kOfProducts = kDrops ? 224 : 232;
  static constexpr int kValues = kTile, kStages = 2 * kTile, kStage = 2 * kTile, kScores = kStages + 2 * kStage, kScoreStage = 2 * kTile;
  static constexpr int kOfSums = kScores + 2 * kScoreStage, kPatches = kOfSums + 2 * kTile, kPatch = 16 * kSwizzle;
  static constexpr int kStatistics = kPatches + kConsumers / kWarp * kPatch, kStatisticsStage = 2 * kSide * 4;
  static constexpr int kBits = kStatistics + 2 * kStatisticsStage, kBitsPitch = kSide + 8, kBitsStage = kDrops ? 4 * kBitsPitch * 4 : 0;
  static constexpr int kItems = kBits + 2 * kBitsStage, kBarriers = kItems + 2 * (int)sizeof(Item);
  static constexpr int kBytes = kSwizzled + kBarriers + (int)sizeof(Barriers);

  int first;  // byte that is a multiple of what a tile's place must be
  __device__ static Memory make() { return {(int)((kSwizzled - (uintptr_t)dynamic_shared() % kSwizzled) % kSwizzled)}; }
  __device__ char* at(int offset) const { return dynamic_shared() + (first + offset); }
  __device__ Barriers& barriers() const { return *(Barriers*)at(kBarriers); }
  __device__ Item* items() const { return (Item*)at(kItems); }
  /** Queries, with the gradients behind. */
  __device__ char* stage(int step) const { return at(kStages + step % 2 * kStage); }
  /** Of each of the step's queries lse in bits, and delta, (1 - p) times that where there is dropout. */
  __device__ float* statistics(int step) const { return (float*)at(kStatistics + step % 2 * kStatisticsStage); }
  /** Word [g][i], kBitsPitch apart: Dropout::keeps_group of the item's group g of keys for query i. */
  __device__ uint32_t* bits(int step) const { return (uint32_t*)at(kBits + step % 2 * kBitsStage); }
  /** dS of the first 64 queries, then of the others; a row for each key. */
  __device__ char* scores(int step) const { return at(kScores + step % 2 * kScoreStage); }
  __device__ float* sums(int group) const { return (float*)at(kOfSums + group * kTile); }

  __device__ void make_barriers() const {
    Barriers& b = barriers();
    for (int i = 0; i < 2; i++) {
      mbarrier_init(b.items_full + i, 1);
      mbarrier_init(b.items_empty + i, kThreads / kWarp - 1);
      mbarrier_init(b.full + i, 1 + kWarp + (kDrops ? kWarpGroup : 0));
      mbarrier_init(b.empty + i, kConsumers / kWarp);
      mbarrier_init(b.free + i, 1);
      mbarrier_init(b.handed + i, kWarpGroup);
    }
    mbarrier_init(&b.keys_full, 1);
    mbarrier_init(&b.keys_empty, kConsumers / kWarp);
    fence_barriers();
  }
  /** For item n; false after the last. By a warp. */
  __device__ bool read_item(int n, Item& item) const {
    mbarrier_wait(barriers().items_full + n % 2, n / 2 % 2);
    item = items()[n % 2];
    __syncwarp();
    if (threadIdx.x % kWarp == 0) mbarrier_arrive(barriers().items_empty + n % 2);
    return item.L > 0;
  }
};

/** Finds items by their tickets. Those of a block ascend: each search goes on where the one before has ended. By a warp. */
struct Search {
  int sequence = 0, before = 0;  // blocks of keys before this sequence

  __device__ Item operator()(const Sequences<bf16>& s, int ticket) {
    const int index = ticket / s.A, lane = threadIdx.x % kWarp, count = *s.count;
    if (index >= Blocks{kSide, true}.most(*s.keys, count)) return {};  // borders that are refused may have more
    for (; sequence < count; sequence += kWarp) {
      Place place = {};
      if (sequence + lane < count) place = s.at(sequence + lane);
      const int n = (place.L + kSide - 1) / kSide;
      int sum = n;
#pragma unroll
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const int other = __shfl_up_sync(0xffffffffu, sum, offset);
        if (lane >= offset) sum += other;
      }
      const uint32_t after = __ballot_sync(0xffffffffu, index < before + sum);
      if (after) {
        const int owner = __ffs(after) - 1;
        return {__shfl_sync(0xffffffffu, place.first_query, owner), __shfl_sync(0xffffffffu, place.L, owner),
                __shfl_sync(0xffffffffu, index - before - sum + n, owner), ticket % s.A};
      }
      before += __shfl_sync(0xffffffffu, sum, kWarp - 1);
    }
    return {};
  }
};

/** Warp 0. */
template <bool kDrops>
__device__ void produce(const Sequences<bf16>& s, const TensorMap* qkv, const TensorMap* gradients, int* tickets, const Memory<kDrops>& memory) {
  Barriers& b = memory.barriers();
  Search search;
  int step = 0;
  for (int n = 0;; n++) {
    int ticket = 0;
    if (threadIdx.x == 0) ticket = atomicAdd(tickets, 1);
    const Item item = search(s, __shfl_sync(0xffffffffu, ticket, 0));
    if (threadIdx.x == 0) {
      mbarrier_wait(b.items_empty + n % 2, n / 2 % 2 ^ 1);
      memory.items()[n % 2] = item;
      mbarrier_arrive(b.items_full + n % 2);
      const int column = item.head * 64, H = s.A * 64;
#pragma unroll 1
      for (int block = 0; block < item.blocks(); block++, step++) {
        Mbarrier* full = b.full + step % 2;
        char* stage = memory.stage(step);
        mbarrier_wait(b.empty + step % 2, step / 2 % 2 ^ 1);
        mbarrier_expect(full, 2 * kTile);
        copy_tile(stage, qkv, full, column, item.first + block * kSide);
        copy_tile(stage + kTile, gradients, full, column, item.first + block * kSide);
        if (block > 0) continue;
        mbarrier_wait(&b.keys_empty, n % 2 ^ 1);
        mbarrier_expect(&b.keys_full, 2 * kTile);
        copy_tile(memory.at(0), qkv, &b.keys_full, H + column, item.first + item.part * kSide);
        copy_tile(memory.at(Memory<kDrops>::kValues), qkv, &b.keys_full, 2 * H + column, item.first + item.part * kSide);
      }
    }
    if (item.L == 0) return;
  }
}

/** Warp 1 + group: one thread has sums of dq copied, all of them in one order for the same queries. */
template <bool kDrops>
__device__ void move_sums(const Sequences<bf16>& s, int group, int* counters, float* all_sums, const Memory<kDrops>& memory) {
  Barriers& b = memory.barriers();
  Mbarrier *free = b.free + group, *handed = b.handed + group;
  float* place = memory.sums(group);
  int parity = 0;
  Item item;
  for (int n = 0; memory.read_item(n, item); n++) {
    const int blocks = item.blocks();
    const bool last = item.part + 1 == blocks;
    // the other lanes wait at the end, where their waiting takes no turns from this one
    for (int block = 0; block < blocks && blocks > 1 && threadIdx.x % kWarp == 0; block++) {
      const int64_t tile = item.tile(s.A, block, group);
      float* sums = all_sums + tile * kSums;
      if (last) {
        wait_for_count(counters + tile, item.part);
        mbarrier_expect(free, kTile);
        bulk_load(place, sums, kTile, free);
      } else if (block == 0) {
        mbarrier_arrive(free);
      }
      mbarrier_wait(handed, parity);
      parity ^= 1;
      fence_async();  // what the warp group has read may be copied over
      if (last) continue;
      if (item.part == 0) {
        bulk_store(sums, place, kTile);
      } else {
        wait_for_count(counters + tile, item.part);
        bulk_add(sums, place, kTile);
      }
      bulk_commit();
      bulk_wait_read();
      if (block + 1 < blocks) mbarrier_arrive(free);
      bulk_wait();
      count_up(counters + tile);
    }
    __syncwarp();
  }
}

/** Warp 3. */
template <bool kDrops>
__device__ void load_statistics(const Sequences<bf16>& s, const Work<bf16>& work, const Memory<kDrops>& memory) {
  constexpr int kEach = kSide / kWarp;
  Barriers& b = memory.barriers();
  const int lane = threadIdx.x % kWarp;
  int step = 0;
  Item item;
  for (int n = 0; memory.read_item(n, item); n++)
    for (int block = 0; block < item.blocks(); block++, step++) {
      float lse[kEach], delta[kEach];
#pragma unroll
      for (int i = 0; i < kEach; i++) {
        const int query = block * kSide + i * kWarp + lane;
        const int64_t at = (int64_t)(item.first + query) * s.A + item.head;
        const bool real = query < item.L;
        lse[i] = real ? work.lse[at] * kLog2E : INFINITY;
        delta[i] = real ? (kDrops ? (1 - s.p) * work.delta[at] : work.delta[at]) : 0.0f;
      }
      mbarrier_wait(b.empty + step % 2, step / 2 % 2 ^ 1);
      float2* to = (float2*)memory.statistics(step) + lane;
#pragma unroll
      for (int i = 0; i < kEach; i++) to[i * kWarp] = make_float2(lse[i], delta[i]);
      mbarrier_arrive(b.full + step % 2);
    }
}

/** Warp group 3, a query each thread. */
template <bool kDrops>
__device__ void draw_masks(const Sequences<bf16>& s, const Memory<kDrops>& memory) {
  constexpr int kPitch = Memory<kDrops>::kBitsPitch;
  Barriers& b = memory.barriers();
  const Dropout drop = Dropout::of(s.state, s.p, s.site);
  const int query = threadIdx.x % kWarpGroup;
  int step = 0;
  Item item;
  for (int n = 0; memory.read_item(n, item); n++)
    for (int block = 0; block < item.blocks(); block++, step++) {
      const uint32_t row = (uint32_t)(item.first + block * kSide + query) * s.A + item.head, equal = drop.keeps_equal(row);
      uint32_t* bits = memory.bits(step) + query;
      mbarrier_wait(b.empty + step % 2, step / 2 % 2 ^ 1);
#pragma unroll 1
      for (int two = 0; two < 4; two += 2) {
        const uint32_t group = item.part * 4 + two;
        bits[two * kPitch] = drop.keeps_group(row, group, equal);
        bits[(two + 1) * kPitch] = drop.keeps_group(row, group + 1, equal);
      }
      mbarrier_arrive(b.full + step % 2);
    }
}

}  // namespace hopper
}  // namespace backward
}  // namespace heads
}  // namespace cuda
}  // namespace bk
