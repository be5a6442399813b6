// The gradients of attention and cross_attention (../cpu/attention_backward.inl), whose probabilities are computed again from the saved lse.
// As FlashAttention-2 (Dao, 2023) does, in one pass with five products, but without atomic additions: what the blocks of keys add to dq is
// added in the order of the keys.
#include "attention.cuh"
#include "attention_plain.cuh"
#include "attention_tile.cuh"

namespace bk {
namespace cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kQueries = 64, kStep = 32;  // queries in shared memory, in registers

/** How a sequence's keys are divided among blocks of threads. */
struct Parts {
  int keys;    // at a time
  int most;    // parts of a sequence
  bool whole;  // a sequence that could have a part for each of its blocks of keys has one part
  __device__ int blocks(const Place& place) const { return (place.L + keys - 1) / keys; }
  /** Blocks of keys in a part. */
  __device__ int size(const Place& place) const {
    const int n = blocks(place);
    return n > most ? (n + most - 1) / most : whole && n > 1 ? n : 1;
  }
  __device__ int operator()(const Place& place) const { return (blocks(place) + size(place) - 1) / size(place); }
};

/** What this record's kernels share besides the sequences. dq, or dk and dv, may be null. */
template <class T>
struct Work : plain::Gradients<T> {
  float* partial;  // of dq, unscaled: [parts, rows, A, W]
  int keys, most, whole_from;
  /** Sums are the same whether a sequence is whole or not; so what else is in the batch may decide it. */
  __device__ Parts parts(const Sequences<T>& s) const { return {keys, most, *s.count * s.A >= whole_from}; }
};

/** The first block of queries that sees any key from `key` on; all take part in the first block of keys. */
template <class T>
__device__ int first_queries(const Sequences<T>& s, int shift, int key) {
  return s.causal && key > 0 ? max(0, key - shift) / kQueries : 0;
}

template <class T, int W, int M>
struct Shared {
  static constexpr int kKeys = 16 * M * kWarps, kRow = Tile<T, W>::kRow, kK = kKeys * kRow, kQ = kQueries * kRow;
  static constexpr int kScores = kKeys * Tile<T, kQueries>::kRow, kBits = kQueries * kKeys / 8, kStatistics = 2 * kQueries * 4;
  static constexpr int kBytes = 2 * kK + 4 * kQ + kScores + kBits + 2 * kStatistics;
};

/** Bits of what dropout keeps of 64 queries from q0 on and kKeys keys: bit j % 32 of word [query][j / 32]. */
template <class T, int kKeys>
__device__ void draw(const Sequences<T>& s, const Head<T>& h, const Dropout& drop, int q0, int j0, uint32_t* bits) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  // half a warp takes the 16 draws of a query and 64 keys
#pragma unroll 4
  for (int i = warp; i < kQueries / 2 * (kKeys / 64); i += kWarps) {
    const int query = i % (kQueries / 2) * 2 + lane / 16, block = i / (kQueries / 2);
    bool kept[4];
    h.kept(drop, s, q0 + query, j0 / 64 + block, lane % 16, kept);
    uint32_t words[4];
#pragma unroll
    for (int w = 0; w < 4; w++) words[w] = __ballot_sync(0xffffffffu, kept[w]) >> lane / 16 * 16 & 0xffff;
    if (lane % 16 == 0) *(uint2*)(bits + query * (kKeys / 32) + block * 2) = make_uint2(words[0] | words[1] << 16, words[2] | words[3] << 16);
  }
}

/**
 * With P the probabilities, P' = dropout(P), O = P' v and delta = rowsum(dO O):
 * dv = P'^T dO; dS = P (dropout(dO v^T) - delta) / sqrt(D); dq = dS k; dk = dS^T q.
 * A block of threads is one head and a part of a sequence's keys, of which it takes 64 M at a time; a warp has the sums of dk and dv for
 * 16 M of them in registers, while the queries go by, 64 in shared memory and 32 in registers. Scores are made with a row for each key, so
 * that P'^T and dS^T are left factors as they are; dS goes through shared memory to become the left factor of dq, of which each warp has
 * 32 queries and half of the columns.
 */
