// The gradients of attention and cross_attention (../cpu/attention_backward.inl), whose probabilities are computed again from the saved lse.
// As FlashAttention-2 (Dao, 2023) does, in one pass with five products, but without atomic additions: what the blocks of keys add to dq is
// added in the order of the keys.
#include "attention_backward.cuh"
#include "attention_backward_hopper.cuh"
#include "vector.cuh"

namespace bk {
namespace cuda {
using namespace heads;
using namespace heads::backward;
namespace {

/**
 * With P the probabilities, P' = dropout(P), O = P' v and delta = rowsum(dO O):
 * dv = P'^T dO; dS = P (dropout(dO v^T) - delta) / sqrt(D); dq = dS k; dk = dS^T q.
 * A block of threads is one head and a part of a sequence's keys, of which it takes 64 M at a time; a warp has the sums of dk and dv for
 * 16 M of them in registers, while the queries go by, 64 in shared memory and kStep in registers. Scores are made with a row for each key,
 * so that P'^T and dS^T are left factors as they are; dS goes through shared memory to become the left factor of dq, of which each warp
 * has 32 queries and half of the columns.
 */
template <class T, int W, int M>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 4 && W == 32 ? 3 : 2) attend_backward_kernel(Sequences<T> s, Work<T> work, bool vector) {
  typedef Fragments<T> F;
  typedef Layout<T, W, M> Memory;
  constexpr int kKeys = Memory::kKeys, kRow = Memory::kRow, kStep = Memory::kStep;
  const auto parts = work.template parts<kKeys>(s);
  if (!s.find(blockIdx.x, parts)) return;
  const Place& place = block_place();
  __shared__ Range range;
  if (threadIdx.x == 0) range = parts.range(place);
  const Head<T>& h = Head<T>::of(s, place, blockIdx.y);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4, mine = warp * 16 * M;  // first key of the warp
  const typename F::template Lanes<W> lanes;

  const auto load = [&](int block) {
    const int stage = Memory::kStages + block % 2 * Memory::kStage, q0 = block * kQueries;
    load_rows<T, W, kQueries, kThreads>(stage, h.q + (int64_t)q0 * s.q_stride, s.q_stride, h.Lq - q0, s.D, vector);
    load_rows<T, W, kQueries, kThreads>(stage + Memory::kGradients, work.dcontext + ((h.first_query + q0) * s.A + h.head) * s.D, s.A * s.D, h.Lq - q0, s.D,
                                        vector);
  };
  // half of the threads have the lse of a query each, the others delta
  const auto statistic = [&](int block) {
    const int i = block * kQueries + threadIdx.x % kQueries;
    const bool of_lse = threadIdx.x < kQueries;
    if (i >= h.Lq) return of_lse ? INFINITY : 0.0f;
    const int64_t at = (h.first_query + i) * s.A + h.head;
    return of_lse ? work.lse[at] * kLog2E : work.delta[at];
  };
  uint32_t* bits = (uint32_t*)shared(Memory::kBits);

  const int query_blocks = (h.Lq + kQueries - 1) / kQueries;
  for (int key_block = range.first; key_block < range.end; key_block++) {
    const int j0 = opaque(key_block) * kKeys, count = min(kKeys, h.L - j0);
    const int begin = first_queries(s, h.shift, j0);
    __syncthreads();  // what the block of keys before this one left in shared memory has been read
    load_rows<T, W, kKeys, kThreads>(0, h.k + (int64_t)j0 * s.kv_stride, s.kv_stride, count, s.D, vector);
    load_rows<T, W, kKeys, kThreads>(Memory::kValues, h.v + (int64_t)j0 * s.kv_stride, s.kv_stride, count, s.D, vector);
    float next = 0;
    if (begin < query_blocks) {
      load(begin);
      next = statistic(begin);
    }
    cp_async_commit();
    float dk[M][W / 8][4] = {}, dv[M][W / 8][4] = {};
    int hidden = 0;  // bit 2 m + half
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
      const int j = mine + 8 * i + g;
      if (j >= count || (h.mask && h.mask[j0 + j] == 0)) hidden |= 1 << i;
    }

    for (int block = begin; block < query_blocks; block++) {
      if (h.keep)
        draw_bits<true, kKeys>(s, h, block * kQueries, j0, bits);
      else if (s.p > 0)
        draw_bits<false, kKeys>(s, h, block * kQueries, j0, bits);
      ((float*)shared(Memory::kStatistics))[threadIdx.x] = next;
      cp_async_wait<0>();
      __syncthreads();  // this stage has arrived, and the other and dS have been read
      if (block + 1 < query_blocks) {
        load(block + 1);
        cp_async_commit();
        next = statistic(block + 1);
      }
#pragma unroll 1
      for (int q = 0; q < kQueries && mine < count && block * kQueries + q < h.Lq; q += kStep) {
        const int keys = opaque(mine * kRow), values = keys + Memory::kValues;
        const int queries = opaque(Memory::kStages + block % 2 * Memory::kStage + q * kRow), gradients = queries + Memory::kGradients;
        const int lse = opaque(Memory::kStatistics + (q + 2 * t) * 4), delta = lse + kQueries * 4;
        float p[M][kStep / 8][4] = {}, ds[M][kStep / 8][4] = {};
        multiply_turned<F, W>(p, keys, queries, lanes);
#pragma unroll
        for (int n = 0; n < kStep / 8; n++) {
          const float2 of_lse = *(const float2*)shared(lse + 32 * n);
#pragma unroll
          for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) p[m][n][i] = exp2_fast(fmaf(p[m][n][i], s.factor, i % 2 ? -of_lse.y : -of_lse.x));
        }
        // of this step's queries, key `mine` + j sees all but the first j - seen
        const int seen = s.causal ? h.shift + block * kQueries + q - j0 - mine : kKeys;
        if (hidden || seen < 16 * M - 1) {
#pragma unroll
          for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < kStep / 8; n++)
#pragma unroll
              for (int i = 0; i < 4; i++)
                if ((hidden >> (2 * m + i / 2) & 1) || 16 * m + i / 2 * 8 + g > seen + 8 * n + 2 * t + i % 2) p[m][n][i] = 0;
        }
        multiply_turned<F, W>(ds, values, gradients, lanes);
#pragma unroll
        for (int n = 0; n < kStep / 8; n++) {
          const float2 of_delta = *(const float2*)shared(delta + 32 * n);
          uint32_t kept[2] = {};
          if (s.p > 0) {
#pragma unroll
            for (int e = 0; e < 2; e++) kept[e] = bits[(q + 8 * n + 2 * t + e) * (kKeys / 32) + mine / 32] >> (mine % 32 + g);
          }
#pragma unroll
          for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
              float &x = p[m][n][i], &d = ds[m][n][i];
              const float minus = i % 2 ? -of_delta.y : -of_delta.x;
              if (s.p > 0) {
                const float keeps = kept[i % 2] >> (16 * m + i / 2 * 8) & 1 ? h.drop.scale : 0.0f;
                d = x * fmaf(d, keeps, minus);
                x *= keeps;
              } else {
                d = x * (d + minus);
              }
            }
        }
        const int scores = opaque(Memory::kScores + mine * Memory::kScoreRow);
#pragma unroll
        for (int k = 0; k < kStep / 16; k++) {
          typename F::A a[M];
#pragma unroll
          for (int m = 0; m < M; m++) F::to_a(a[m], p[m][2 * k], p[m][2 * k + 1]);
          multiply_add<F, W>(dv, a, gradients + 16 * k * kRow, lanes);
#pragma unroll
          for (int m = 0; m < M; m++) {
            F::to_a(a[m], ds[m][2 * k], ds[m][2 * k + 1]);
            F::template store_a<kQueries>(scores, 16 * m, q + 16 * k, a[m], ds[m][2 * k], ds[m][2 * k + 1]);
          }
          multiply_add<F, W>(dk, a, queries + 16 * k * kRow, lanes);
        }
      }
      __syncthreads();  // dS is there; bits and statistics have been read
      if (!work.dq || block * kQueries + warp / 2 * 32 >= h.Lq) continue;
      const bool last = range.alone && (key_block + 1 == range.end || block < first_queries(s, h.shift, j0 + kKeys));
      add_query_gradient<T, W, M>(s, h, work, place.part, block * kQueries, count, key_block == range.first, last, vector);
    }

    cp_async_wait<0>();
    __syncthreads();  // the keys have been read; dk goes to their place, and dv to that of the values
    if (!work.dk || mine >= count) continue;
    const int keys = mine * kRow, values = keys + Memory::kValues, rows = min(16 * M, count - mine);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int n = 0; n < W / 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int to = Tile<T, W>::at(16 * m + 8 * half + g, 8 * n + 2 * t);
          F::store_pair(shared(keys + to), dk[m][n][2 * half] * s.scale, dk[m][n][2 * half + 1] * s.scale);
          F::store_pair(shared(values + to), dv[m][n][2 * half], dv[m][n][2 * half + 1]);
        }
    __syncwarp();
    const int64_t row = ((int64_t)place.first_key + j0 + mine) * s.kv_stride + h.head * s.D;
    save_rows<T, W>(keys, rows, work.dk + row, s.kv_stride, s.D, vector);
    save_rows<T, W>(values, rows, work.dv + row, s.kv_stride, s.D, vector);
  }
}

