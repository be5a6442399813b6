// Attention by warp groups, for compute capability 9.0: bfloat16, 64 columns to a head, every query sees every key of its sequence. The same
// as attention.cu's kernel, with the products of hopper.cuh, after FlashAttention-3 (Shah et al., 2024).
//
// A block stays for as many tiles as there are, a tile being some queries of one head of a sequence. One warp asks for queries, keys and
// values; two or three warp groups have 64 queries each. All meet at barriers in shared memory, whose phases are counted by rings that
// advance alike on both sides:
//   asked[2]   queries, and what tile they are of. Full: what the copies bring. Empty: each warp that multiplies, after the tile's last product
//              with them, and the warp that sweeps.
//   keys[]     full: what the copies bring. Empty: each warp that multiplies, after its product with them.
//   values[]   the same; where keys end before the block does, what is copied is expected at `arrived`, and full is the warp that sweeps, after
//              it has cleared the rest: rows of another sequence, times probabilities of 0, could be NaN.
#pragma once
#include "attention.cuh"
#include "warp_group.cuh"

namespace bk {
namespace cuda {
namespace heads {

/** Some queries of one head of a sequence. No keys: there are no more tiles. */
struct AttentionTile {
  int first, L, query, head;  // the sequence's first row and length, the first query in it
};

/** `kTurns`: warp groups take turns with exponentials, so that one multiplies meanwhile. */
template <int kGroups_, int kKeys_, int kStages_, bool kTurns_, bool kDropout_>
struct HopperHeads {
  static constexpr int kGroups = kGroups_, kKeys = kKeys_, kStages = kStages_;
  static constexpr bool kTurns = kTurns_, kDropout = kDropout_;
  static constexpr int kQueries = 64 * kGroups, kThreads = (kGroups + 1) * kWarpGroup, kConsumers = 4 * kGroups;  // warps that multiply
  static constexpr int kFew = kGroups == 2 ? 40 : 32, kMany = kGroups == 2 ? 232 : 160;                           // registers
  static constexpr int kScores = kKeys / 2, kSums = 32;                                                           // of a thread
  static constexpr int kQueryBytes = kQueries * kSwizzle, kKeyBytes = kKeys * kSwizzle;
  static constexpr int kAtKeys = 2 * kQueryBytes, kAtValues = kAtKeys + kStages * kKeyBytes, kAtTiles = kAtValues + kStages * kKeyBytes;
  static constexpr int kAtBarriers = kAtTiles + 2 * (int)sizeof(AttentionTile), kBytes = kSwizzled + kAtBarriers + (4 + 5 * kStages) * 8;
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

