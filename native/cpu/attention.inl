// attention: softmax(q k^T / sqrt(D)) v inside each sequence of a ragged batch, for one head at a time.
// A task is one (sequence, head). Scores exist for a block of queries only (BQ x L, in the thread's scratch), as in FlashAttention
// (Dao et al., 2022), but a whole row at once: L is at most a few thousand here, so softmax needs no running maximum.
// Saved for the backward: lse, the log-sum-exp of each row of scaled and masked scores; probabilities are exp(score - lse).
// attention: q, k, v lie in one row of qkv, [3, A, D]. cross_attention: queries of their own, k and v in one row of kv, [2, A, D]; for
// a decoder that looks at an encoder, and for a last layer that is wanted at some tokens only. Gradients are overwritten.
constexpr int64_t BQ = (48 / MR) * MR;  // queries of a block

struct Sequences {
  const float *q, *k, *v;  // first row of each, rows q_stride or kv_stride apart
  int64_t q_stride, kv_stride;
  const int32_t *cu_queries, *cu_keys, *key_mask;  // key_mask may be null
  int64_t rows, keys, count, A, D;
  bool own;  // every query is a key of its own, at the same place
  bool causal;
  Dropout drop;
  float p;

  /** q, k and v of each token side by side: every token is a query and a key. */
  static Sequences self(const float* qkv, const int32_t* cu_seqlens, const int32_t* key_mask, int64_t rows, int64_t count, int64_t A, int64_t D) {
    const int64_t H = A * D;
    return {qkv, qkv + H, qkv + 2 * H, 3 * H, 3 * H, cu_seqlens, cu_seqlens, key_mask, rows, rows, count, A, D, true};
  }
  static Sequences cross(const float* q, const float* kv, const int32_t* cu_queries, const int32_t* cu_keys, const int32_t* key_mask, int64_t rows,
                         int64_t keys, int64_t count, int64_t A, int64_t D) {
    const int64_t H = A * D;
    return {q, kv, kv + H, H, 2 * H, cu_queries, cu_keys, key_mask, rows, keys, count, A, D, false};
  }
  void options(const Run& run, Cursor& c) {
    causal = c.integer() != 0;
    p = c.real();
    drop = Dropout::of(run, p, c.integer());
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
    if (own) return check_borders("cu_seqlens", cu_keys, count, keys, 1);
    const Status s = check_borders("cu_keys", cu_keys, count, keys, 1);
    return s.where ? s : check_borders("cu_queries", cu_queries, count, rows, 0);
  }
};

/** One head of one sequence. */
struct Head {
  const Sequences& s;
  int64_t first_query, Lq, first_key, L, Lp, head;  // L keys; Lp: L rounded up to whole panels
  int64_t last;                                     // keys that the last causal query may see

  Head(const Sequences& sequences, int64_t index)
      : s(sequences),
        first_query(s.cu_queries[index / s.A]),
        Lq(s.cu_queries[index / s.A + 1] - first_query),
        first_key(s.cu_keys[index / s.A]),
        L(s.cu_keys[index / s.A + 1] - first_key),
        Lp(round_up(L, NR)),
        head(index % s.A),
        last(s.own ? L : visible_keys()) {}

  /** Keys up to the last one that is not hidden, at least one. */
  int64_t visible_keys() const {
    int64_t n = L;
    while (s.key_mask && n > 1 && !s.key_mask[first_key + n - 1]) n--;
    return n;
  }

  /** Leaves out the hidden keys at the end, such as the free rows of a cache: their probability is 0, so no bit changes. */
  void trim() {
    L = visible_keys();
    Lp = round_up(L, NR);
  }

  /** Element offsets of this head's first row: among the queries and the keys or values, in [rows, A, D], and in [rows, A]. */
  int64_t in_q() const { return first_query * s.q_stride + head * s.D; }
  int64_t in_kv() const { return first_key * s.kv_stride + head * s.D; }
  int64_t in_context() const { return (first_query * s.A + head) * s.D; }
  int64_t in_lse() const { return first_query * s.A + head; }

  const float* queries(int64_t q0) const { return s.q + in_q() + q0 * s.q_stride; }
  const float* keys() const { return s.k + in_kv(); }
  const float* values() const { return s.v + in_kv(); }

  /** Dropout row of query i: unique in the batch for (query, head). */
  int64_t dropout_row(int64_t i) const { return (first_query + i) * s.A + head; }

