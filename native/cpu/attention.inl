// attention: softmax(q k^T / sqrt(D)) v inside each sequence of a ragged batch, for one head at a time.
// A task is one (sequence, head). Scores exist for a block of queries only (BQ x L, in the thread's scratch), as in FlashAttention
// (Dao et al., 2022), but a whole row at once: L is at most a few thousand here, so softmax needs no running maximum.
// Products are of the type of q, k and v; scores, probabilities and sums are float32.
// Saved for the backward: lse, the log-sum-exp of each row of scaled and masked scores; probabilities are exp(score - lse).
// attention: q, k, v lie in one row of qkv, [3, A, D]. cross_attention: queries of their own, k and v in one row of kv, [2, A, D]; for
// a decoder that looks at an encoder, and for a last layer that is wanted at some tokens only. Gradients are overwritten.

/** The format of products of T. */
template <class T>
struct FormatOf {
  typedef Float32 F;
  static constexpr ElementType type = kFloat32;
};
template <>
struct FormatOf<bf16> {
  typedef Bfloat16 F;
  static constexpr ElementType type = kBfloat16;
};
template <class T>
constexpr int64_t kQueries = larger(48 / FormatOf<T>::F::MR, 1) * FormatOf<T>::F::MR;  // of a block

template <class T>
struct Sequences {
  typedef typename FormatOf<T>::F F;
  static constexpr ElementType type = FormatOf<T>::type;
  const T *q, *k, *v;  // first row of each, rows q_stride or kv_stride apart
  int64_t q_stride, kv_stride;
  const int32_t *cu_queries, *cu_keys, *key_mask, *keep;  // key_mask and keep may be null
  int64_t rows, keys, count, pairs, A, D;
  bool own;  // every query is a key of its own, at the same place
  bool causal;
  Dropout drop;
  float p;

  /** q, k and v of each token side by side: every token is a query and a key. */
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
  /** Reads the attributes, which begin alike in all of these ops. */
  void options(const Run& run, Cursor& c) {
    rows = c.dim();
    keys = own ? rows : c.dim();
    count = c.dim();
    pairs = c.dim();
    A = c.dim();
    D = c.dim();
    const int64_t H = A * D;
    q_stride = own ? 3 * H : H;
    kv_stride = own ? 3 * H : 2 * H;
    if (own) k = q + H;
    v = k + H;
    causal = c.integer() != 0;
    p = c.real();
    drop = Dropout::of(run, p, c.integer(), nullptr);
  }

  float scale() const { return 1.0f / __builtin_sqrtf((float)D); }

  /** Borders from 0 to `end` in steps of at least `least`. */
  static Status check_borders(const char* where, const int32_t* cu, int64_t count, int64_t end, int least) {
    if (cu[0] != 0) return {where, 0, cu[0], 0, 1};
    for (int64_t b = 0; b < count; b++)
      if (cu[b + 1] < cu[b] + least || cu[b + 1] > end) return {where, b + 1, cu[b + 1], cu[b] + least, end + 1};
    if (cu[count] != end) return {where, count, cu[count], end, end + 1};
    return kOk;
  }
  Status check() const {
    if (count * A > INT32_MAX) return {"heads of all sequences", 0, count * A, 0, (int64_t)INT32_MAX + 1};
    Status s = check_borders(own ? "cu_seqlens" : "cu_keys", cu_keys, count, keys, 1);
    if (!s.where && !own) s = check_borders("cu_queries", cu_queries, count, rows, 0);
    return s.where || !keep ? s : check_pairs();
  }

  /** Queries times keys of the sequences before `b`. */
  int64_t pairs_before(int64_t b) const {
    int64_t sum = 0;
    for (int64_t i = 0; i < b; i++) sum += (int64_t)(cu_queries[i + 1] - cu_queries[i]) * (cu_keys[i + 1] - cu_keys[i]);
    return sum;
  }
  Status check_pairs() const {
    const int64_t expected = pairs_before(count);
    return expected == pairs ? kOk : Status{"pairs", 0, pairs, expected, expected + 1};
  }
};

/** One head of one sequence. */
template <class T>
struct Head {
  typedef typename FormatOf<T>::F F;
  typedef typename F::Packed Packed;
  static constexpr Elements elements = FormatOf<T>::type == kBfloat16 ? kHalf : kReal;
  static constexpr Elements scratch = FormatOf<T>::type == kBfloat16 ? kRounded : kReal;  // float32 in a product of T
  const Sequences<T>& s;
  int64_t first_query, Lq, first_key, L, Lp, head;  // L keys; Lp: L rounded up to whole panels
  int64_t last;                                     // keys that the last causal query may see
  const int32_t* keep;                              // of the first query; may be null
  int64_t keep_stride;

  Head(const Sequences<T>& sequences, int64_t index)
      : s(sequences),
        first_query(s.cu_queries[index / s.A]),
        Lq(s.cu_queries[index / s.A + 1] - first_query),
        first_key(s.cu_keys[index / s.A]),
        L(s.cu_keys[index / s.A + 1] - first_key),
        Lp(round_up(L, F::NR)),
        head(index % s.A),
        last(s.own ? L : visible_keys()),
        keep(s.keep ? s.keep + s.pairs_before(index / s.A) * s.A + head * Lq * L : nullptr),
        keep_stride(L) {}