/** dq of sequences in several parts: the sum of what each has, in their order. A block is 64 queries of one head. */
template <class T, int W, int KEYS>
__global__ void __launch_bounds__(kThreads) add_parts(Sequences<T> s, Work<T> work, bool vector) {
  const auto parts = work.template parts<KEYS>(s);
  if (!s.find(blockIdx.x, Blocks{kQueries, false})) return;
  const Place& place = block_place();
  const int n = parts(place);
  if (n <= 1) return;
  const Head<T>& h = Head<T>::of(s, place, blockIdx.y);
  const int q0 = place.part * kQueries;
  for (int i = threadIdx.x; i < kQueries * (W / 4); i += kThreads) {
    const int row = q0 + i / (W / 4), column = i % (W / 4) * 4;
    if (row >= h.Lq || column >= s.D) continue;
    const float* from = work.partial + ((h.first_query + row) * s.A + h.head) * W + column;
    float4 sum = *(const float4*)from;
    for (int part = 1; part < n && place.part >= first_queries(s, h.shift, part * parts.size(place) * KEYS); part++) {
      const float4 x = *(const float4*)(from + (int64_t)part * s.rows_capacity * s.A * W);
      sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
    }
    T* to = work.dq + (h.first_query + row) * s.q_stride + h.head * s.D;
    save_columns(to, column, s.D, vector, sum.x * s.scale, sum.y * s.scale);
    save_columns(to, column + 2, s.D, vector, sum.z * s.scale, sum.w * s.scale);
  }
}

