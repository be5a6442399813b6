// What the kernels of attention share: the sequences of a ragged batch (../cpu/attention.inl), which part of which one a block of threads
// works on, and what a query sees. Lengths are known on the device only: a grid has blocks for as many parts as the capacities allow, and
// each block finds its own among the borders.
#pragma once
#include "dropout.cuh"

namespace bk {
namespace cuda {
namespace heads {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

/** The same on every thread of a block of whole warps: `combine` of what all of them bring, in a fixed order. */
template <class Value, class Combine>
__device__ Value block_combine(Value x, Combine combine) {
  __shared__ Value values[kWarp];
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x = combine(x, __shfl_xor_sync(0xffffffffu, x, offset));
  __syncthreads();  // what a call before this one left has been read
  if (threadIdx.x % kWarp == 0) values[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = values[0];
  for (int i = 1; i < (int)blockDim.x / kWarp; i++) x = combine(x, values[i]);
  return x;
}
struct Sum {
  __device__ long long operator()(long long a, long long b) const { return a + b; }
};
struct Larger {
  __device__ int operator()(int a, int b) const { return a > b ? a : b; }
};

/** Borders from 0 to `end` in steps of at least `least`. By all threads of one block. */
__device__ inline void check_borders(const Checked& ok, const int32_t* cu, int count, int end, int least) {
  for (int b = threadIdx.x; b <= count; b += blockDim.x) {
    const bool good = b == 0 ? ok(cu[0], 0, 1, 0) : ok(cu[b], (int64_t)cu[b - 1] + least, (int64_t)end + 1, b);
    if (good && b == count) ok(cu[b], end, (int64_t)end + 1, b);
  }
}

/** A part of a sequence: a block of queries, or some of the keys. */
struct Place {
  int sequence, part, first_query, Lq, first_key, L;
};

/** Queries or keys of a sequence in blocks of so many. */
struct Blocks {
  int size;
  bool of_keys;
  __device__ int operator()(const Place& place) const { return ((of_keys ? place.L : place.Lq) + size - 1) / size; }
  /** At most so many are there in all sequences. */
  __host__ __device__ int most(int rows, int sequences) const { return rows / size + sequences; }
};

/** That of this block of threads. */
__device__ inline Place& block_place() {
  __shared__ Place place;
  return place;
}

/** q, k and v of a batch: in one row of qkv, [3, A, D], or queries of their own and k and v in one row of kv, [2, A, D]. */
template <class T>
struct Sequences {
  const T *q, *k, *v;                                     // first row of each, rows q_stride or kv_stride apart
  const int32_t *cu_queries, *cu_keys, *key_mask, *keep;  // key_mask and keep may be null
  const int32_t *rows, *keys, *count, *pairs;             // counts
  const RunState* state;
  Checked key_borders, query_borders, pair_count;
  int rows_capacity, keys_capacity, count_capacity;
  int q_stride, kv_stride, A, D;
  float scale, factor, p;  // of scores: 1 / sqrt(D), and the same for powers of two; of dropout
  uint32_t site;
  bool own;  // every query is a key of its own, at the same place
  bool causal;
  bool check_pairs;

  static Sequences self(const T* qkv, const int32_t* cu_seqlens, const int32_t* key_mask, const int32_t* keep) {
    Sequences s = {};
    s.q = qkv;
    s.cu_queries = s.cu_keys = cu_seqlens;
    s.key_mask = key_mask;
    s.keep = keep;
    s.own = true;
    return s;
  }
  static Sequences cross(const T* q, const T* kv, const int32_t* cu_queries, const int32_t* cu_keys, const int32_t* key_mask, const int32_t* keep) {
    Sequences s = {};
    s.q = q;
    s.k = kv;
    s.cu_queries = cu_queries;
    s.cu_keys = cu_keys;
    s.key_mask = key_mask;
    s.keep = keep;
    return s;
  }
  /** Reads the attributes, which begin alike in all of these ops, and declares the checks. */
  void options(Launch& launch, Operands& c, bool of_pairs = false) {
    const Rows queries = c.rows(), others = own ? queries : c.rows(), sequences = c.rows(), pair_rows = c.rows();
    rows = queries.count;
    keys = others.count;
    count = sequences.count;
    pairs = pair_rows.count;
    rows_capacity = queries.capacity;
    keys_capacity = others.capacity;
    count_capacity = sequences.capacity;
    A = c.dim();
    D = c.dim();
    scale = 1.0f / sqrtf((float)D);
    factor = scale * kLog2E;
    const int H = A * D;
    q_stride = own ? 3 * H : H;
    kv_stride = own ? 3 * H : 2 * H;
    if (own) k = q + H;
    v = k + H;
    causal = c.flag();
    p = c.real();
    site = (uint32_t)c.integer();
    state = launch.state;
    check_pairs = of_pairs || keep;
    key_borders = launch.check(own ? "cu_seqlens" : "cu_keys", cu_keys, 1, 1, others.symbol, true);
    if (!own) query_borders = launch.check("cu_queries", cu_queries, 0, 1, queries.symbol, true);
    if (check_pairs) pair_count = launch.check("pairs", nullptr, 0, 0, pair_rows.symbol);
  }

  /** Rows of q, k, v and of the gradients begin at whole 16 bytes. */
  bool vector() const { return D * sizeof(T) % 16 == 0; }

  /** Where a sequence lies; whatever the borders are, inside the rows. */
  __device__ Place at(int b) const {
    Place place;
    place.sequence = b;
    place.part = 0;
    place.first_query = min(max(cu_queries[b], 0), *rows);
    place.Lq = min(max(cu_queries[b + 1], place.first_query), *rows) - place.first_query;
    place.first_key = own ? place.first_query : min(max(cu_keys[b], 0), *keys);
    place.L = own ? place.Lq : min(max(cu_keys[b + 1], place.first_key), *keys) - place.first_key;
    return place;
  }

  /** Queries times keys of the sequences before `b`. By all threads of a block. */
  __device__ long long pairs_before(int b) const {
    long long sum = 0;
    for (int i = threadIdx.x; i < b; i += blockDim.x) {
      const Place place = at(i);
      sum += (long long)place.Lq * place.L;
    }
    return block_combine(sum, Sum());
  }

  /** What the CPU's kernels check before anything else. By all threads of one block. */
  __device__ void check() const {
    check_borders(key_borders, cu_keys, *count, *keys, 1);
    if (!own) check_borders(query_borders, cu_queries, *count, *rows, 0);
    if (!check_pairs) return;
    const long long expected = pairs_before(*count);
    if (threadIdx.x == 0) pair_count(*pairs, expected, expected + 1, (uint32_t)expected);
  }

  /** A grid with a block for each of these parts and each head. */
  dim3 grid(const Blocks& blocks, int depth = 1) const {
    const int most = blocks.most(blocks.of_keys ? keys_capacity : rows_capacity, count_capacity);
    return dim3(most > 0 ? most : 1, A, depth);
  }

  /** On the host: whether the kernels for 9.0 can take this batch (attention_hopper.cuh, attention_backward_hopper.cuh). */
  bool suits_warp_groups() const { return sizeof(T) == 2 && own && D == 64 && !causal && !key_mask && !keep && vector() && rows_capacity > 0; }

  /** Finds the block's part, the one with this number, where parts(place) is how many a sequence has; false if there are fewer. By all threads. */
  template <class Parts>
  __device__ bool find(int index, const Parts& parts) const {
    __shared__ int totals[kWarp];
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp, sequences = *count;
    if (index >= parts.most(parts.of_keys ? *keys : *rows, sequences)) return false;
    int before = 0;
    for (int b0 = 0; b0 < sequences; b0 += blockDim.x) {
      const int b = b0 + threadIdx.x;
      Place mine = {};
      if (b < sequences) mine = at(b);
      const int n = b < sequences ? parts(mine) : 0;
      int sum = n;
#pragma unroll
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const int other = __shfl_up_sync(0xffffffffu, sum, offset);
        if (lane >= offset) sum += other;
      }
      if (lane == kWarp - 1) totals[warp] = sum;
      __syncthreads();
      int first = before + sum - n;
      for (int i = 0; i < warps; i++) {
        if (i < warp) first += totals[i];
        before += totals[i];
      }
      if (index >= first && index < first + n) {
        Place& place = block_place();
        place = mine;
        place.part = index - first;
      }
      __syncthreads();
      if (index >= before) continue;
      return true;
    }
    return false;
  }
};

/** Static shared memory of the kernels, at most. */
constexpr int kStaticShared = 1024;

/** One head of one sequence. */
template <class T>
struct Head {
  const T *q, *k, *v;   // of its first query and key
  const int32_t* mask;  // of its first key; may be null
  const int32_t* keep;  // of its first query, rows L apart; may be null
  Dropout drop;
  int64_t first_query;  // in the batch
  int Lq, L, head;
  int seen;   // keys up to the last one that is not hidden, at least one
  int shift;  // a causal query i sees no key beyond shift + i