template <class T, int W, int M>
__global__ void __launch_bounds__(kThreads, 2) attend_backward_kernel(Sequences<T> s, Work<T> work, bool vector) {
  typedef Fragments<T> F;
  typedef Shared<T, W, M> Memory;
  constexpr int kKeys = Memory::kKeys, kHalf = W / 2, kGroup = kHalf < 32 ? kHalf : 32;  // columns of dq: of a warp, at a time
  const Parts parts = work.parts(s);
  Place place;
  if (!s.find(blockIdx.x, parts, place)) return;
  const Head<T> h(s, place, blockIdx.y);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  char *k_tile = dynamic_shared(), *v_tile = k_tile + Memory::kK, *stages = v_tile + Memory::kK, *scores = stages + 4 * Memory::kQ;
  uint32_t* bits = (uint32_t*)(scores + Memory::kScores);
  float* statistics = (float*)(bits + Memory::kBits / 4);  // of two stages: lse in bits, delta
  const typename F::template Lanes<W> lanes;
  const typename F::template Lanes<kQueries> score_lanes;
  const Dropout drop = Dropout::of(s.state, s.p, s.site);
  const float factor = s.scale * kLog2E;
  const int row_stride = s.A * s.D, query_blocks = (h.Lq + kQueries - 1) / kQueries;
  const int first_block = place.part * parts.size(place), end_block = min(first_block + parts.size(place), parts.blocks(place));
  const bool alone = parts(place) == 1;  // dq is whole after the last block of keys
  float* partial = work.partial + ((int64_t)place.part * s.rows_capacity + h.first_query) * s.A * W + h.head * W;
  T* dq = work.dq + h.first_query * s.q_stride + h.head * s.D;

  const auto load = [&](int block) {
    char* stage = stages + block % 2 * 2 * Memory::kQ;
    const int q0 = block * kQueries;
    load_rows<T, W, kQueries, kThreads>(stage, h.q + (int64_t)q0 * s.q_stride, s.q_stride, h.Lq - q0, s.D, vector);
    load_rows<T, W, kQueries, kThreads>(stage + Memory::kQ, work.dcontext + ((h.first_query + q0) * s.A + h.head) * s.D, row_stride, h.Lq - q0, s.D, vector);
  };
  // half of the threads have the lse of a query each, the others delta
  const auto statistic = [&](int block) {
    const int i = block * kQueries + threadIdx.x % kQueries;
    const bool of_lse = threadIdx.x < kQueries;
    if (i >= h.Lq) return of_lse ? INFINITY : 0.0f;
    const float x = (of_lse ? work.lse : work.delta)[(h.first_query + i) * s.A + h.head];
    return of_lse ? x * kLog2E : x;
  };

  for (int key_block = first_block; key_block < end_block; key_block++) {
    const int j0 = key_block * kKeys, count = min(kKeys, h.L - j0), mine = warp * 16 * M;  // keys of the block, first of the warp
    const int begin = first_queries(s, h.shift, j0);
    __syncthreads();  // what the block of keys before this one left in shared memory has been read
    load_rows<T, W, kKeys, kThreads>(k_tile, h.k + (int64_t)j0 * s.kv_stride, s.kv_stride, count, s.D, vector);
    load_rows<T, W, kKeys, kThreads>(v_tile, h.v + (int64_t)j0 * s.kv_stride, s.kv_stride, count, s.D, vector);
    if (begin < query_blocks) {
      load(begin);
      statistics[begin % 2 * 2 * kQueries + threadIdx.x] = statistic(begin);
      if (s.p > 0) draw<T, kKeys>(s, h, drop, begin * kQueries, j0, bits);
    }
    cp_async_commit();
    float dk[M][W / 8][4] = {}, dv[M][W / 8][4] = {};
    bool hidden[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int j = mine + 16 * m + 8 * i + g;
        hidden[m][i] = j >= count || (h.mask && h.mask[j0 + j] == 0);
      }

    for (int block = begin; block < query_blocks; block++) {
      const char *queries = stages + block % 2 * 2 * Memory::kQ, *gradients = queries + Memory::kQ;
      const float *lse = statistics + block % 2 * 2 * kQueries, *delta = lse + kQueries;
      cp_async_wait<0>();
      __syncthreads();  // this stage has arrived, and the other and dS have been read
      float next = 0;
      if (block + 1 < query_blocks) {
        load(block + 1);
        cp_async_commit();
        next = statistic(block + 1);
      }
#pragma unroll 1
      for (int q = 0; q < kQueries && mine < count && block * kQueries + q < h.Lq; q += kStep) {
        float p[M][kStep / 8][4] = {}, ds[M][kStep / 8][4] = {};
#pragma unroll
        for (int k = 0; k < W / 16; k++) {
          typename F::A a[M];
          typename F::B b;
#pragma unroll
          for (int m = 0; m < M; m++) F::load_a(a[m], k_tile, lanes, mine + 16 * m, 16 * k);
#pragma unroll
          for (int n = 0; n < kStep / 16; n++) {
            F::load_b(b, queries, lanes, q + 16 * n, 16 * k);
#pragma unroll
            for (int m = 0; m < M; m++) F::multiply(p[m][2 * n], p[m][2 * n + 1], a[m], b);
          }
#pragma unroll
          for (int m = 0; m < M; m++) F::load_a(a[m], v_tile, lanes, mine + 16 * m, 16 * k);
#pragma unroll
          for (int n = 0; n < kStep / 16; n++) {
            F::load_b(b, gradients, lanes, q + 16 * n, 16 * k);
#pragma unroll
            for (int m = 0; m < M; m++) F::multiply(ds[m][2 * n], ds[m][2 * n + 1], a[m], b);
          }
        }
        // j sees i - unseen of these queries and those after it
        const bool edge = s.causal && j0 + mine + 16 * M > h.shift + block * kQueries + q;
#pragma unroll
        for (int n = 0; n < kStep / 8; n++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            const int i = q + 8 * n + 2 * t + e;
            const float of_lse = lse[i], of_delta = delta[i];
            uint32_t kept = ~0u;
            if (s.p > 0) kept = bits[i * (kKeys / 32) + mine / 32] >> mine % 32;
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
              for (int half = 0; half < 2; half++) {
                const int j = 16 * m + 8 * half + g;
                float &x = p[m][n][2 * half + e], &d = ds[m][n][2 * half + e];
                float whole = exp2_fast(fmaf(x, factor, -of_lse));
                if (hidden[m][half] || (edge && j0 + mine + j > h.shift + block * kQueries + i)) whole = 0;
                const float keeps = kept >> j & 1 ? drop.scale : 0.0f;
                x = whole * keeps;
                d = whole * fmaf(d, keeps, -of_delta);
              }
          }
#pragma unroll
        for (int k = 0; k < kStep / 16; k++) {
          typename F::A a[M];
          typename F::B b;
          if (work.dq) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
              for (int n = 2 * k; n < 2 * k + 2; n++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                  F::store_pair(scores + Tile<T, kQueries>::at(mine + 16 * m + 8 * half + g, q + 8 * n + 2 * t), ds[m][n][2 * half], ds[m][n][2 * half + 1]);
          }
          if (!work.dk) continue;
#pragma unroll
          for (int m = 0; m < M; m++) F::to_a(a[m], p[m][2 * k], p[m][2 * k + 1]);
#pragma unroll
          for (int n = 0; n < W / 16; n++) {
            F::load_b_turned(b, gradients, lanes, q + 16 * k, 16 * n);
#pragma unroll
            for (int m = 0; m < M; m++) F::multiply(dv[m][2 * n], dv[m][2 * n + 1], a[m], b);
          }
#pragma unroll
          for (int m = 0; m < M; m++) F::to_a(a[m], ds[m][2 * k], ds[m][2 * k + 1]);
#pragma unroll
          for (int n = 0; n < W / 16; n++) {
            F::load_b_turned(b, queries, lanes, q + 16 * k, 16 * n);
#pragma unroll
            for (int m = 0; m < M; m++) F::multiply(dk[m][2 * n], dk[m][2 * n + 1], a[m], b);
          }
        }
      }
      if (block + 1 < query_blocks) statistics[(block + 1) % 2 * 2 * kQueries + threadIdx.x] = next;
      __syncthreads();  // dS is there, and the bits have been read
      if (s.p > 0 && block + 1 < query_blocks) draw<T, kKeys>(s, h, drop, (block + 1) * kQueries, j0, bits);

      const int q = warp / 2 * 32, first = block * kQueries + q;
      if (!work.dq || first >= h.Lq) continue;
      const bool last = alone && (key_block + 1 == end_block || block < first_queries(s, h.shift, j0 + kKeys));
#pragma unroll 1
      for (int c0 = warp % 2 * kHalf; c0 < warp % 2 * kHalf + kHalf; c0 += kGroup) {
        float sums[2][kGroup / 8][4] = {};
        float2 before[2][2][kGroup / 8];
        float* at = partial + (int64_t)first * s.A * W + c0 + 2 * t;
        if (key_block > first_block) {
#pragma unroll
          for (int i = 0; i < 4; i++)
#pragma unroll
            for (int n = 0; n < kGroup / 8; n++)
              if (first + 8 * i + g < h.Lq) before[i / 2][i % 2][n] = *(const float2*)(at + (int64_t)(8 * i + g) * s.A * W + 8 * n);
        }
#pragma unroll 1
        for (int k = 0; k < count; k += 16) {
          typename F::A a[2];
#pragma unroll
          for (int m = 0; m < 2; m++) F::load_a_turned(a[m], scores, score_lanes, k, q + 16 * m);
#pragma unroll
          for (int n = 0; n < kGroup / 16; n++) {
            typename F::B b;
            F::load_b_turned(b, k_tile, lanes, k, c0 + 16 * n);
#pragma unroll
            for (int m = 0; m < 2; m++) F::multiply(sums[m][2 * n], sums[m][2 * n + 1], a[m], b);
          }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int row = 8 * i + g;
          if (first + row >= h.Lq) continue;
#pragma unroll
          for (int n = 0; n < kGroup / 8; n++) {
            float2 x = make_float2(sums[i / 2][n][i % 2 * 2], sums[i / 2][n][i % 2 * 2 + 1]);
            if (key_block > first_block) x.x += before[i / 2][i % 2][n].x, x.y += before[i / 2][i % 2][n].y;
            if (!last)
              *(float2*)(at + (int64_t)row * s.A * W + 8 * n) = x;
            else
              store_columns(dq + (int64_t)(first + row) * s.q_stride, c0 + 8 * n + 2 * t, s.D, vector, x.x * s.scale, x.y * s.scale);
          }
        }
      }
    }

    cp_async_wait<0>();
    __syncthreads();  // the keys have been read; dk goes to their place, and dv to that of the values
    if (!work.dk || mine >= count) continue;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int n = 0; n < W / 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int to = Tile<T, W>::at(mine + 16 * m + 8 * half + g, 8 * n + 2 * t);
          F::store_pair(k_tile + to, dk[m][n][2 * half] * s.scale, dk[m][n][2 * half + 1] * s.scale);
          F::store_pair(v_tile + to, dv[m][n][2 * half], dv[m][n][2 * half + 1]);
        }
    __syncwarp();
    const int64_t row = ((int64_t)place.first_key + j0 + mine) * s.kv_stride + h.head * s.D;
    const int rows = min(16 * M, count - mine);
    store_rows<T, W>(k_tile, mine, rows, work.dk + row, s.kv_stride, s.D, vector);
    store_rows<T, W>(v_tile, mine, rows, work.dv + row, s.kv_stride, s.D, vector);
  }
}