/** delta = rowsum(dcontext context), the checks, and zeros for the counters of what comes next. Eight lanes are a row of a head. */
template <class T>
__global__ void __launch_bounds__(256)
    row_sums(Sequences<T> s, const T* dcontext, const T* context, float* delta, bool vector, int* counters, int64_t counter_count) {
  begin_kernel();
  if (blockIdx.x == 0) s.check();
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < counter_count; i += (int64_t)gridDim.x * blockDim.x) counters[i] = 0;
  constexpr int kLanes = 8, kChunk = kWidth<T>;
  const int64_t row = (int64_t)blockIdx.x * (blockDim.x / kLanes) + threadIdx.x / kLanes;
  const bool real = row < (int64_t)*s.rows * s.A;
  float sum = 0;
  for (int c = threadIdx.x % kLanes * kChunk; real && c < s.D; c += kLanes * kChunk) {
    const T *x = dcontext + row * s.D + c, *y = context + row * s.D + c;
    float a[kChunk] = {}, b[kChunk] = {};
    if (vector) {
      load(x, a);
      load(y, b);
    } else {
      for (int e = 0; e < kChunk && c + e < s.D; e++) a[e] = to_float(x[e]), b[e] = to_float(y[e]);
    }
#pragma unroll
    for (int e = 0; e < kChunk; e++) sum = fmaf(a[e], b[e], sum);
  }
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (real && threadIdx.x % kLanes == 0) delta[row] = sum;
}