  /** In shared memory, so that it takes no registers from the kernels' loops. By all threads of a block, once. */
  __device__ static const Head& of(const Sequences<T>& s, const Place& place, int head) {
    __shared__ Head shared;
    Head h;
    h.q = s.q + (int64_t)place.first_query * s.q_stride + head * s.D;
    h.k = s.k + (int64_t)place.first_key * s.kv_stride + head * s.D;
    h.v = s.v + (int64_t)place.first_key * s.kv_stride + head * s.D;
    h.mask = s.key_mask ? s.key_mask + place.first_key : nullptr;
    h.keep = nullptr;
    h.drop = Dropout::of(s.state, s.p, s.site);
    h.first_query = place.first_query;
    h.Lq = place.Lq;
    h.L = h.seen = place.L;
    h.head = head;
    if (h.mask) {
      int last = 1;
      for (int j = threadIdx.x; j < h.L; j += blockDim.x)
        if (h.mask[j]) last = j + 1;
      h.seen = min(h.L, block_combine(last, Larger()));
    }
    h.shift = (s.own ? h.L : h.seen) - h.Lq;
    if (s.keep && s.p > 0) {
      const long long before = s.pairs_before(place.sequence), mine = (long long)h.Lq * h.L;
      // the run fails where the pairs are not those of the borders; nothing is read beyond them
      if (before + mine <= *s.pairs) h.keep = s.keep + before * s.A + head * mine;
    }
    if (threadIdx.x == 0) shared = h;
    __syncthreads();
    return shared;
  }