/** dq of sequences in several parts: the sum of what each has, in their order. A block is 64 queries of one head. */
template <class T, int W>
__global__ void __launch_bounds__(kThreads) add_parts(Sequences<T> s, Work<T> work, bool vector) {
  const Parts parts = work.parts(s);
  Place place;
  if (!s.find(blockIdx.x, Blocks{kQueries, false}, place)) return;
  const int n = parts(place);
  if (n <= 1) return;
  const Head<T> h(s, place, blockIdx.y);
  const int q0 = place.part * kQueries;
  for (int i = threadIdx.x; i < kQueries * (W / 4); i += kThreads) {
    const int row = q0 + i / (W / 4), column = i % (W / 4) * 4;
    if (row >= h.Lq || column >= s.D) continue;
    const float* from = work.partial + ((h.first_query + row) * s.A + h.head) * W + column;
    float4 sum = *(const float4*)from;
    for (int part = 1; part < n && place.part >= first_queries(s, h.shift, part * parts.size(place) * parts.keys); part++) {
      const float4 x = *(const float4*)(from + (int64_t)part * s.rows_capacity * s.A * W);
      sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
    }
    T* to = work.dq + (h.first_query + row) * s.q_stride + h.head * s.D;
    store_columns(to, column, s.D, vector, sum.x * s.scale, sum.y * s.scale);
    store_columns(to, column + 2, s.D, vector, sum.z * s.scale, sum.w * s.scale);
  }
}

