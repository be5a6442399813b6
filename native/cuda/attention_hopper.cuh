// Attention by warp groups, for compute capability 9.0: bfloat16, 64 columns to a head, every query sees every key of its sequence. The same
// as attention.cu's kernel, with the products of hopper.cuh, after FlashAttention-3 (Shah et al., 2024).
#pragma once
#include "attention_hopper_copies.cuh"
#include "warp_group.cuh"

namespace bk {
namespace cuda {
namespace heads {

/** A warp group, with 64 queries of each tile. A thread has two rows of their scores and sums, see warp_group.cuh. */
template <class Shape>
struct HeadsConsumer {
  static constexpr int kScores = Shape::kScores, kSums = Shape::kSums;
  typedef float Scores[kScores];
  typedef float Sums[kSums];
  typedef uint32_t Probabilities[Shape::kKeys / 16][4];

  const Sequences<bf16>& s;
  const HopperHeadsBlock<Shape> block;
  const float kept_scale;  // what is kept is multiplied by that
  const int group = __shfl_sync(0xffffffffu, threadIdx.x / kWarpGroup, 0) - 1, lane = threadIdx.x % kWarp;
  unsigned tiles = 0, blocks = 0;                                 // of keys, before the present ones
  int left;                                                       // keys from the present block's first on
  bool first = true;                                              // it is the first of its tile
  bool adds = false;                                              // the block before was not
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {}, shrink[2];  // of rows: see raise; what sums so far are multiplied by
  // of the tile before, until its context is saved: its first row in units of 64 elements, how many rows from there on are real, what sums
  // are multiplied by
  int at, rows;
  float scale[2];

  /** Of each warp one thread. */
  __device__ __forceinline__ void release(Mbarrier* empty) const {
    if (lane == 0) mbarrier_arrive(empty);
  }
  /** This thread's first row of a tile. */
  __device__ __forceinline__ int row(const AttentionTile& tile) const {
    return tile.query + group * 64 + (int)threadIdx.x % kWarpGroup / kWarp * 16 + lane / 4;
  }
  __device__ __forceinline__ static int stage(unsigned block) { return block % Shape::kStages; }
  __device__ __forceinline__ static int parity(unsigned block) { return block / Shape::kStages & 1; }

  __device__ __forceinline__ void begin_turn() const { barrier_sync(1 + group, 2 * kWarpGroup); }
  __device__ __forceinline__ void end_turn(int never = 0) const { barrier_arrive((group + 1 == Shape::kGroups ? 1 : 2 + group) + never, 2 * kWarpGroup); }

  /**
   * Waits for the present block's values. There is time until the next step for that; but ptxas, which likes to wait for products before it
   * computes what does not need them, takes nothing from one side of a loop to the other where the loop needs it. `never` is 0, which it
   * cannot know when that is whether a sum of exponentials is below 0.
   */
  __device__ __forceinline__ void hold_back(int never) const { mbarrier_wait(block.values_full(stage(blocks)), parity(blocks) ^ never); }

  /** Begins scores = queries of the present tile times keys. */
  __device__ __forceinline__ void multiply_keys(Scores& scores, unsigned keys) const {
    const SharedMatrix q = shared_matrix(block.queries(tiles % 2) + group * 64 * kSwizzle, 64 * kSwizzle, kSwizzled);
    const SharedMatrix k = shared_matrix(block.keys(stage(keys)), 64 * kSwizzle, kSwizzled);
    hold(scores);
    warp_group_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) warp_group_mma<1, 1>(scores, q.advanced(32 * step), k.advanced(32 * step), step > 0);
    warp_group_commit();
  }

  /** Begins sums += probabilities times values, or sums = that. */
  __device__ __forceinline__ void multiply_values(Sums& sums, const Probabilities& p, unsigned values) const {
    const SharedMatrix v = shared_matrix(block.values(stage(values)), 64 * kSwizzle, kSwizzled);
    hold(sums);
    warp_group_fence();
#pragma unroll
    for (int k = 0; k < Shape::kKeys / 16; k++) warp_group_mma<0>(sums, p[k], v.advanced(k * 16 * kSwizzle), adds || k > 0);
    warp_group_commit();
  }

  /** Scores of keys beyond the sequence are none, whatever they are. */
  __device__ __forceinline__ void hide(Scores& scores) const {
    const int limit = left - lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kScores; n++)
      if (n / 4 * 8 + n % 2 >= limit) scores[n] = -INFINITY;
  }