  /** scores[m x Lp] of queries q0 .. q0 + m, unscaled; `strip` is scratch for the packed queries. */
  void scores(int64_t q0, int64_t m, const float* key_panels, float* strip, float* out) const {
    pack_a({queries(q0), s.q_stride, 1}, m, s.D, strip);
    multiply_packed(round_up(m, MR), Lp, s.D, strip, key_panels, out, Lp, false, NoEpilogue());
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
    for (int64_t j = 0; j < Lp; j += W) store(row + j, exp(load(row + j) - lse));
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
    const f32 e = exp(load(row + j) - m);
    store(row + j, e);
    sum = sum + e;
  }
  const float total = reduce_add(sum);
  const f32 inverse = set1(1.0f / total);
  for (int64_t j = 0; j < Lp; j += W) store(row + j, load(row + j) * inverse);
  return m + (float)__builtin_log((double)total);
}

static Status attend(Run& run, const Sequences& s, float* context, float* lse) {
  const Status bad = s.check();
  if (bad.where) return bad;
  const int64_t A = s.A, D = s.D;
  parallel(run, s.count * A, [&](int index, int thread) {
    Head h(s, index);
    if (h.Lq == 0) return;
    h.trim();
    float* keys = (float*)run.local[thread];         // D x Lp
    float* values = keys + D * h.Lp;                 // L x round_up(D)
    float* scores = values + h.L * round_up(D, NR);  // BQ x Lp
    float* strip = scores + BQ * h.Lp;               // BQ x max(D, L)
    pack_b({h.keys(), 1, s.kv_stride}, D, h.L, keys);
    pack_b({h.values(), s.kv_stride, 1}, h.L, D, values);
    for (int64_t q0 = 0; q0 < h.Lq; q0 += BQ) {
      const int64_t m = smaller(BQ, h.Lq - q0);
      h.scores(q0, m, keys, strip, scores);
      for (int64_t i = 0; i < m; i++) {
        float* row = scores + i * h.Lp;
        lse[h.in_lse() + (q0 + i) * A] = h.mask(row, q0 + i) ? softmax(row, h.Lp) : see_nothing(row, h.Lp);
        if (s.p > 0) s.drop.apply(row, row, h.dropout_row(q0 + i), h.L);
      }
      pack_a({scores, h.Lp, 1}, m, h.L, strip);
      multiply_packed(m, D, h.L, strip, values, context + h.in_context() + q0 * A * D, A * D, false, NoEpilogue());
    }
  });
  return kOk;
}
static Scratch attend_scratch(int64_t L, int64_t D) {
  const int64_t Lp = round_up(L, NR), Dp = round_up(D, NR);
  return {0, (size_t)(D * Lp + L * Dp + BQ * Lp + BQ * larger(D, L)) * 4};
}

static Status attention(Run& run, const Call& call) {
  Cursor c(call);
  const float* qkv = c.f32();
  const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32();
  float *context = c.f32(), *lse = c.f32();
  const int64_t rows = c.dim(), seqs = c.dim(), A = c.dim(), D = c.dim();
  Sequences s = Sequences::self(qkv, cu_seqlens, key_mask, rows, seqs, A, D);
  s.options(run, c);
  return attend(run, s, context, lse);
}
static Scratch attention_scratch(const Call& call) { return attend_scratch(call.attributes[0], call.attributes[3]); }

static Status cross_attention(Run& run, const Call& call) {
  Cursor c(call);
  const float *q = c.f32(), *kv = c.f32();
  const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32();
  float *context = c.f32(), *lse = c.f32();
  const int64_t rows = c.dim(), keys = c.dim(), seqs = c.dim(), A = c.dim(), D = c.dim();
  Sequences s = Sequences::cross(q, kv, cu_queries, cu_keys, key_mask, rows, keys, seqs, A, D);
  s.options(run, c);
  return attend(run, s, context, lse);
}
static Scratch cross_attention_scratch(const Call& call) { return attend_scratch(call.attributes[1], call.attributes[4]); }

/**
 * With P the probabilities, P' = dropout(P), O = P' v and delta = rowsum(dO O):
 * dv = P'^T dO; dS = P (dropout(dO v^T) - delta) / sqrt(D); dq = dS k; dk = dS^T q. dq, or dk and dv, may be null.
 */