  /** Keys up to the last one that is not hidden, at least one. */
  int64_t visible_keys() const {
    int64_t n = L;
    while (s.key_mask && n > 1 && !s.key_mask[first_key + n - 1]) n--;
    return n;
  }

  /** Leaves out the hidden keys at the end, such as the free rows of a cache: their probability is 0, so no bit changes. */
  void trim() {
    L = visible_keys();
    Lp = round_up(L, F::NR);
  }

  /** Element offsets of this head's first row: among the queries and the keys or values, in [rows, A, D], and in [rows, A]. */
  int64_t in_q() const { return first_query * s.q_stride + head * s.D; }
  int64_t in_kv() const { return first_key * s.kv_stride + head * s.D; }
  int64_t in_context() const { return (first_query * s.A + head) * s.D; }
  int64_t in_lse() const { return first_query * s.A + head; }

  Matrix queries(int64_t q0) const { return {s.q + in_q() + q0 * s.q_stride, s.q_stride, 1, elements}; }
  Matrix keys() const { return {s.k + in_kv(), s.kv_stride, 1, elements}; }
  Matrix keys_turned() const { return {s.k + in_kv(), 1, s.kv_stride, elements}; }
  Matrix values() const { return {s.v + in_kv(), s.kv_stride, 1, elements}; }
  Matrix values_turned() const { return {s.v + in_kv(), 1, s.kv_stride, elements}; }

  /** Draws what dropout keeps of the probabilities of queries q0 .. q0 + m. A row of the stream is one (query, head). */
  void draw(int64_t q0, int64_t m, uint32_t* kept) const {
    if (s.p > 0 && !keep) s.drop.draw((first_query + q0) * s.A + head, s.A, m, L, kept);
  }
  /** Room for the words of m queries. */
  static int64_t drawn_words(int64_t m, int64_t L) { return m * Dropout::words(L) + W; }

  /** Dropout of row i of these queries, in place. */
  void drop(float* row, int64_t q0, int64_t i, const uint32_t* kept) const {
    if (s.p <= 0) return;
    if (keep)
      s.drop.apply_given(row, row, keep + (q0 + i) * keep_stride, L);
    else
      s.drop.apply_drawn(row, row, kept + i * Dropout::words(L), L);
  }

  /** scores[m x Lp] of queries q0 .. q0 + m, unscaled; `strip` is scratch for the packed queries. */
  void scores(int64_t q0, int64_t m, const Packed* key_panels, Packed* strip, float* out) const {
    pack_a<F>(queries(q0), m, s.D, strip);
    multiply_packed<F>(m, Lp, s.D, strip, key_panels, {out, Lp, kFloat32}, false);
  }

  /** Scales row i and hides what it may not see behind -inf, padding columns too. Whether it sees anything at all. */
  bool mask(float* row, int64_t i) const {
    const f32 factor = set1(s.scale());
    for (int64_t j = 0; j < Lp; j += W) store(row + j, load(row + j) * factor);
    const int64_t visible = s.causal ? smaller(L, larger(0, last - Lq + i + 1)) : L;
    for (int64_t j = visible; j < Lp; j++) row[j] = -__builtin_inff();
    if (!s.key_mask) return visible > 0;
    bool any = false;
    for (int64_t j = 0; j < visible; j++) {
      if (s.key_mask[first_key + j])
        any = true;
      else
        row[j] = -__builtin_inff();
    }
    return any;
  }

  /** row = exp(row - lse) over the padded row; a row that sees nothing has lse = inf and becomes 0. */
  void probabilities(float* row, float lse) const {
    for (int64_t j = 0; j < Lp; j += W) store(row + j, exp_below_88(load(row + j) - lse));
  }

  /** Of row i of these queries: d = P (dropout(d) - delta) / sqrt(D), P = dropout(P). */
  void score_gradients(float* P, float* d, float delta, int64_t q0, int64_t i, const uint32_t* kept) const {
    const f32 factor = set1(s.scale()), enlarged = set1(s.drop.scale);
    if (s.p > 0 && !keep) {  // beyond L are rows' own places, which nobody reads
      Dropout::for_columns(kept + i * Dropout::words(L), L, [&](int64_t j, int, i32 kept) {
        const f32 p = load(P + j);
        store(d + j, p * (select(kept, load(d + j) * enlarged, f32{}) - delta) * factor);
        store(P + j, select(kept, p * enlarged, f32{}));
      });
      return;
    }
    drop(d, q0, i, kept);
    for (int64_t j = 0; j < Lp; j += W) store(d + j, load(P + j) * (load(d + j) - delta) * factor);
    drop(P, q0, i, kept);
  }
};

/** The row of a query that sees nothing: probabilities 0; returns its lse, +inf. */
static float see_nothing(float* row, int64_t Lp) {
  memset(row, 0, (size_t)Lp * 4);
  return __builtin_inff();
}