  /** `top`, what exponentials are relative to, need not be the greatest (attention.cu); whether it has changed for some row of the warp. */
  __device__ __forceinline__ bool raise(const Scores& scores) {
    float greatest[2];
    bool rises = false;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float even = scores[2 * i], odd = scores[2 * i + 1];
#pragma unroll
      for (int n = 4; n < kScores; n += 4) {
        even = fmaxf(even, scores[n + 2 * i]);
        odd = fmaxf(odd, scores[n + 2 * i + 1]);
      }
      greatest[i] = fmaxf(even, odd);
      greatest[i] = fmaxf(greatest[i], __shfl_xor_sync(0xffffffffu, greatest[i], 1));
      greatest[i] = fmaxf(greatest[i], __shfl_xor_sync(0xffffffffu, greatest[i], 2));
      rises |= (greatest[i] - top[i]) * s.factor > 8;
    }
    if (!__any_sync(0xffffffffu, rises)) return false;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      shrink[i] = 1;
      if ((greatest[i] - top[i]) * s.factor > 8) {
        shrink[i] = exp2_fast((top[i] - greatest[i]) * s.factor);
        top[i] = greatest[i];
        sum[i] *= shrink[i];
      }
    }
    return true;
  }

  /** Of some of the scores; `total`: of each row, of even and odd columns. */
  template <int kBegin, int kEnd>
  __device__ __forceinline__ void exponentiate(Scores& scores, float (&total)[2][2]) const {
    float base[2];
#pragma unroll
    for (int i = 0; i < 2; i++) base[i] = top[i] == -INFINITY ? 0.0f : top[i] * s.factor;
#pragma unroll
    for (int n = kBegin; n < kEnd; n++) {
      scores[n] = exp2_fast(fmaf(scores[n], s.factor, -base[n / 2 % 2]));
      total[n / 2 % 2][n % 2] += scores[n];
    }
  }

  /** What the present block's probabilities are to be ANDed with, into the registers that they will have. */
  __device__ __forceinline__ void read_masks(Probabilities& p) const {
    const int stage = blocks % Shape::kMaskStages;
    mbarrier_wait(block.masks_full(group, stage), blocks / Shape::kMaskStages & 1);
    const uint4* masks = block.masks(group, stage) + threadIdx.x % kWarpGroup;
#pragma unroll
    for (int k = 0; k < Shape::kKeys / 16; k++) {
      const uint4 four = masks[k * kWarpGroup];
      p[k][0] = four.x, p[k][1] = four.y, p[k][2] = four.z, p[k][3] = four.w;
    }
  }

  /** The probabilities, without what is not kept. */
  template <int kBegin, int kEnd>
  __device__ __forceinline__ static void pack(Probabilities& p, const Scores& scores) {
#pragma unroll
    for (int n = kBegin; n < kEnd; n += 2) {
      const uint32_t pair = to_bf16_pair(scores[n], scores[n + 1]);
      p[n / 8][n / 2 % 4] = Shape::kDropout ? p[n / 8][n / 2 % 4] & pair : pair;
    }
  }

  /** The sums of the present tile's exponentials are whole. What remains is to save, when the products of its last block have been made. */
  __device__ __forceinline__ void finish(float* lse) {
    const AttentionTile tile = block.tile((tiles - 1) % 2);
    at = (tile.first + row(tile)) * s.A + tile.head;
    rows = tile.L - row(tile);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float total = sum[i];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      scale[i] = total == 0 ? 0.0f : kept_scale / total;
      if (lane % 4 == 0 && 8 * i < rows) lse[at + 8 * i * s.A] = total == 0 ? INFINITY : (top[i] * s.factor + log2f(total)) * kLn2;
      top[i] = -INFINITY;
      sum[i] = 0;
    }
  }

  /** Four threads have 8 columns of a row, two each: they swap until each has all of 8. */
  __device__ __forceinline__ void save(const Sums& sums, bf16* context) const {
    const int t = lane % 4;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint32_t w[4];
#pragma unroll
        for (int n = 0; n < 4; n++) {
          const float* two = sums + (half * 4 + n) * 4 + 2 * i;
          w[n] = to_bf16_pair(two[0] * scale[i], two[1] * scale[i]);
        }
#pragma unroll
        for (int apart = 1; apart <= 2; apart *= 2)
#pragma unroll
          for (int n = 0; n < 4; n++) {
            if (n & apart) continue;
            const bool upper = t & apart;
            const uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? w[n] : w[n + apart], apart);
            w[n] = upper ? other : w[n];
            w[n + apart] = upper ? w[n + apart] : other;
          }
        if (8 * i < rows) *(uint4*)(context + (int64_t)(at + 8 * i * s.A) * 64 + half * 32 + t * 8) = make_uint4(w[0], w[1], w[2], w[3]);
      }
  }

  /** Of the tile whose queries come next; 0 where there is none. */
  __device__ __forceinline__ int next_length() const {
    mbarrier_wait(block.asked_full(tiles % 2), tiles / 2 & 1);
    return __shfl_sync(0xffffffffu, block.tile(tiles % 2).L, 0);  // so that the compiler knows it to be the same on all lanes
  }

  /**
   * The exponentials of the present block's scores. Meanwhile the products of the block before, whose probabilities are there, with its values
   * go on, and those of queries with the keys of the next block, be it the next tile's first. Then what the former have summed up is made
   * relative to the new maximum or, where it is the tile before's, saved. Where there is no such block, something is multiplied that nobody
   * needs, so that all steps are alike for the compiler. False after the last block.
   */
  __device__ __forceinline__ bool step(Scores& scores, Scores& next, Sums& sums, Probabilities& p, bf16* context, float* lse) {
    const bool last = left <= Shape::kKeys, begun = blocks > 0;
    multiply_values(sums, p, blocks - 1);
    int then = left - Shape::kKeys;
    if (last) {
      tiles++;
      then = next_length();
    }
    if (then > 0) mbarrier_wait(block.keys_full(stage(blocks + 1)), parity(blocks + 1));
    multiply_keys(next, blocks + 1);
    if (left < Shape::kKeys) {
      hold_back(0);
      hide(scores);
    }
    const bool shrinks = raise(scores);
    begin_turn();
    hold_back(0);
    float total[2][2] = {};
    exponentiate<0, Shape::kEarly>(scores, total);
    const int at_first = sum[0] + sum[1] + (total[0][0] + total[0][1] + (total[1][0] + total[1][1])) < 0;
    end_turn(at_first);
    hold_back(at_first);
    warp_group_wait<1>();  // the probabilities before these have been multiplied
    hold(p);
    if (Shape::kDropout) read_masks(p);
    exponentiate<Shape::kEarly, kScores>(scores, total);
    pack<0, Shape::kEarly>(p, scores);
    sum[0] += total[0][0] + total[0][1];
    sum[1] += total[1][0] + total[1][1];
    hold_back(sum[0] + sum[1] < 0);
    warp_group_wait<0>();
    hold(sums);
    hold(next);
    if (then > 0) release(block.keys_empty(stage(blocks + 1)));
    if (begun) release(block.values_empty(stage(blocks - 1)));
    if (first) {
      if (begun) save(sums, context);
    } else if (shrinks) {
#pragma unroll
      for (int n = 0; n < kSums; n++) sums[n] *= shrink[n / 2 % 2];
    }
    pack<Shape::kEarly, kScores>(p, scores);
    if (Shape::kDropout) {
      __syncwarp();  // all lanes have read them
      release(block.masks_empty(group, blocks % Shape::kMaskStages));
    }
    if (last) {
      finish(lse);
      __syncwarp();  // all lanes have read what tile it was
      release(block.asked_empty((tiles - 1) % 2));
    }
    blocks++;
    left = then;
    adds = !first;
    first = last;
    return left > 0;
  }

  __device__ __forceinline__ void consume(bf16* context, float* lse) {
    Scores a, b;
    Sums sums;
    Probabilities p = {};
    if (group + 1 == Shape::kGroups) end_turn();  // the first group's is the first
    left = next_length();
    if (left > 0) {
      mbarrier_wait(block.keys_full(0), 0);
      multiply_keys(a, 0);
      warp_group_wait<0>();
      hold(a);
      release(block.keys_empty(0));
      while (step(a, b, sums, p, context, lse) && step(b, a, sums, p, context, lse)) {
      }
      multiply_values(sums, p, blocks - 1);
      warp_group_wait<0>();
      hold(sums);
      save(sums, context);
    }
    if (group == 0) begin_turn();  // what the last group's turns have left
  }
};

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    attend_hopper_kernel(const __grid_constant__ TensorMap map, Sequences<bf16> s, bf16* context, float* lse) {
  begin_kernel();
#if defined(BK_HOPPER)
  const HopperHeadsBlock<Shape> block = HopperHeadsBlock<Shape>::make();
  if (blockIdx.x == 0) s.check();
  if (threadIdx.x == 0) block.make_barriers();
  __syncthreads();
  if (threadIdx.x < kWarpGroup) {
    give_registers<Shape::kOfOthers>();
    if (threadIdx.x < kWarp)
      produce_heads<Shape>(&map, s, block);
    else if (threadIdx.x < 2 * kWarp)
      sweep_values<Shape>(block);
  } else if (Shape::kDropout && threadIdx.x >= (1 + Shape::kGroups) * kWarpGroup) {
    give_registers<Shape::kOfOthers>();
    draw_masks<Shape>(s, block);
  } else {
    take_registers<Shape::kOfProducts>();
    HeadsConsumer<Shape> consumer = {s, block, Shape::kDropout ? 1.0f / (1.0f - s.p) : 1.0f};
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
  launch.early(attend_hopper_kernel<Shape>, dim3(all < most ? all : most), dim3(Shape::kThreads), Shape::kBytes, map, s, context, lse);
}

/** Whether a batch can go this way, and is to. */
template <class T>
bool attends_hopper(const Launch& launch, const Sequences<T>& s) {
  return s.suits_warp_groups() && chooses_hopper(launch) && HopperHeads<true>::kBytes <= launch.shared_bytes;
}

}  // namespace heads
}  // namespace cuda
}  // namespace bk
