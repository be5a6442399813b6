// attention: softmax(q k^T / sqrt(D)) v inside each sequence of a ragged batch, for one head at a time.
// A task is one (sequence, head). Scores exist for a block of queries only (BQ x L, in the thread's scratch), as in FlashAttention
// (Dao et al., 2022), but a whole row at once: L is at most a few thousand here, so softmax needs no running maximum.
// Saved for the backward: lse, the log-sum-exp of each row of scaled and masked scores; probabilities are exp(score - lse).
// q, k, v lie in one row of qkv: [3, A, D]. dqkv is overwritten.
constexpr int64_t BQ = (48 / MR) * MR;  // queries of a block

struct Sequences {
  const int32_t *cu_seqlens, *key_mask;  // key_mask may be null
  int64_t rows, count, A, D;
  bool causal;
  Dropout drop;
  float p;

  int64_t stride() const { return 3 * A * D; }
  float scale() const { return 1.0f / __builtin_sqrtf((float)D); }

  Status check() const {
    if (cu_seqlens[0] != 0) return {"cu_seqlens", 0, cu_seqlens[0], 0, 1};
    for (int64_t b = 0; b < count; b++)
      if (cu_seqlens[b + 1] <= cu_seqlens[b] || cu_seqlens[b + 1] > rows) return {"cu_seqlens", b + 1, cu_seqlens[b + 1], cu_seqlens[b] + 1, rows + 1};
    if (cu_seqlens[count] != rows) return {"cu_seqlens", count, cu_seqlens[count], rows, rows + 1};
    return kOk;
  }
};

/** One head of one sequence. */
struct Head {
  const Sequences& s;
  int64_t start, L, Lp, head;  // Lp: L rounded up to whole panels

  Head(const Sequences& sequences, int64_t index)
      : s(sequences), start(s.cu_seqlens[index / s.A]), L(s.cu_seqlens[index / s.A + 1] - start), Lp(round_up(L, NR)), head(index % s.A) {}

  /** Element offsets of this head's first row in qkv (part 0 q, 1 k, 2 v), in [rows, A, D], and in [rows, A]. */
  int64_t in_qkv(int part) const { return start * s.stride() + (part * s.A + head) * s.D; }
  int64_t in_context() const { return (start * s.A + head) * s.D; }
  int64_t in_lse() const { return start * s.A + head; }

  /** Dropout row of query i: unique in the batch for (query, head). */
  int64_t dropout_row(int64_t i) const { return (start + i) * s.A + head; }

  /** scores[m x Lp] of queries q0 .. q0 + m, unscaled; `strip` is scratch for the packed queries. */
  void scores(const float* qkv, int64_t q0, int64_t m, const float* key_panels, float* strip, float* out) const {
    pack_a({qkv + in_qkv(0) + q0 * s.stride(), s.stride(), 1}, m, s.D, strip);
    multiply_packed(round_up(m, MR), Lp, s.D, strip, key_panels, out, Lp, false, NoEpilogue());
  }