/** Parts of a sequence: enough for a device full of blocks where rows are few, and little scratch where they are many. */
int most_parts(int blocks, int rows, int A) {
  const int wanted = 512 / (A * (1 + rows / 2048));
  const int parts = wanted < 4 ? 4 : wanted > 16 ? 16 : wanted;
  return blocks < parts ? blocks : parts;
}

template <class T, int W>
bool attend_backward(Launch& launch, const Sequences<T>& s, Work<T> work) {
  constexpr int M = sizeof(T) == 2 && W <= 64 ? 2 : 1;
  typedef Layout<T, W, M> Memory;
  if (Memory::kBytes + kStaticShared > launch.shared_bytes) return false;
  const int blocks = ceil_div(s.keys_capacity, Memory::kKeys);
  work.limit = most_parts(blocks, s.rows_capacity, s.A);
  work.whole_from = 2 * launch.multiprocessors;
  if (blocks > 1 && work.dq) work.partial = launch.reserve<float>((int64_t)work.limit * s.rows_capacity * s.A * W);
  launch(attend_backward_kernel<T, W, M>, s.grid({Memory::kKeys, true}), kThreads, Memory::kBytes, s, work, s.vector());
  if (blocks > 1 && work.dq) launch(add_parts<T, W, Memory::kKeys>, s.grid({kQueries, false}), kThreads, 0, s, work, s.vector());
  return true;
}

template <class T>
Status attend_backward(Launch& launch, const Sequences<T>& s, const T* dcontext, const T* context, const float* lse, T* dq, T* dk, T* dv) {
  Work<T> work = {};
  float* delta = launch.reserve<float>((int64_t)s.rows_capacity * s.A);
  work.dcontext = dcontext;
  work.lse = lse;
  work.delta = delta;
  work.dq = dq;
  work.dk = dk;
  work.dv = dv;
  bool by_warp_groups = false;
  if constexpr (sizeof(T) == 2) by_warp_groups = hopper::takes(launch, s);
  const int64_t counter_count = by_warp_groups ? hopper::counters(s.rows_capacity, s.A) : 0;
  int* counters = by_warp_groups ? launch.reserve<int>(counter_count) : nullptr;
  const int blocks = ceil_div((int64_t)s.rows_capacity * s.A * 8, 256);
  launch.early(row_sums<T>, blocks > 0 ? blocks : 1, 256, 0, s, dcontext, context, delta, s.vector(), counters, counter_count);
  if constexpr (sizeof(T) == 2)
    if (by_warp_groups) {
      hopper::launch_items(launch, s, work, counters);
      return kOk;
    }
  const bool done = s.D <= 32    ? attend_backward<T, 32>(launch, s, work)
                    : s.D <= 64  ? attend_backward<T, 64>(launch, s, work)
                    : s.D <= 128 ? attend_backward<T, 128>(launch, s, work)
                                 : false;
  if (!done) attend_backward_plain(launch, s, work);
  return kOk;
}

}  // namespace

Status attention_backward(Launch& launch, Operands c) {
  return with_type(type_after(BK_PLACE(attention_backward, type), c), [&](auto element) {
    typedef decltype(element) T;
    const T *dcontext = (T*)c.any(), *qkv = (T*)c.any(), *context = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T* dqkv = (T*)c.any();
    auto s = Sequences<T>::self(qkv, cu_seqlens, key_mask, keep);
    s.options(launch, c);
    const int H = s.A * s.D;
    return attend_backward(launch, s, dcontext, context, lse, dqkv, dqkv + H, dqkv + 2 * H);
  });
}

Status cross_attention_backward(Launch& launch, Operands c) {
  return with_type(type_after(BK_PLACE(cross_attention_backward, type), c), [&](auto element) {
    typedef decltype(element) T;
    const T *dcontext = (T*)c.any(), *q = (T*)c.any(), *kv = (T*)c.any(), *context = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T *dq = (T*)c.any(), *dkv = (T*)c.any();
    auto s = Sequences<T>::cross(q, kv, cu_queries, cu_keys, key_mask, keep);
    s.options(launch, c);
    return attend_backward(launch, s, dcontext, context, lse, dq, dkv, dkv ? dkv + s.A * s.D : nullptr);
  });
}

}  // namespace cuda
}  // namespace bk
