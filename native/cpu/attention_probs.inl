// The probabilities of attention and cross_attention (attention.inl), from the saved lse.

/** The probabilities themselves, [A, queries, keys] for each sequence in turn; only for callers that ask to see them. */
template <class T>
static Status attend_probs(Run& run, const Sequences<T>& s, const float* lse, float* probs) {
  typedef typename FormatOf<T>::F F;
  typedef typename F::Packed Packed;
  constexpr int64_t BQ = kQueries<T>;
  Status bad = s.check();
  if (!bad.where) bad = s.check_pairs();
  if (bad.where) return bad;
  const int64_t A = s.A;
  parallel(run, s.count * A, [&](int index, int thread) {
    const Head<T> h(s, index);
    float* out = probs + (s.pairs_before(index / A) * A + h.head * h.Lq * h.L);
    const TileState state(sizeof(Packed) == 2);
    Pieces pieces = {run.local[thread]};
    auto* keys = pieces.take<Packed>(padded<F>(s.D) * h.Lp);
    auto* scores = pieces.take<float>(BQ * h.Lp);
    auto* strip = pieces.take<Packed>(BQ * padded<F>(s.D));
    auto* kept = pieces.take<uint32_t>(h.drawn_words(BQ, h.L));
    pack_b<F>(h.keys_turned(), s.D, h.L, keys);
    for (int64_t q0 = 0; q0 < h.Lq; q0 += BQ) {
      const int64_t m = smaller(BQ, h.Lq - q0);
      h.scores(q0, m, keys, strip, scores);
      h.draw(q0, m, kept);
      for (int64_t i = 0; i < m; i++) {
        float* row = scores + i * h.Lp;
        h.mask(row, q0 + i);
        h.probabilities(row, lse[h.in_lse() + (q0 + i) * A]);
        h.drop(row, q0, i, kept);
        memcpy(out + (q0 + i) * h.L, row, (size_t)h.L * 4);
      }
    }
  });
  return kOk;
}
static Scratch attend_probs_scratch(ElementType type, int64_t L, int64_t D) {
  return with_type(type, [&](auto element) -> Scratch {
    typedef typename FormatOf<decltype(element)>::F F;
    constexpr int64_t BQ = kQueries<decltype(element)>, size = sizeof(typename F::Packed);
    const int64_t Lp = round_up(L, F::NR);
    return {0, (padded<F>(D) * Lp + BQ * padded<F>(D)) * size + (BQ * Lp + Head<decltype(element)>::drawn_words(BQ, L)) * 4 + 4 * 64};
  });
}

static Status attention_probs(Run& run, const Call& call) {
  return with_type((ElementType)call.attributes[BK_PLACE(attention_probs, type)], [&](auto element) {
    typedef decltype(element) T;
    Cursor c(call);
    const T* qkv = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    float* probs = c.f32();
    auto s = Sequences<T>::self(qkv, cu_seqlens, key_mask, keep);
    s.options(run, c);
    return attend_probs(run, s, lse, probs);
  });
}
static Scratch attention_probs_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return attend_probs_scratch((ElementType)at[BK_PLACE(attention_probs, type)], at[BK_PLACE(attention_probs, rows)], at[BK_PLACE(attention_probs, D)]);
}

static Status cross_attention_probs(Run& run, const Call& call) {
  return with_type((ElementType)call.attributes[BK_PLACE(cross_attention_probs, type)], [&](auto element) {
    typedef decltype(element) T;
    Cursor c(call);
    const T *q = (T*)c.any(), *kv = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    float* probs = c.f32();
    auto s = Sequences<T>::cross(q, kv, cu_queries, cu_keys, key_mask, keep);
    s.options(run, c);
    return attend_probs(run, s, lse, probs);
  });
}
static Scratch cross_attention_probs_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return attend_probs_scratch((ElementType)at[BK_PLACE(cross_attention_probs, type)], at[BK_PLACE(cross_attention_probs, keys)],
                              at[BK_PLACE(cross_attention_probs, D)]);
}