  /** By one thread. */
  __device__ void make_barriers() const {
    for (int i = 0; i < 2; i++) {
      mbarrier_init(asked_full(i), 1);
      mbarrier_init(asked_empty(i), Shape::kConsumers + 1);
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
      // values follow one block behind, even into the next tile: so they are asked for
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

/** A warp group, with 64 queries of each tile. A thread has two rows of their scores and sums, see warp_group.cuh. */
template <class Shape>
struct HeadsConsumer {
  static constexpr int kScores = Shape::kScores, kSums = Shape::kSums;
  typedef float Scores[kScores];
  typedef float Sums[kSums];
  typedef uint32_t Probabilities[Shape::kKeys / 16][4];

  const Sequences<bf16>& s;
  const HopperHeadsBlock<Shape> block;
  const Dropout drop;
  const int group = __shfl_sync(0xffffffffu, threadIdx.x / kWarpGroup, 0) - 1, lane = threadIdx.x % kWarp;
  Ring<Shape::kStages> keys, values;
  Ring<2> slot;
  AttentionTile tile;
  int last_keys, last_values;        // stages of the latest products
  float top[2], sum[2], shrink[2];   // of rows: what exponentials are relative to, their sum, what sums so far are multiplied by

  /** Of each warp one thread. */
  __device__ __forceinline__ void release(Mbarrier* empty) const {
    if (lane == 0) mbarrier_arrive(empty);
  }
  __device__ __forceinline__ int row() const { return tile.query + group * 64 + (int)threadIdx.x % kWarpGroup / kWarp * 16 + lane / 4; }

  __device__ __forceinline__ void begin_turn() const {
    if (Shape::kTurns) barrier_sync(1 + group, 2 * kWarpGroup);
  }
  __device__ __forceinline__ void end_turn() const {
    if (Shape::kTurns) barrier_arrive(group + 1 == Shape::kGroups ? 1 : 2 + group, 2 * kWarpGroup);
  }

  /** Begins scores = queries times the next keys. */
  __device__ __forceinline__ void multiply_keys(Scores& scores) {
    const SharedMatrix q = shared_matrix(block.queries(slot.stage) + group * 64 * kSwizzle, 64 * kSwizzle, kSwizzled);
    const SharedMatrix k = shared_matrix(block.keys(keys.stage), 64 * kSwizzle, kSwizzled);
    if (tile.L > 0) mbarrier_wait(block.keys_full(keys.stage), keys.parity);
    hold(scores);
    warp_group_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) warp_group_mma<1, 1>(scores, q.advanced(32 * step), k.advanced(32 * step), step > 0);
    warp_group_commit();
    hold(scores);
    last_keys = keys.stage;
    keys.advance();
  }

  /** Begins sums += probabilities times the next values; where they are the first, sums = that. */
  __device__ __forceinline__ void multiply_values(Sums& sums, const Probabilities& p, bool adds) {
    const SharedMatrix v = shared_matrix(block.values(values.stage), 64 * kSwizzle, kSwizzled);
    mbarrier_wait(block.values_full(values.stage), values.parity);
    hold(sums);
    warp_group_fence();
#pragma unroll
    for (int k = 0; k < Shape::kKeys / 16; k++) warp_group_mma<0>(sums, p[k], v.advanced(k * 16 * kSwizzle), adds || k > 0);
    warp_group_commit();
    hold(sums);
    last_values = values.stage;
    values.advance();
  }

  /** Scores of keys from L on are none, whatever they are. */
  __device__ __forceinline__ void hide(Scores& scores, int j) const {
    const int limit = tile.L - j * Shape::kKeys - lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kScores; n++)
      if (n / 4 * 8 + n % 2 >= limit) scores[n] = -INFINITY;
  }

  /** What exponentials are relative to need not be the greatest (attention.cu); whether it has changed for some row of the warp. */
  __device__ __forceinline__ bool raise(const Scores& scores) {
    bool shrinks = false;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float even = scores[2 * i], odd = scores[2 * i + 1];
#pragma unroll
      for (int n = 4; n < kScores; n += 4) {
        even = fmaxf(even, scores[n + 2 * i]);
        odd = fmaxf(odd, scores[n + 2 * i + 1]);
      }
      float greatest = fmaxf(even, odd);
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
      shrink[i] = 1;
      if ((greatest - top[i]) * s.factor > 8) {
        shrink[i] = exp2_fast((top[i] - greatest) * s.factor);
        top[i] = greatest;
        shrinks = true;
      }
    }
    return __any_sync(0xffffffffu, shrinks);
  }

  __device__ __forceinline__ void exponentiate(Scores& scores) {
    float total[2][2] = {}, base[2];
#pragma unroll
    for (int i = 0; i < 2; i++) base[i] = top[i] == -INFINITY ? 0.0f : top[i] * s.factor;
#pragma unroll
    for (int n = 0; n < kScores; n++) {
      scores[n] = exp2_fast(fmaf(scores[n], s.factor, -base[n / 2 % 2]));
      total[n / 2 % 2][n % 2] += scores[n];
    }
#pragma unroll
    for (int i = 0; i < 2; i++) sum[i] = fmaf(sum[i], shrink[i], total[i][0] + total[i][1]);
  }

  /** A draw is for keys 16 apart, which all are this thread's. */
  __device__ __forceinline__ void drop_some(Scores& scores, int j) const {
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int block64 = 0; block64 < Shape::kKeys / 64; block64++)
#pragma unroll
        for (int c = 0; c < 4; c++) {  // columns 2 t + {0, 1, 8, 9} of each 16
          const uint32_t column = lane % 4 * 2 + c % 2 + c / 2 * 8;
          const Draws draws = drop.draws((uint32_t)(tile.first + row() + 8 * i) * s.A + tile.head, (j * (Shape::kKeys / 64) + block64) * 16 + column);
#pragma unroll
          for (int w = 0; w < 4; w++)
            if (!drop.keeps(draws.word[w])) scores[(block64 * 8 + 2 * w + c / 2) * 4 + 2 * i + c % 2] = 0;
        }
  }