  /** Scales row i and hides what it may not see behind -inf, padding columns too. Whether it sees anything at all. */
  bool mask(float* row, int64_t i) const {
    const f32 factor = set1(s.scale());
    for (int64_t j = 0; j < Lp; j += W) store(row + j, load(row + j) * factor);
    const int64_t visible = s.causal ? i + 1 : L;
    for (int64_t j = visible; j < Lp; j++) row[j] = -__builtin_inff();
    if (!s.key_mask) return true;
    bool any = false;
    for (int64_t j = 0; j < visible; j++) {
      if (s.key_mask[start + j])
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

static Status attention(Run& run, const Call& call) {
  Cursor c(call);
  const float* qkv = c.f32();
  const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32();
  float *context = c.f32(), *lse = c.f32();
  const int64_t rows = c.dim(), seqs = c.dim(), A = c.dim(), D = c.dim();
  const bool causal = c.integer() != 0;
  const float p = c.real();
  const Sequences s = {cu_seqlens, key_mask, rows, seqs, A, D, causal, Dropout::of(run, p, c.integer()), p};
  const Status bad = s.check();
  if (bad.where) return bad;
  parallel(run, seqs * A, [&](int index, int thread) {
    const Head h(s, index);
    float* keys = (float*)run.local[thread];         // D x Lp
    float* values = keys + D * h.Lp;                 // L x round_up(D)
    float* scores = values + h.L * round_up(D, NR);  // BQ x Lp
    float* strip = scores + BQ * h.Lp;               // BQ x max(D, L)
    pack_b({qkv + h.in_qkv(1), 1, s.stride()}, D, h.L, keys);
    pack_b({qkv + h.in_qkv(2), s.stride(), 1}, h.L, D, values);
    for (int64_t q0 = 0; q0 < h.L; q0 += BQ) {
      const int64_t m = smaller(BQ, h.L - q0);
      h.scores(qkv, q0, m, keys, strip, scores);
      for (int64_t i = 0; i < m; i++) {
        float* row = scores + i * h.Lp;
        lse[h.in_lse() + (q0 + i) * A] = h.mask(row, q0 + i) ? softmax(row, h.Lp) : see_nothing(row, h.Lp);
        if (p > 0) s.drop.apply(row, row, h.dropout_row(q0 + i), h.L);
      }
      pack_a({scores, h.Lp, 1}, m, h.L, strip);
      multiply_packed(m, D, h.L, strip, values, context + h.in_context() + q0 * A * D, A * D, false, NoEpilogue());
    }
  });
  return kOk;
}
static Scratch attention_scratch(const Call& call) {
  const int64_t L = call.attributes[0], D = call.attributes[3], Lp = round_up(L, NR), Dp = round_up(D, NR);
  return {0, (size_t)(D * Lp + L * Dp + BQ * Lp + BQ * larger(D, L)) * 4};
}

/**
 * With P the probabilities, P' = dropout(P), O = P' v and delta = rowsum(dO O):
 * dv = P'^T dO; dS = P (dropout(dO v^T) - delta) / sqrt(D); dq = dS k; dk = dS^T q.
 */
static Status attention_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float *dcontext = c.f32(), *qkv = c.f32(), *context = c.f32(), *lse = c.f32();
  const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32();
  float* dqkv = c.f32();
  const int64_t rows = c.dim(), seqs = c.dim(), A = c.dim(), D = c.dim();
  const bool causal = c.integer() != 0;
  const float p = c.real();
  const Sequences s = {cu_seqlens, key_mask, rows, seqs, A, D, causal, Dropout::of(run, p, c.integer()), p};
  const Status bad = s.check();
  if (bad.where) return bad;
  const int64_t H = A * D, Dp = round_up(D, NR);
  parallel(run, seqs * A, [&](int index, int thread) {
    const Head h(s, index);
    float* keys_t = (float*)run.local[thread];  // k^T: D x Lp
    float* values_t = keys_t + D * h.Lp;        // v^T: D x Lp
    float* keys = values_t + D * h.Lp;          // k: L x Dp
    float* block = keys + h.L * Dp;             // q or dO of the block: BQ x Dp
    float* P = block + BQ * Dp;                 // BQ x Lp
    float* dS = P + BQ * h.Lp;                  // BQ x Lp
    float* strip = dS + BQ * h.Lp;              // BQ x max(D, L), or L x BQ
    pack_b({qkv + h.in_qkv(1), 1, s.stride()}, D, h.L, keys_t);
    pack_b({qkv + h.in_qkv(2), 1, s.stride()}, D, h.L, values_t);
    pack_b({qkv + h.in_qkv(1), s.stride(), 1}, h.L, D, keys);
    for (int64_t q0 = 0; q0 < h.L; q0 += BQ) {
      const int64_t m = smaller(BQ, h.L - q0);
      const float *dO = dcontext + h.in_context() + q0 * H, *O = context + h.in_context() + q0 * H, *q = qkv + h.in_qkv(0) + q0 * s.stride();
      h.scores(qkv, q0, m, keys_t, strip, P);
      pack_a({dO, H, 1}, m, D, strip);
      multiply_packed(round_up(m, MR), h.Lp, D, strip, values_t, dS, h.Lp, false, NoEpilogue());
      for (int64_t i = 0; i < m; i++) {
        float *probs = P + i * h.Lp, *d = dS + i * h.Lp;
        h.mask(probs, q0 + i);
        h.probabilities(probs, lse[h.in_lse() + (q0 + i) * A]);
        const float delta = sum_columns(D, [&](int64_t j, int n) { return load_columns(dO + i * H + j, n) * load_columns(O + i * H + j, n); });
        if (p > 0) s.drop.apply(d, d, h.dropout_row(q0 + i), h.L);
        const f32 factor = set1(s.scale());
        for (int64_t j = 0; j < h.Lp; j += W) store(d + j, load(probs + j) * (load(d + j) - delta) * factor);
        if (p > 0) s.drop.apply(probs, probs, h.dropout_row(q0 + i), h.L);
      }
      pack_a({dS, h.Lp, 1}, m, h.L, strip);
      multiply_packed(m, D, h.L, strip, keys, dqkv + h.in_qkv(0) + q0 * s.stride(), s.stride(), false, NoEpilogue());
      pack_a({dS, 1, h.Lp}, h.L, m, strip);
      pack_b({q, s.stride(), 1}, m, D, block);
      multiply_packed(h.L, D, m, strip, block, dqkv + h.in_qkv(1), s.stride(), q0 > 0, NoEpilogue());
      pack_a({P, 1, h.Lp}, h.L, m, strip);
      pack_b({dO, H, 1}, m, D, block);
      multiply_packed(h.L, D, m, strip, block, dqkv + h.in_qkv(2), s.stride(), q0 > 0, NoEpilogue());
    }
  });
  return kOk;
}
static Scratch attention_backward_scratch(const Call& call) {
  const int64_t L = call.attributes[0], D = call.attributes[3], Lp = round_up(L, NR), Dp = round_up(D, NR);
  return {0, (size_t)(2 * D * Lp + L * Dp + BQ * Dp + 2 * BQ * Lp + BQ * larger(D, round_up(L, MR))) * 4};
}

/** The probabilities themselves, [A, L, L] for each sequence in turn; only for callers that ask to see them. */
static Status attention_probs(Run& run, const Call& call) {
  Cursor c(call);
  const float *qkv = c.f32(), *lse = c.f32();
  const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32();
  float* probs = c.f32();
  const int64_t rows = c.dim(), seqs = c.dim(), pairs = c.dim(), A = c.dim(), D = c.dim();
  const bool causal = c.integer() != 0;
  const float p = c.real();
  const Sequences s = {cu_seqlens, key_mask, rows, seqs, A, D, causal, Dropout::of(run, p, c.integer()), p};
  const Status bad = s.check();
  if (bad.where) return bad;
  int64_t squares = 0;
  for (int64_t b = 0; b < seqs; b++) squares += (int64_t)(cu_seqlens[b + 1] - cu_seqlens[b]) * (cu_seqlens[b + 1] - cu_seqlens[b]);
  if (squares != pairs) return {"pairs", 0, pairs, squares, squares + 1};
  parallel(run, seqs * A, [&](int index, int thread) {
    const Head h(s, index);
    int64_t before = 0;  // pairs of the sequences before this one
    for (int64_t b = 0; b < index / A; b++) before += (int64_t)(cu_seqlens[b + 1] - cu_seqlens[b]) * (cu_seqlens[b + 1] - cu_seqlens[b]);
    float* out = probs + (before * A + h.head * h.L * h.L);
    float* keys = (float*)run.local[thread];
    float* scores = keys + D * h.Lp;
    float* strip = scores + BQ * h.Lp;
    pack_b({qkv + h.in_qkv(1), 1, s.stride()}, D, h.L, keys);
    for (int64_t q0 = 0; q0 < h.L; q0 += BQ) {
      const int64_t m = smaller(BQ, h.L - q0);
      h.scores(qkv, q0, m, keys, strip, scores);
      for (int64_t i = 0; i < m; i++) {
        float* row = scores + i * h.Lp;
        h.mask(row, q0 + i);
        h.probabilities(row, lse[h.in_lse() + (q0 + i) * A]);
        if (p > 0) s.drop.apply(row, row, h.dropout_row(q0 + i), h.L);
        memcpy(out + (q0 + i) * h.L, row, (size_t)h.L * 4);
      }
    }
  });
  return kOk;
}
static Scratch attention_probs_scratch(const Call& call) {
  const int64_t L = call.attributes[0], D = call.attributes[4], Lp = round_up(L, NR);
  return {0, (size_t)(D * Lp + BQ * Lp + BQ * D) * 4};
}
