// The gradients of attention for compute capability 9.0: self-attention of bfloat16 with heads of 64, where nothing but the ends of sequences hides
// a key. As FlashAttention-3 (Shah et al., 2024) does, but what the blocks of keys add to dq is added in the order of the keys.
#pragma once
#include "attention_backward_items.cuh"
#include "warp_group.cuh"

namespace bk {
namespace cuda {
namespace heads {
namespace backward {
namespace hopper {

/** Rows of two tiles from `count` on are zeros: what lies beyond a sequence is nobody's, and may be NaN. Both warp groups of products. */
__device__ inline void clear_rows(char* tiles, int count) {
#pragma unroll 1
  for (int i = threadIdx.x - kWarpGroup; i < (kSide - count) * (kSwizzle / 16) * 2; i += kConsumers)
    *(uint4*)(tiles + i % 2 * kTile + count * kSwizzle + i / 2 * 16) = make_uint4(0, 0, 0, 0);
  fence_async();
  barrier_sync(1, kConsumers);
}

/** A warp's 16 rows, as far as there are so many, times `factor`, to memory. */
__device__ __forceinline__ void save_sums(char* patch, const float (&sums)[32], float factor, bf16* to, int64_t stride, int rows) {
  const int lane = opaque(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < 8; j++)
#pragma unroll
    for (int i = 0; i < 2; i++)
      *(uint32_t*)(patch + (g + 8 * i) * kSwizzle + ((j ^ g) << 4) + 4 * t) = to_bf16_pair(sums[4 * j + 2 * i] * factor, sums[4 * j + 2 * i + 1] * factor);
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int row = 4 * i + lane / 8, chunk = lane % 8;
    if (row < rows) *(uint4*)(to + row * stride + 8 * chunk) = *(const uint4*)(patch + row * kSwizzle + ((chunk ^ row % 8) << 4));
  }
  __syncwarp();
}

/** Warp groups 1 and 2. Scores have a row for each key, so that P'^T and dS^T are left factors as they are. */
template <bool kDrops>
__device__ void multiply(const Sequences<bf16>& s, const Work<bf16>& work, float scale, const Memory<kDrops>& memory) {
  typedef Memory<kDrops> M;
  constexpr int kDown = 16 * kSwizzle;  // from one step of a contraction to the next where it runs across the rows
  int step = 0, turn = 0;
  for (int n = 0;; n++) {
    mbarrier_wait(memory.barriers().items_full + n % 2, n / 2 % 2);
    const int L = memory.items()[n % 2].L;
    if (L == 0) break;
    const int count = min(kSide, L - memory.items()[n % 2].part * kSide);
    float dk[32] = {}, dv[32] = {};
    mbarrier_wait(&memory.barriers().keys_full, n % 2);
    if (count < kSide) clear_rows(memory.at(0), count);
#pragma unroll 1
    for (int block = 0; block * kSide < L; block++, step++) {
      const M here = {opaque(memory.first)};  // so that no addresses are kept from step to step
      Barriers& b = here.barriers();
      const volatile Item& item = here.items()[n % 2];
      const int warp = opaque(threadIdx.x) / kWarp - kWarpGroup / kWarp, group = warp / 4, mine = 16 * warp;  // first key of the warp, and first query in dq
      char* stage = here.stage(step);
      const SharedMatrix queries = shared_matrix(stage, kTile / 2, kSwizzled), gradients = queries.advanced(kTile);
      const SharedMatrix all_keys = shared_matrix(here.at(0), kTile / 2, kSwizzled), keys = all_keys.advanced(group * (kTile / 2));
      const SharedMatrix values = keys.advanced(M::kValues);
      mbarrier_wait(b.full + step % 2, step / 2 % 2);
      if (item.L - block * kSide < kSide) clear_rows(stage, item.L - block * kSide);

      float p[64] = {}, ds[64] = {};
      warp_group_fence();
#pragma unroll
      for (int k = 0; k < 4; k++) warp_group_mma<1, 1>(p, keys.advanced(32 * k), queries.advanced(32 * k), k > 0);
      warp_group_commit();
#pragma unroll
      for (int k = 0; k < 4; k++) warp_group_mma<1, 1>(ds, values.advanced(32 * k), gradients.advanced(32 * k), k > 0);
      warp_group_commit();
      warp_group_wait<kDrops ? 0 : 1>();
      hold(p);
      const int lane = opaque(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
      const float4* of_queries = (const float4*)here.statistics(step) + t;
      const auto exponentiate = [&](int j) {
        const float4 of = of_queries[4 * j];
#pragma unroll
        for (int i = 0; i < 4; i++) p[4 * j + i] = exp2_fast(fmaf(p[4 * j + i], s.factor, i % 2 ? -of.z : -of.x));
      };
      if (!kDrops) {
#pragma unroll
        for (int j = 0; j < 16; j++) exponentiate(j);
        warp_group_wait<0>();
      }
      hold(ds);
      const uint32_t* bits = here.bits(step) + g / 2 * M::kBitsPitch + 2 * t;
      const uint32_t of_keys[2] = {1u << (g % 2 * 8 + warp), 0x10000u << (g % 2 * 8 + warp)};
      const int line = kDrops ? lane % 16 : g;  // of the warp's rows of dS, the one that this lane writes
      char* scores = here.scores(step) + (mine + line) * kSwizzle;
      const auto place = [&](int chunk) {  // of 8 queries
        return scores + chunk / 8 * kTile + ((chunk % 8 ^ line % 8) << 4);
      };
      uint32_t p_left[8][4], ds_left[8][4];
      const auto pack = [&](int k) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int at = 8 * k + 2 * i;
          p_left[k][i] = to_bf16_pair(p[at], p[at + 1]);
          ds_left[k][i] = to_bf16_pair(ds[at], ds[at + 1]);
        }
        if (kDrops) {  // which has no registers for so many addresses; without, words were faster
          stmatrix_x4(ds_left[k], place(2 * k + lane / 16));
        } else {
#pragma unroll
          for (int i = 0; i < 4; i++) *(uint32_t*)(place(2 * k + i / 2) + i % 2 * kSwizzled + 4 * t) = ds_left[k][i];
        }
      };
#pragma unroll
      for (int k = 0; k < 8; k++) {
#pragma unroll
        for (int j = 2 * k; j < 2 * k + 2; j++) {
          if (kDrops) exponentiate(j);
          const uint2 kept = kDrops ? *(const uint2*)(bits + 8 * j) : make_uint2(0, 0);
          const float4 of = of_queries[4 * j];
#pragma unroll
          for (int i = 0; i < 4; i++) {
            float &x = p[4 * j + i], &d = ds[4 * j + i];
            const float minus = i % 2 ? -of.w : -of.y;
            if (kDrops) {
              const bool keeps = ((i % 2 ? kept.y : kept.x) & of_keys[i / 2]) != 0;
              const float whole = x * minus;
              x = keeps ? x : 0.0f;  // dq, dk and dv are scaled when they are whole; delta is 1 - p times itself
              d = fmaf(x, d, whole);
            } else {
              d = x * (d + minus);
            }
          }
        }
        if (kDrops) pack(k);  // at once or at the end: as there are registers enough
      }
      if (!kDrops) {
#pragma unroll
        for (int k = 0; k < 8; k++) pack(k);
      }
      // keys beyond the sequence: whatever came out is only in their rows of dv and dk, which nobody reads, once it is not in dq
      if (mine + 16 > count) {
        __syncwarp();
#pragma unroll
        for (int chunk = 0; chunk < 16; chunk++)
#pragma unroll
          for (int i = 0; i < (kDrops ? 1 : 2); i++)
            if (mine + line + 8 * i >= count) *(uint2*)(place(chunk) + i * kSwizzled + (kDrops ? lane / 16 : t % 2) * 8) = make_uint2(0, 0);
      }

      hold(dv);
      hold(p_left);
      warp_group_fence();
#pragma unroll
      for (int k = 0; k < 8; k++) warp_group_mma<0>(dv, p_left[k], gradients.advanced(kDown * k));
      warp_group_commit();

      fence_async();                // of dS, which has been written for so long that this costs little
      barrier_sync(1, kConsumers);  // that of all keys is there
      float dq[32] = {};
      const bool last = item.L <= (item.part + 1) * kSide, adds = last && item.L > kSide;
      float4* sums = (float4*)here.sums(group) + opaque(threadIdx.x) % kWarpGroup;
      if (adds) {
        mbarrier_wait(b.free + group, turn);
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const float4 x = sums[i * kWarpGroup];
          dq[4 * i] = x.x, dq[4 * i + 1] = x.y, dq[4 * i + 2] = x.z, dq[4 * i + 3] = x.w;
        }
        mbarrier_arrive(b.handed + group);
        turn ^= 1;
      }
      const SharedMatrix left = shared_matrix(here.scores(step) + group * kTile, kTile / 2, kSwizzled);
      hold(dq);
      hold(dk);
      hold(ds_left);
      warp_group_fence();
#pragma unroll
      for (int k = 0; k < 8; k++) warp_group_mma<0, 0>(dq, left.advanced(kDown * k), all_keys.advanced(kDown * k));
      warp_group_commit();
#pragma unroll
      for (int k = 0; k < 8; k++) warp_group_mma<0>(dk, ds_left[k], queries.advanced(kDown * k));
      warp_group_commit();
      warp_group_wait<1>();
      hold(dq);
      hold(dv);
      hold(p_left);
      if (last) {
        const int query = block * kSide + mine;
        save_sums(here.at(M::kPatches + warp * M::kPatch), dq, s.scale * scale, work.dq + (int64_t)(item.first + query) * s.q_stride + item.head * 64,
                  s.q_stride, item.L - query);
      } else {
        mbarrier_wait(b.free + group, turn);
#pragma unroll
        for (int i = 0; i < 8; i++) sums[i * kWarpGroup] = make_float4(dq[4 * i], dq[4 * i + 1], dq[4 * i + 2], dq[4 * i + 3]);
        fence_async();
        mbarrier_arrive(b.handed + group);
        turn ^= 1;
      }
      warp_group_wait<0>();
      hold(dk);
      hold(ds_left);
      __syncwarp();
      if (threadIdx.x % kWarp == 0) mbarrier_arrive(b.empty + step % 2);
    }
    const M here = {opaque(memory.first)};
    const volatile Item& item = here.items()[n % 2];
    if (threadIdx.x % kWarp == 0) mbarrier_arrive(&here.barriers().keys_empty);
    const int warp = opaque(threadIdx.x) / kWarp - kWarpGroup / kWarp, mine = 16 * warp;
    const int key = item.part * kSide + mine;
    const int64_t at = (int64_t)(item.first + key) * s.kv_stride + item.head * 64;
    save_sums(here.at(M::kPatches + warp * M::kPatch), dk, s.scale * scale, work.dk + at, s.kv_stride, item.L - key);
    save_sums(here.at(M::kPatches + warp * M::kPatch), dv, scale, work.dv + at, s.kv_stride, item.L - key);
    __syncwarp();
    if (threadIdx.x % kWarp == 0) mbarrier_arrive(here.barriers().items_empty + n % 2);
  }
}

/** `counters`: the tickets, then of each tile of dq's sums how many blocks of keys are in it. All zeros before. */
template <bool kDrops>
__global__ void __launch_bounds__(Memory<kDrops>::kThreads, 1)
    attend_backward_hopper(const __grid_constant__ TensorMap qkv, const __grid_constant__ TensorMap gradients, Sequences<bf16> s, Work<bf16> work, float scale,
                           int* counters, float* sums) {
  begin_kernel();
#if defined(BK_HOPPER)
  typedef Memory<kDrops> M;
  const M memory = M::make();
  if (threadIdx.x == 0) memory.make_barriers();
  __syncthreads();
  const int group = threadIdx.x / kWarpGroup, warp = threadIdx.x / kWarp;
  if (group == 1 || group == 2) {
    take_registers<M::kOfProducts>();
    multiply(s, work, scale, memory);
    return;
  }
  give_registers<M::kOfOthers>();
  if (kDrops && group == 3)
    draw_masks(s, memory);
  else if (warp == 0)
    produce(s, &qkv, &gradients, counters, memory);
  else if (warp < 3)
    move_sums(s, warp - 1, counters + 1, sums, memory);
  else
    load_statistics(s, work, memory);
#endif
}

/** What row_sums sets to zero for it. */
inline int64_t counters(int rows, int A) { return 1 + tiles(rows, A); }

template <bool kDrops>
void launch_shape(Launch& launch, const Sequences<bf16>& s, const Work<bf16>& work, int* counters) {
  typedef Memory<kDrops> M;
  float* sums = launch.reserve<float>(tiles(s.rows_capacity, s.A) * kSums);
  const int H = s.A * 64;
  TensorMap qkv, gradients;
  if (!launch.measuring && launch.error == cudaSuccess) launch.error = make_tensor_map(&qkv, s.q, 3 * H, 3 * H, s.rows_capacity, kSide);
  if (!launch.measuring && launch.error == cudaSuccess) launch.error = make_tensor_map(&gradients, work.dcontext, H, H, s.rows_capacity, kSide);
  const int64_t items = (int64_t)(s.rows_capacity / kSide + s.count_capacity) * s.A;
  launch.early(attend_backward_hopper<kDrops>, dim3((unsigned)(items < launch.multiprocessors ? items : launch.multiprocessors)), dim3(M::kThreads), M::kBytes,
               qkv, gradients, s, work, 1.0f / (1.0f - s.p), counters, sums);
}

inline void launch_items(Launch& launch, const Sequences<bf16>& s, const Work<bf16>& work, int* counters) {
  if (s.p > 0)
    launch_shape<true>(launch, s, work, counters);
  else
    launch_shape<false>(launch, s, work, counters);
}

/** Whether this record goes this way. */
inline bool takes(const Launch& launch, const Sequences<bf16>& s) {
  return s.suits_warp_groups() && chooses_hopper(launch) && Memory<true>::kBytes <= launch.shared_bytes;
}

}  // namespace hopper
}  // namespace backward
}  // namespace heads
}  // namespace cuda
}  // namespace bk