  /**
   * The exponentials of block j's scores. Meanwhile the products of block j - 1's probabilities, which are there, with values go on, and
   * those of the queries with the keys of block j + 1. Then what the first have summed is made relative to the new maximum.
   */
  template <bool kFirst, bool kMore>
  __device__ __forceinline__ void step(Scores& scores, Scores& next, Sums& sums, Probabilities& p, int j) {
    if (!kFirst) multiply_values(sums, p, j > 1);
    if (kMore) multiply_keys(next);
    if (!kMore && (j + 1) * Shape::kKeys > tile.L) hide(scores, j);
    const bool shrinks = raise(scores);
    begin_turn();
    exponentiate(scores);
    end_turn();
    if (Shape::kDropout) drop_some(scores, j);
    warp_group_wait<0>();
    hold(sums);
    hold(next);
    if (kMore) release(block.keys_empty(last_keys));
    if (!kFirst) {
      release(block.values_empty(last_values));
      if (shrinks)
#pragma unroll
        for (int n = 0; n < kSums; n++) sums[n] *= shrink[n / 2 % 2];
    }
#pragma unroll
    for (int n = 0; n < kScores; n += 2) p[n / 8][n / 2 % 4] = to_bf16_pair(scores[n], scores[n + 1]);
  }

  /** The same for a warp group whose queries lie beyond the sequence: only gives back what comes. */
  __device__ __forceinline__ void skip(int blocks) {
    release(block.keys_empty(last_keys));
    release(block.asked_empty(slot.stage));
    slot.advance();
#pragma unroll 1
    for (int j = 0; j < blocks; j++) {
      if (j > 0) {
        mbarrier_wait(block.keys_full(keys.stage), keys.parity);
        release(block.keys_empty(keys.stage));
        keys.advance();
      }
      begin_turn();
      end_turn();
      mbarrier_wait(block.values_full(values.stage), values.parity);
      release(block.values_empty(values.stage));
      values.advance();
    }
  }