static Status attend_backward(Run& run, const Sequences& s, const float* dcontext, const float* context, const float* lse, float* dq, float* dk, float* dv) {
  const Status bad = s.check();
  if (bad.where) return bad;
  const int64_t A = s.A, D = s.D, H = A * D, Dp = round_up(D, NR);
  parallel(run, s.count * A, [&](int index, int thread) {
    const Head h(s, index);
    if (h.Lq == 0 && dk)
      for (int64_t j = 0; j < h.L; j++) {
        memset(dk + h.in_kv() + j * s.kv_stride, 0, (size_t)D * 4);
        memset(dv + h.in_kv() + j * s.kv_stride, 0, (size_t)D * 4);
      }
    if (h.Lq == 0) return;
    float* keys_t = (float*)run.local[thread];  // k^T: D x Lp
    float* values_t = keys_t + D * h.Lp;        // v^T: D x Lp
    float* keys = values_t + D * h.Lp;          // k: L x Dp
    float* block = keys + h.L * Dp;             // q or dO of the block: BQ x Dp
    float* P = block + BQ * Dp;                 // BQ x Lp
    float* dS = P + BQ * h.Lp;                  // BQ x Lp
    float* strip = dS + BQ * h.Lp;              // BQ x max(D, L), or L x BQ
    pack_b({h.keys(), 1, s.kv_stride}, D, h.L, keys_t);
    pack_b({h.values(), 1, s.kv_stride}, D, h.L, values_t);
    if (dq) pack_b({h.keys(), s.kv_stride, 1}, h.L, D, keys);
    for (int64_t q0 = 0; q0 < h.Lq; q0 += BQ) {
      const int64_t m = smaller(BQ, h.Lq - q0);
      const float *dO = dcontext + h.in_context() + q0 * H, *O = context + h.in_context() + q0 * H;
      h.scores(q0, m, keys_t, strip, P);
      pack_a({dO, H, 1}, m, D, strip);
      multiply_packed(round_up(m, MR), h.Lp, D, strip, values_t, dS, h.Lp, false, NoEpilogue());
      for (int64_t i = 0; i < m; i++) {
        float *probs = P + i * h.Lp, *d = dS + i * h.Lp;
        h.mask(probs, q0 + i);
        h.probabilities(probs, lse[h.in_lse() + (q0 + i) * A]);
        const float delta = sum_columns(D, [&](int64_t j, int n) { return load_columns(dO + i * H + j, n) * load_columns(O + i * H + j, n); });
        if (s.p > 0) s.drop.apply(d, d, h.dropout_row(q0 + i), h.L);
        const f32 factor = set1(s.scale());
        for (int64_t j = 0; j < h.Lp; j += W) store(d + j, load(probs + j) * (load(d + j) - delta) * factor);
        if (s.p > 0) s.drop.apply(probs, probs, h.dropout_row(q0 + i), h.L);
      }
      if (dq) {
        pack_a({dS, h.Lp, 1}, m, h.L, strip);
        multiply_packed(m, D, h.L, strip, keys, dq + h.in_q() + q0 * s.q_stride, s.q_stride, false, NoEpilogue());
      }
      if (!dk) continue;
      pack_a({dS, 1, h.Lp}, h.L, m, strip);
      pack_b({h.queries(q0), s.q_stride, 1}, m, D, block);
      multiply_packed(h.L, D, m, strip, block, dk + h.in_kv(), s.kv_stride, q0 > 0, NoEpilogue());
      pack_a({P, 1, h.Lp}, h.L, m, strip);
      pack_b({dO, H, 1}, m, D, block);
      multiply_packed(h.L, D, m, strip, block, dv + h.in_kv(), s.kv_stride, q0 > 0, NoEpilogue());
    }
  });
  return kOk;
}
static Scratch attend_backward_scratch(int64_t L, int64_t D) {
  const int64_t Lp = round_up(L, NR), Dp = round_up(D, NR);
  return {0, (size_t)(2 * D * Lp + L * Dp + BQ * Dp + 2 * BQ * Lp + BQ * larger(D, round_up(L, MR))) * 4};
}

static Status attention_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float *dcontext = c.f32(), *qkv = c.f32(), *context = c.f32(), *lse = c.f32();
  const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32();
  float* dqkv = c.f32();
  const int64_t rows = c.dim(), seqs = c.dim(), A = c.dim(), D = c.dim(), H = A * D;
  Sequences s = Sequences::self(qkv, cu_seqlens, key_mask, rows, seqs, A, D);
  s.options(run, c);
  return attend_backward(run, s, dcontext, context, lse, dqkv, dqkv + H, dqkv + 2 * H);
}
static Scratch attention_backward_scratch(const Call& call) { return attend_backward_scratch(call.attributes[0], call.attributes[3]); }