  /** Of the first `limit` keys, how many query i sees but for those that the mask hides. */
  __device__ int visible(const Sequences<T>& s, int i, int limit) const { return s.causal ? min(limit, max(0, shift + i + 1)) : limit; }

  /** Whether query i sees key j. */
  __device__ bool sees(const Sequences<T>& s, int i, int j) const { return j < visible(s, i, L) && (!mask || mask[j] != 0); }

  /** Whether dropout keeps the probability of key j for query i. */
  __device__ bool keeps(const Sequences<T>& s, int i, int j) const {
    return s.p <= 0 || (keep ? keep[(int64_t)i * L + j] != 0 : drop.keeps((uint32_t)(first_query + i) * s.A + head, j));
  }

  /** What dropout keeps of keys 64 block + 2 t + {0, 1} and those 8, 16, ... 56 from them: the bits of Dropout::two_of for j < 8. */
  __device__ uint32_t drawn(const Sequences<T>& s, int i, int block, int t) const {
    return drop.keeps_group((uint32_t)(first_query + i) * s.A + head, block / 2 * 4 + t) >> block % 2 * 4;
  }
  /** The same as `keeps` where it is given, of any query and key. */
  __device__ bool given(int i, int j) const { return i < Lq && j < L && keep[(int64_t)i * L + j] != 0; }
};

/** On the host: the element type of a record whose `attributes` others come before it. */
inline ElementType type_after(int attributes, Operands c) {
  while (attributes-- > 0) c.integer();
  return c.type();
}

}  // namespace heads
}  // namespace cuda
}  // namespace bk