  /** Divides sums by those of the exponentials. Four threads have 8 columns of a row, two each: they swap until each has all of 8. */
  __device__ __forceinline__ void save(const Sums& sums, bf16* context, float* lse) const {
    const int t = lane % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float total = sum[i];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      const float scale = total == 0 ? 0.0f : (Shape::kDropout ? drop.scale : 1.0f) / total;
      const bool real = row() + 8 * i < tile.L;
      const int64_t at = (int64_t)(tile.first + row() + 8 * i) * s.A + tile.head;
      if (t == 0 && real) lse[at] = total == 0 ? INFINITY : (top[i] * s.factor + log2f(total)) * kLn2;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint32_t w[4];
#pragma unroll
        for (int n = 0; n < 4; n++) w[n] = to_bf16_pair(sums[(half * 4 + n) * 4 + 2 * i] * scale, sums[(half * 4 + n) * 4 + 2 * i + 1] * scale);
#pragma unroll
        for (int apart = 1; apart <= 2; apart *= 2)
#pragma unroll
          for (int n = 0; n < 4; n++) {
            if (n & apart) continue;
            const bool upper = t & apart;
            const uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? w[n] : w[n + apart], apart);
            (upper ? w[n] : w[n + apart]) = other;
          }
        if (real) *(uint4*)(context + at * 64 + half * 32 + t * 8) = make_uint4(w[0], w[1], w[2], w[3]);
      }
    }
  }

  __device__ __forceinline__ void next_tile() {
    mbarrier_wait(block.asked_full(slot.stage), slot.parity);
    const AttentionTile& next = block.tile(slot.stage);
    // so that the compiler knows them to be the same on all lanes
    tile.first = __shfl_sync(0xffffffffu, next.first, 0);
    tile.L = __shfl_sync(0xffffffffu, next.L, 0);
    tile.query = __shfl_sync(0xffffffffu, next.query, 0);
    tile.head = __shfl_sync(0xffffffffu, next.head, 0);
  }

  __device__ __forceinline__ void consume(bf16* context, float* lse) {
    Scores a, b;
    Sums sums;
    Probabilities p;
    if (Shape::kTurns && group + 1 == Shape::kGroups) end_turn();  // the first group's is the first
    next_tile();
    while (tile.L > 0) {
      const int blocks = ceil_div(tile.L, Shape::kKeys);
      multiply_keys(a);
      warp_group_wait<0>();
      hold(a);
      release(block.keys_empty(last_keys));
      top[0] = top[1] = -INFINITY;
      sum[0] = sum[1] = 0;
      if (blocks > 1) {
        step<true, true>(a, b, sums, p, 0);
        int j = 1;
        for (; j + 2 < blocks; j += 2) {
          step<false, true>(b, a, sums, p, j);
          step<false, true>(a, b, sums, p, j + 1);
        }
        if (j + 1 < blocks) {
          step<false, true>(b, a, sums, p, j);
          step<false, false>(a, b, sums, p, j + 1);
        } else {
          step<false, false>(b, a, sums, p, j);
        }
      } else {
        step<true, false>(a, b, sums, p, 0);
      }
      release(block.asked_empty(slot.stage));
      slot.advance();
      multiply_values(sums, p, blocks > 1);
      warp_group_wait<0>();
      hold(sums);
      release(block.values_empty(last_values));
      save(sums, context, lse);
      next_tile();
    }
    if (Shape::kTurns && group == 0) begin_turn();  // what the last group's turns have left
  }
};

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    attend_hopper_kernel(const __grid_constant__ TensorMap map, Sequences<bf16> s, bf16* context, float* lse) {
#if defined(BK_CUDA_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const HopperHeadsBlock<Shape> block = HopperHeadsBlock<Shape>::make();
  if (blockIdx.x == 0) s.check();
  if (threadIdx.x == 0) block.make_barriers();
  __syncthreads();
  if (threadIdx.x < kWarpGroup) {
    give_registers<Shape::kFew>();
    if (threadIdx.x < kWarp)
      produce_heads<Shape>(&map, s, block);
    else if (threadIdx.x < 2 * kWarp)
      sweep_values<Shape>(block);
  } else {
    take_registers<Shape::kMany>();
    HeadsConsumer<Shape> consumer = {s, block, Shape::kDropout ? Dropout::of(s.state, s.p, s.site) : Dropout()};
    consumer.consume(context, lse);
  }
#endif
}

template <class Shape>
void launch_hopper_heads(Launch& launch, const Sequences<bf16>& s, bf16* context, float* lse) {
  TensorMap map;
  if (!launch.measuring && launch.error == cudaSuccess) launch.error = make_tensor_map(&map, s.q, s.q_stride, s.q_stride, s.rows_capacity, 64);
  const dim3 tiles = s.grid({Shape::kQueries, false});
  const unsigned most = launch.multiprocessors, all = tiles.x * tiles.y;
  launch(attend_hopper_kernel<Shape>, dim3(all < most ? all : most), dim3(Shape::kThreads), Shape::kBytes, map, s, context, lse);
}

/** Whether a batch can go this way, and is to: for now where the environment says so (chooses_hopper). */
template <class T>
bool attends_hopper(const Launch& launch, const Sequences<T>& s) {
  return sizeof(T) == 2 && s.own && s.D == 64 && !s.causal && !s.key_mask && !s.keep && s.vector() && s.rows_capacity > 0 &&
         chooses_hopper(launch, "BERTKIT_CUDA_ATTENTION");
}

inline void attend_hopper(Launch& launch, const Sequences<bf16>& s, bf16* context, float* lse) {
  if (s.p > 0)
    launch_hopper_heads<HopperHeads<2, 128, 2, true, true>>(launch, s, context, lse);
  else
    launch_hopper_heads<HopperHeads<2, 128, 2, true, false>>(launch, s, context, lse);
}

}  // namespace heads
}  // namespace cuda
}  // namespace bk