/** softmax in place; returns lse. Some key is visible; a NaN among the scores makes the whole row NaN. */
static float softmax(float* row, int64_t Lp) {
  f32 top = load(row);
  for (int64_t j = W; j < Lp; j += W) top = max(top, load(row + j));
  const float m = reduce_max(top);
  f32 sum = {};
  for (int64_t j = 0; j < Lp; j += W) {
    const f32 e = exp_below_88(load(row + j) - m);
    store(row + j, e);
    sum = sum + e;
  }
  const float total = reduce_add(sum);
  const f32 inverse = set1(1.0f / total);
  for (int64_t j = 0; j < Lp; j += W) store(row + j, load(row + j) * inverse);
  return m + (float)__builtin_log((double)total);
}

/** Scratch of a task, taken piece after piece. */
struct Pieces {
  char* at;

  template <class T>
  T* take(int64_t n) {
    char* piece = at;
    at += round_up(n * (int64_t)sizeof(T), 64);
    return (T*)piece;
  }
};

template <class T>
static Status attend(Run& run, const Sequences<T>& s, T* context, float* lse) {
  typedef typename FormatOf<T>::F F;
  typedef typename F::Packed Packed;
  constexpr int64_t BQ = kQueries<T>;
  const Status bad = s.check();
  if (bad.where) return bad;
  const int64_t A = s.A, D = s.D;
  parallel(run, s.count * A, [&](int index, int thread) {
    Head<T> h(s, index);
    if (h.Lq == 0) return;
    h.trim();
    const TileState state(sizeof(Packed) == 2);
    Pieces pieces = {run.local[thread]};
    auto* keys = pieces.take<Packed>(padded<F>(D) * h.Lp);
    auto* values = pieces.take<Packed>(padded<F>(h.L) * round_up(D, F::NR));
    auto* scores = pieces.take<float>(BQ * h.Lp);
    auto* strip = pieces.take<Packed>(BQ * padded<F>(larger(D, h.L)));
    auto* kept = pieces.take<uint32_t>(h.drawn_words(BQ, h.L));
    pack_b<F>(h.keys_turned(), D, h.L, keys);
    pack_b<F>(h.values(), h.L, D, values);
    for (int64_t q0 = 0; q0 < h.Lq; q0 += BQ) {
      const int64_t m = smaller(BQ, h.Lq - q0);
      h.scores(q0, m, keys, strip, scores);
      h.draw(q0, m, kept);
      for (int64_t i = 0; i < m; i++) {
        float* row = scores + i * h.Lp;
        lse[h.in_lse() + (q0 + i) * A] = h.mask(row, q0 + i) ? softmax(row, h.Lp) : see_nothing(row, h.Lp);
        h.drop(row, q0, i, kept);
      }
      pack_a<F>({scores, h.Lp, 1, h.scratch}, m, h.L, strip);
      multiply_packed<F>(m, D, h.L, strip, values, {context + h.in_context() + q0 * A * D, A * D, s.type}, false);
    }
  });
  return kOk;
}
static Scratch attend_scratch(ElementType type, int64_t L, int64_t D) {
  return with_type(type, [&](auto element) -> Scratch {
    typedef typename FormatOf<decltype(element)>::F F;
    constexpr int64_t BQ = kQueries<decltype(element)>, size = sizeof(typename F::Packed);
    const int64_t Lp = round_up(L, F::NR), Dp = round_up(D, F::NR), largest = padded<F>(larger(D, L));
    return {0, (padded<F>(D) * Lp + padded<F>(L) * Dp + BQ * largest) * size + (BQ * Lp + Head<decltype(element)>::drawn_words(BQ, L)) * 4 + 5 * 64};
  });
}

static Status attention(Run& run, const Call& call) {
  return with_type((ElementType)call.attributes[BK_PLACE(attention, type)], [&](auto element) {
    typedef decltype(element) T;
    Cursor c(call);
    const T* qkv = (T*)c.any();
    const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T* context = (T*)c.any();
    float* lse = c.f32();
    auto s = Sequences<T>::self(qkv, cu_seqlens, key_mask, keep);
    s.options(run, c);
    return attend(run, s, context, lse);
  });
}
static Scratch attention_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return attend_scratch((ElementType)at[BK_PLACE(attention, type)], at[BK_PLACE(attention, rows)], at[BK_PLACE(attention, D)]);
}

static Status cross_attention(Run& run, const Call& call) {
  return with_type((ElementType)call.attributes[BK_PLACE(cross_attention, type)], [&](auto element) {
    typedef decltype(element) T;
    Cursor c(call);
    const T *q = (T*)c.any(), *kv = (T*)c.any();
    const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T* context = (T*)c.any();
    float* lse = c.f32();
    auto s = Sequences<T>::cross(q, kv, cu_queries, cu_keys, key_mask, keep);
    s.options(run, c);
    return attend(run, s, context, lse);
  });
}
static Scratch cross_attention_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return attend_scratch((ElementType)at[BK_PLACE(cross_attention, type)], at[BK_PLACE(cross_attention, keys)], at[BK_PLACE(cross_attention, D)]);
}
