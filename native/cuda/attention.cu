// attention and cross_attention: softmax(q k^T / sqrt(D)) v inside each sequence (../cpu/attention.inl says what exactly), in one pass over
// keys and values with a running maximum: FlashAttention-2 (Dao, 2023).
#include "attention.cuh"
#include "attention_hopper.cuh"
#include "attention_plain.cuh"
#include "attention_tile.cuh"

namespace bk {
namespace cuda {
using namespace heads;
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;  // of a block

/** A block's queries, and two stages of keys and values. */
template <class T, int W, int M>
struct Shared {
  static constexpr int kKeys = sizeof(T) == 4 && W > 64 ? 32 : 64;  // at a time
  static constexpr int kQueries = 16 * M * kWarps, kQ = kQueries * Tile<T, W>::kRow, kStage = kKeys * Tile<T, W>::kRow;
  static constexpr int kStages = kQ, kBytes = kQ + 4 * kStage;  // the queries lie at 0
  // of a multiprocessor at once, as far as registers go
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
  static constexpr int kNarrow = 3;
#else
  static constexpr int kNarrow = 2;
#endif
  static constexpr int kBlocks = sizeof(T) == 4 || W == 128 ? 2 : W == 64 ? 4 - M : M == 1 ? 4 : kNarrow;
};

/**
 * A block is one head and 64 M queries of one sequence, a warp 16 M of them. Scores of 16 M x kKeys are made, exponentiated and multiplied
 * with values in registers, while the next keys and values are copied. W: D rounded up to 32, 64 or 128.
 */
template <class T, int W, int M>
__global__ void __launch_bounds__(kThreads, Shared<T, W, M>::kBlocks) attend_kernel(Sequences<T> s, T* context, float* lse, bool vector) {
  typedef Fragments<T> F;
  typedef Shared<T, W, M> Memory;
  constexpr int kKeys = Memory::kKeys;
  constexpr bool kHold = sizeof(T) == 2 && W <= 64;  // fragments of queries stay in registers
  if (blockIdx.x == 0 && blockIdx.y == 0) s.check();
  if (!s.find(blockIdx.x, Blocks{Memory::kQueries, false})) return;
  const Place& place = block_place();
  const Head<T>& h = Head<T>::of(s, place, blockIdx.y);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  const int q0 = place.part * Memory::kQueries, first = q0 + warp * 16 * M;  // query of the block, of the warp
  const int own = warp * 16 * M * Tile<T, W>::kRow;                          // the warp's queries
  const typename F::template Lanes<W> lanes;

  const int blocks = (h.visible(s, min(q0 + Memory::kQueries, h.Lq) - 1, h.seen) + kKeys - 1) / kKeys;
  const auto load = [&](int block) {
    const int j = block * kKeys;
    const int stage = Memory::kStages + block % 2 * 2 * Memory::kStage;
    load_rows<T, W, kKeys, kThreads>(stage, h.k + (int64_t)j * s.kv_stride, s.kv_stride, h.seen - j, s.D, vector);
    load_rows<T, W, kKeys, kThreads>(stage + Memory::kStage, h.v + (int64_t)j * s.kv_stride, s.kv_stride, h.seen - j, s.D, vector);
  };
  load_rows<T, W, Memory::kQueries, kThreads>(0, h.q + (int64_t)q0 * s.q_stride, s.q_stride, h.Lq - q0, s.D, vector);
  if (blocks) load(0);
  cp_async_commit();

  typename F::A held[kHold ? M : 1][kHold ? W / 16 : 1];
  float out[M][W / 8][4] = {}, top[M][2], sum[M][2] = {};
#pragma unroll
  for (int m = 0; m < M; m++) top[m][0] = top[m][1] = -INFINITY;

  for (int block = 0; block < blocks; block++) {
    const int j0 = block * kKeys;
    const int keys = Memory::kStages + block % 2 * 2 * Memory::kStage, values = keys + Memory::kStage;
    cp_async_wait<0>();
    __syncthreads();  // this stage has arrived, and the other has been read
    if (block + 1 < blocks) {
      load(block + 1);
      cp_async_commit();
    }
    if (first >= h.Lq) continue;
    bool shown[kKeys / 32];  // of keys j0 + 32 i + lane
#pragma unroll
    for (int i = 0; i < kKeys / 32; i++) shown[i] = !h.mask || (j0 + 32 * i + lane < h.seen && h.mask[j0 + 32 * i + lane] != 0);

    float scores[M][kKeys / 8][4] = {};
#pragma unroll(kHold ? W / 16 : 1)
    for (int k = 0; k < W / 16; k++) {
      typename F::A a[M];
#pragma unroll
      for (int m = 0; m < M; m++) {
        if (!kHold || block == 0) F::load_a(a[m], own, lanes, 16 * m, 16 * k);
        if (kHold && block == 0) held[m][k] = a[m];
        if (kHold) a[m] = held[m][k];
      }
#pragma unroll
      for (int n = 0; n < kKeys / 16; n++) {
        typename F::B b;
        F::load_b(b, keys, lanes, 16 * n, 16 * k);
#pragma unroll
        for (int m = 0; m < M; m++) F::multiply(scores[m][2 * n], scores[m][2 * n + 1], a[m], b);
      }
    }

    if (h.mask || j0 + kKeys > h.visible(s, first, h.seen)) {
      uint32_t words[kKeys / 32];
#pragma unroll
      for (int i = 0; i < kKeys / 32; i++) words[i] = __ballot_sync(0xffffffffu, shown[i]) >> 2 * t;
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int limit = h.visible(s, first + 16 * m + 8 * i + g, h.seen) - j0 - 2 * t;
#pragma unroll
          for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++)
              if (8 * n + e >= limit || !(words[n / 4] >> (8 * (n % 4) + e) & 1)) scores[m][n][2 * i + e] = -INFINITY;
        }
    }