/** delta = rowsum(dcontext context), and the checks. Eight lanes are a row of a head. */
template <class T>
__global__ void __launch_bounds__(256) row_sums(Sequences<T> s, const T* dcontext, const T* context, float* delta, bool vector) {
  if (blockIdx.x == 0) s.check();
  constexpr int kLanes = 8, kChunk = 16 / sizeof(T);
  const int64_t row = (int64_t)blockIdx.x * (blockDim.x / kLanes) + threadIdx.x / kLanes;
  const bool real = row < (int64_t)*s.rows * s.A;
  float sum = 0;
  for (int c = threadIdx.x % kLanes * kChunk; real && c < s.D; c += kLanes * kChunk) {
    const T *x = dcontext + row * s.D + c, *y = context + row * s.D + c;
    T a[kChunk], b[kChunk];
    if (vector) {
      *(uint4*)a = *(const uint4*)x;
      *(uint4*)b = *(const uint4*)y;
    } else {
      for (int e = 0; e < kChunk; e++) {
        a[e] = c + e < s.D ? x[e] : from_float<T>(0.0f);
        b[e] = c + e < s.D ? y[e] : from_float<T>(0.0f);
      }
    }
#pragma unroll
    for (int e = 0; e < kChunk; e++) sum = fmaf(to_float(a[e]), to_float(b[e]), sum);
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
  typedef Shared<T, W, M> Memory;
  if (Memory::kBytes > launch.shared_bytes) return false;
  const int blocks = ceil_div(s.keys_capacity, Memory::kKeys);
  work.keys = Memory::kKeys;
  work.most = most_parts(blocks, s.rows_capacity, s.A);
  work.whole_from = 2 * launch.multiprocessors;
  if (blocks > 1 && work.dq) work.partial = launch.reserve<float>((int64_t)work.most * s.rows_capacity * s.A * W);
  launch(attend_backward_kernel<T, W, M>, s.grid({Memory::kKeys, true}), kThreads, Memory::kBytes, s, work, s.vector());
  if (blocks > 1 && work.dq) launch(add_parts<T, W>, s.grid({kQueries, false}), kThreads, 0, s, work, s.vector());
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
  const int blocks = ceil_div((int64_t)s.rows_capacity * s.A * 8, 256);
  launch(row_sums<T>, blocks > 0 ? blocks : 1, 256, 0, s, dcontext, context, delta, s.vector());
  const bool done = s.D <= 32    ? attend_backward<T, 32>(launch, s, work)
                    : s.D <= 64  ? attend_backward<T, 64>(launch, s, work)
                    : s.D <= 128 ? attend_backward<T, 128>(launch, s, work)
                                 : false;
  if (!done) attend_backward_plain(launch, s, work);
  return kOk;
}

}  // namespace

Status attention_backward(Launch& launch, Operands c) {
  return with_type(type_after(8, c), [&](auto element) {
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
  return with_type(type_after(9, c), [&](auto element) {
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