static Status cross_attention_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float *dcontext = c.f32(), *q = c.f32(), *kv = c.f32(), *context = c.f32(), *lse = c.f32();
  const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32();
  float *dq = c.f32(), *dkv = c.f32();
  const int64_t rows = c.dim(), keys = c.dim(), seqs = c.dim(), A = c.dim(), D = c.dim();
  Sequences s = Sequences::cross(q, kv, cu_queries, cu_keys, key_mask, rows, keys, seqs, A, D);
  s.options(run, c);
  return attend_backward(run, s, dcontext, context, lse, dq, dkv, dkv ? dkv + A * D : nullptr);
}
static Scratch cross_attention_backward_scratch(const Call& call) { return attend_backward_scratch(call.attributes[1], call.attributes[4]); }

/** The probabilities themselves, [A, queries, keys] for each sequence in turn; only for callers that ask to see them. */
static Status attend_probs(Run& run, const Sequences& s, const float* lse, int64_t pairs, float* probs) {
  const Status bad = s.check();
  if (bad.where) return bad;
  const int64_t A = s.A;
  const auto pairs_of = [&](int64_t b) { return (int64_t)(s.cu_queries[b + 1] - s.cu_queries[b]) * (s.cu_keys[b + 1] - s.cu_keys[b]); };
  int64_t products = 0;
  for (int64_t b = 0; b < s.count; b++) products += pairs_of(b);
  if (products != pairs) return {"pairs", 0, pairs, products, products + 1};
  parallel(run, s.count * A, [&](int index, int thread) {
    const Head h(s, index);
    int64_t before = 0;  // pairs of the sequences before this one
    for (int64_t b = 0; b < index / A; b++) before += pairs_of(b);
    float* out = probs + (before * A + h.head * h.Lq * h.L);
    float* keys = (float*)run.local[thread];
    float* scores = keys + s.D * h.Lp;
    float* strip = scores + BQ * h.Lp;
    pack_b({h.keys(), 1, s.kv_stride}, s.D, h.L, keys);
    for (int64_t q0 = 0; q0 < h.Lq; q0 += BQ) {
      const int64_t m = smaller(BQ, h.Lq - q0);
      h.scores(q0, m, keys, strip, scores);
      for (int64_t i = 0; i < m; i++) {
        float* row = scores + i * h.Lp;
        h.mask(row, q0 + i);
        h.probabilities(row, lse[h.in_lse() + (q0 + i) * A]);
        if (s.p > 0) s.drop.apply(row, row, h.dropout_row(q0 + i), h.L);
        memcpy(out + (q0 + i) * h.L, row, (size_t)h.L * 4);
      }
    }
  });
  return kOk;
}
static Scratch attend_probs_scratch(int64_t L, int64_t D) {
  const int64_t Lp = round_up(L, NR);
  return {0, (size_t)(D * Lp + BQ * Lp + BQ * D) * 4};
}

static Status attention_probs(Run& run, const Call& call) {
  Cursor c(call);
  const float *qkv = c.f32(), *lse = c.f32();
  const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32();
  float* probs = c.f32();
  const int64_t rows = c.dim(), seqs = c.dim(), pairs = c.dim(), A = c.dim(), D = c.dim();
  Sequences s = Sequences::self(qkv, cu_seqlens, key_mask, rows, seqs, A, D);
  s.options(run, c);
  return attend_probs(run, s, lse, pairs, probs);
}
static Scratch attention_probs_scratch(const Call& call) { return attend_probs_scratch(call.attributes[0], call.attributes[4]); }

static Status cross_attention_probs(Run& run, const Call& call) {
  Cursor c(call);
  const float *q = c.f32(), *kv = c.f32(), *lse = c.f32();
  const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32();
  float* probs = c.f32();
  const int64_t rows = c.dim(), keys = c.dim(), seqs = c.dim(), pairs = c.dim(), A = c.dim(), D = c.dim();
  Sequences s = Sequences::cross(q, kv, cu_queries, cu_keys, key_mask, rows, keys, seqs, A, D);
  s.options(run, c);
  return attend_probs(run, s, lse, pairs, probs);
}
static Scratch cross_attention_probs_scratch(const Call& call) { return attend_probs_scratch(call.attributes[1], call.attributes[5]); }