    float shrink[M][2];
    bool shrinks = false;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float greatest = scores[m][0][2 * i];
#pragma unroll
        for (int n = 0; n < kKeys / 8; n++) greatest = fmaxf(greatest, fmaxf(scores[m][n][2 * i], scores[m][n][2 * i + 1]));
        greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
        greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
        // what exponentials are relative to need not be the greatest: up to 2^8 above it they are as exact, and the sums so far stay
        shrink[m][i] = 1;
        if ((greatest - top[m][i]) * s.factor > 8) {
          shrink[m][i] = exp2_fast((top[m][i] - greatest) * s.factor);
          top[m][i] = greatest;
        }
        // a row that has seen nothing yet: exponentials of -inf are 0, not NaN
        const float base = top[m][i] == -INFINITY ? 0.0f : top[m][i] * s.factor;
        float total = 0;
#pragma unroll
        for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = scores[m][n][2 * i + e];
            x = exp2_fast(fmaf(x, s.factor, -base));
            total += x;
          }
        sum[m][i] = fmaf(sum[m][i], shrink[m][i], total);
        shrinks |= shrink[m][i] != 1;
      }
    if (__any_sync(0xffffffffu, shrinks)) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < W / 8; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) out[m][n][i] *= shrink[m][i / 2];
    }

    if (s.p > 0) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int query = first + 16 * m + 8 * i + g;
          if (h.keep) {
#pragma unroll
            for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
              for (int e = 0; e < 2; e++)
                if (!h.given(query, j0 + 8 * n + 2 * t + e)) scores[m][n][2 * i + e] = 0;
            continue;
          }
          const uint32_t kept = h.drawn(s, query, j0 / 64, t) >> (j0 % 64 != 0 ? 2 : 0);  // the last 32 keys of 64, where so many are taken at a time
#pragma unroll
          for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++)
              if (!(Dropout::two_of(kept, n) >> e & 1)) scores[m][n][2 * i + e] = 0;
        }
    }

