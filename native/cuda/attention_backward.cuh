// What the blocks of threads of attention's backward are given, and what they do besides their products (attention_backward.cu).
#pragma once
#include "attention.cuh"
#include "attention_plain.cuh"
#include "attention_tile.cuh"

namespace bk {
namespace cuda {
namespace heads {
namespace backward {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kQueries = 64;  // of a block; in shared memory at a time

/** Blocks of keys of a part. */
struct Range {
  int first, end;
  bool alone;  // all of the sequence, so that dq is whole after the last
};

/** How a sequence's keys, KEYS at a time, are divided among blocks of threads. */
template <int KEYS>
struct Parts {
  static constexpr bool of_keys = true;
  int limit;   // parts of a sequence
  bool whole;  // a sequence that could have a part for each of its blocks of keys has one part
  __device__ int blocks(const Place& place) const { return (place.L + KEYS - 1) / KEYS; }
  /** At most so many are there in all sequences. */
  __device__ int most(int keys, int sequences) const { return keys / KEYS + sequences; }
  /** Blocks of keys in a part. */
  __device__ int size(const Place& place) const {
    const int n = blocks(place);
    return n > limit ? (n + limit - 1) / limit : whole && n > 1 ? n : 1;
  }
  __device__ int operator()(const Place& place) const { return (blocks(place) + size(place) - 1) / size(place); }
  __device__ Range range(const Place& place) const {
    const int first = place.part * size(place), end = min(first + size(place), blocks(place));
    return {first, end, first == 0 && end == blocks(place)};
  }
};

/** What this record's kernels share besides the sequences. dq, or dk and dv, may be null. */
template <class T>
struct Work : plain::Gradients<T> {
  float* partial;  // of dq, unscaled: [parts, rows, A, W]
  int limit, whole_from;
  /** Sums are the same whether a sequence is whole or not; so what else is in the batch may decide it. */
  template <int KEYS>
  __device__ Parts<KEYS> parts(const Sequences<T>& s) const {
    return {limit, *s.count * s.A >= whole_from};
  }
};

/** The first block of queries that sees any key from `key` on; all take part in the first block of keys. */
template <class T>
__device__ int first_queries(const Sequences<T>& s, int shift, int key) {
  return s.causal && key > 0 ? max(0, key - shift) / kQueries : 0;
}

/** Shared memory: keys, values, two stages of queries and gradients, dS, what dropout keeps, lse in bits and delta. */
template <class T, int W, int M>
struct Layout {
  static constexpr int kStep = sizeof(T) == 2 ? 32 : 16;
  static constexpr int kKeys = 16 * M * kWarps, kRow = Tile<T, W>::kRow, kScoreRow = Tile<T, kQueries>::kRow;
  static constexpr int kValues = kKeys * kRow, kStages = 2 * kValues, kGradients = kQueries * kRow, kStage = 2 * kGradients;
  static constexpr int kScores = kStages + 2 * kStage, kBits = kScores + kKeys * kScoreRow, kStatistics = kBits + kQueries * kKeys / 8;
  static constexpr int kBytes = kStatistics + 2 * kQueries * 4;
};

/** Bits of what dropout keeps of 64 queries from q0 on and kKeys keys from j0 on: bit j % 32 of word [query][j / 32]. */
template <bool GIVEN, int kKeys, class T>
__device__ __forceinline__ void draw_bits(const Sequences<T>& s, const Head<T>& h, int q0, int j0, uint32_t* bits) {
  // four lanes take a query and 64 keys
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, t = lane % 4;
#pragma unroll 2
  for (int i = warp; i < kQueries / 8 * (kKeys / 64); i += kWarps) {
    const int query = i % (kQueries / 8) * 8 + lane / 4, block = i / (kQueries / 8);
    uint32_t words[2] = {};  // of 32 keys
    const uint32_t kept = GIVEN ? 0 : h.drawn(s, q0 + query, j0 / 64 + block, t);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const int key = j0 + block * 64 + 8 * j + 2 * t;
      const uint32_t two = GIVEN ? (uint32_t)h.given(q0 + query, key) | (uint32_t)h.given(q0 + query, key + 1) << 1 : Dropout::two_of(kept, j);
      words[j / 4] |= two << (j % 4 * 8);
    }
#pragma unroll
    for (int w = 0; w < 2; w++) {
      words[w] <<= 2 * t;
      words[w] |= __shfl_xor_sync(0xffffffffu, words[w], 1);
      words[w] |= __shfl_xor_sync(0xffffffffu, words[w], 2);
    }
    if (t == 0) *(uint2*)(bits + query * (kKeys / 32) + block * 2) = make_uint2(words[0], words[1]);
  }
}

/**
 * dq of 64 queries from q0 on, as far as `count` keys in shared memory go: dS k, added to what the part's keys before them have left. `last`:
 * these are the last that add. Each warp has 32 queries and half of the columns.
 */
template <class T, int W, int M>
__device__ __forceinline__ void add_query_gradient(const Sequences<T>& s, const Head<T>& h, const Work<T>& work, int part, int q0, int count, bool first,
                                                   bool last, bool vector) {
  typedef Fragments<T> F;
  typedef Layout<T, W, M> Memory;
  constexpr int kHalf = W / 2, kMost = sizeof(T) == 2 ? 32 : 16, kGroup = kHalf < kMost ? kHalf : kMost;  // columns of a warp, at a time
  const int thread = opaque(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp, g = lane / 4, t = lane % 4, q = warp / 2 * 32;
  const typename F::template Lanes<W> lanes;
  const typename F::template Lanes<kQueries> score_lanes;
#pragma unroll 1
  for (int c0 = warp % 2 * kHalf; c0 < warp % 2 * kHalf + kHalf; c0 += kGroup) {
    const int64_t row = ((int64_t)part * s.rows_capacity + h.first_query + q0 + q + g) * s.A + h.head;
    float2* at = (float2*)(work.partial + row * W + c0 + 2 * t);
    float2 before[4][kGroup / 8];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int n = 0; n < kGroup / 8; n++)
        before[i][n] = !first && q0 + q + 8 * i + g < h.Lq ? at[(int64_t)(8 * i) * s.A * (W / 2) + 4 * n] : make_float2(0.0f, 0.0f);
    float sums[2][kGroup / 8][4] = {};
#pragma unroll(sizeof(T) == 2 ? 2 : 1)
    for (int k = 0; k < count; k += 16) {
      typename F::A a[2];
#pragma unroll
      for (int m = 0; m < 2; m++) F::load_a_turned(a[m], Memory::kScores + k * Memory::kScoreRow, score_lanes, 0, q + 16 * m);
#pragma unroll
      for (int n = 0; n < kGroup / 16; n++) {
        typename F::B b;
        F::load_b_turned(b, k * Memory::kRow, lanes, 0, c0 + 16 * n);
#pragma unroll
        for (int m = 0; m < 2; m++) F::multiply(sums[m][2 * n], sums[m][2 * n + 1], a[m], b);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int query = q0 + q + 8 * i + g;
      if (query >= h.Lq) continue;
#pragma unroll
      for (int n = 0; n < kGroup / 8; n++) {
        const float2 x = make_float2(before[i][n].x + sums[i / 2][n][i % 2 * 2], before[i][n].y + sums[i / 2][n][i % 2 * 2 + 1]);
        if (last)
          save_columns(work.dq + (h.first_query + query) * s.q_stride + h.head * s.D, c0 + 8 * n + 2 * t, s.D, vector, x.x * s.scale, x.y * s.scale);
        else
          at[(int64_t)(8 * i) * s.A * (W / 2) + 4 * n] = x;
      }
    }
  }
}

}  // namespace backward
}  // namespace heads
}  // namespace cuda
}  // namespace bk