#pragma unroll
    for (int k = 0; k < kKeys / 16; k++) {
      typename F::A a[M];
#pragma unroll
      for (int m = 0; m < M; m++) F::to_a(a[m], scores[m][2 * k], scores[m][2 * k + 1]);
      multiply_add<F, W>(out, a, values + 16 * k * Tile<T, W>::kRow, lanes);
    }
  }

  if (blocks == 0) {  // the queries are still on their way, to where the results go
    cp_async_wait<0>();
    __syncthreads();
  }
  if (first >= h.Lq) return;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int row = 16 * m + 8 * i + g;
      float total = sum[m][i];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      const float scale = total == 0 ? 0.0f : h.drop.scale / total;
      if (t == 0 && first + row < h.Lq)
        lse[(h.first_query + first + row) * s.A + h.head] = total == 0 ? INFINITY : (top[m][i] * s.factor + log2f(total)) * kLn2;
#pragma unroll
      for (int n = 0; n < W / 8; n++) F::store_pair(shared(own + Tile<T, W>::at(row, 8 * n + 2 * t)), out[m][n][2 * i] * scale, out[m][n][2 * i + 1] * scale);
    }
  __syncwarp();
  T* to = context + ((h.first_query + first) * s.A + h.head) * s.D;
  save_rows<T, W>(own, min(16 * M, h.Lq - first), to, (int64_t)s.A * s.D, s.D, vector);
}

template <class T, int W, int M>
bool attend(Launch& launch, const Sequences<T>& s, T* context, float* lse) {
  typedef Shared<T, W, M> Memory;
  if (Memory::kBytes + kStaticShared > launch.shared_bytes) return false;
  launch(attend_kernel<T, W, M>, s.grid({Memory::kQueries, false}), kThreads, Memory::kBytes, s, context, lse, s.vector());
  return true;
}

/** 32 queries to a warp halve the reads of shared memory, where sequences are long enough and enough blocks remain. */
template <class T, int W>
bool attend(Launch& launch, const Sequences<T>& s, T* context, float* lse) {
  constexpr int kMost = sizeof(T) == 2 && W <= 64 ? 2 : 1;
  const dim3 grid = s.grid({64 * kMost, false});
  if (grid.x * grid.y >= 2u * launch.multiprocessors && s.rows_capacity / 96 >= s.count_capacity) return attend<T, W, kMost>(launch, s, context, lse);
  return attend<T, W, 1>(launch, s, context, lse);
}

template <class T>
Status attend(Launch& launch, const Sequences<T>& s, T* context, float* lse) {
  if constexpr (sizeof(T) == 2)
    if (attends_hopper(launch, s)) {
      if (s.p > 0)
        launch_hopper_heads<HopperHeads<true>>(launch, s, context, lse);
      else
        launch_hopper_heads<HopperHeads<false>>(launch, s, context, lse);
      return kOk;
    }
  const bool done = s.D <= 32    ? attend<T, 32>(launch, s, context, lse)
                    : s.D <= 64  ? attend<T, 64>(launch, s, context, lse)
                    : s.D <= 128 ? attend<T, 128>(launch, s, context, lse)
                                 : false;
  if (!done) attend_plain(launch, s, context, lse);
  return kOk;
}

}  // namespace

Status attention(Launch& launch, Operands c) {
  return with_type(type_after(BK_PLACE(attention, type), c), [&](auto element) {
    typedef decltype(element) T;
    const T* qkv = (T*)c.any();
    const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T* context = (T*)c.any();
    float* lse = c.f32();
    auto s = Sequences<T>::self(qkv, cu_seqlens, key_mask, keep);
    s.options(launch, c);
    return attend(launch, s, context, lse);
  });
}

Status cross_attention(Launch& launch, Operands c) {
  return with_type(type_after(BK_PLACE(cross_attention, type), c), [&](auto element) {
    typedef decltype(element) T;
    const T *q = (T*)c.any(), *kv = (T*)c.any();
    const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T* context = (T*)c.any();
    float* lse = c.f32();
    auto s = Sequences<T>::cross(q, kv, cu_queries, cu_keys, key_mask, keep);
    s.options(launch, c);
    return attend(launch, s, context, lse);
  });
}

}  // namespace cuda
}  // namespace bk
