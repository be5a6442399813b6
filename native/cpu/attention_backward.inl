// The gradients of attention and cross_attention (attention.inl), whose probabilities are computed again from the saved lse.

/** Sums over blocks of queries of dk or dv, [L, D]: in the gradient itself, or in float32 scratch that is rounded once at the end. */
struct KeyGradient {
  float* sums;
  int64_t stride;

  static KeyGradient of(float* gradient, int64_t stride, float*, int64_t) { return {gradient, stride}; }
  static KeyGradient of(bf16*, int64_t, float* scratch, int64_t D) { return {scratch, D}; }

  void finish(float*, int64_t, int64_t, int64_t) const {}
  void finish(bf16* gradient, int64_t gradient_stride, int64_t L, int64_t D) const {
    for (int64_t r = 0; r < L; r++)
      for (int64_t j = 0; j < D; j += W) {
        const int n = (int)smaller(W, D - j);
        store_columns(gradient + r * gradient_stride + j, load_columns(sums + r * stride + j, n), n);
      }
  }
};

/**
 * With P the probabilities, P' = dropout(P), O = P' v and delta = rowsum(dO O):
 * dv = P'^T dO; dS = P (dropout(dO v^T) - delta) / sqrt(D); dq = dS k; dk = dS^T q. dq, or dk and dv, may be null.
 */
template <class T>
static Status attend_backward(Run& run, const Sequences<T>& s, const T* dcontext, const T* context, const float* lse, T* dq, T* dk, T* dv) {
  typedef typename FormatOf<T>::F F;
  typedef typename F::Packed Packed;
  constexpr int64_t BQ = kQueries<T>;
  const Status bad = s.check();
  if (bad.where) return bad;
  const int64_t A = s.A, D = s.D, H = A * D, Dp = round_up(D, F::NR);
  parallel(run, s.count * A, [&](int index, int thread) {
    const Head<T> h(s, index);
    if (h.Lq == 0 && dk)
      for (int64_t j = 0; j < h.L; j++) {
        memset((void*)(dk + h.in_kv() + j * s.kv_stride), 0, (size_t)D * sizeof(T));
        memset((void*)(dv + h.in_kv() + j * s.kv_stride), 0, (size_t)D * sizeof(T));
      }
    if (h.Lq == 0) return;
    const TileState state(sizeof(Packed) == 2);
    Pieces pieces = {run.local[thread]};
    auto* keys_t = pieces.take<Packed>(padded<F>(D) * h.Lp);    // k^T
    auto* values_t = pieces.take<Packed>(padded<F>(D) * h.Lp);  // v^T
    auto* keys = pieces.take<Packed>(padded<F>(h.L) * Dp);      // k
    auto* block = pieces.take<Packed>(padded<F>(BQ) * Dp);      // q or dO of the block
    auto* P = pieces.take<float>(BQ * h.Lp);                    //
    auto* dS = pieces.take<float>(BQ * h.Lp);                   //
    auto* strip = pieces.take<Packed>(larger(BQ * padded<F>(larger(D, h.L)), round_up(h.L, F::MR) * padded<F>(BQ)));
    auto* kept = pieces.take<uint32_t>(h.drawn_words(BQ, h.L));
    auto* sums = pieces.take<float>(sizeof(T) == 4 ? 0 : 2 * h.L * D);
    KeyGradient dk_sums = {}, dv_sums = {};
    if (dk) {
      dk_sums = KeyGradient::of(dk + h.in_kv(), s.kv_stride, sums, D);
      dv_sums = KeyGradient::of(dv + h.in_kv(), s.kv_stride, sums + h.L * D, D);
    }
    pack_b<F>(h.keys_turned(), D, h.L, keys_t);
    pack_b<F>(h.values_turned(), D, h.L, values_t);
    if (dq) pack_b<F>(h.keys(), h.L, D, keys);
    for (int64_t q0 = 0; q0 < h.Lq; q0 += BQ) {
      const int64_t m = smaller(BQ, h.Lq - q0);
      const T *dO = dcontext + h.in_context() + q0 * H, *O = context + h.in_context() + q0 * H;
      const Matrix gradient = {dO, H, 1, h.elements};
      h.scores(q0, m, keys_t, strip, P);
      pack_a<F>(gradient, m, D, strip);
      multiply_packed<F>(m, h.Lp, D, strip, values_t, {dS, h.Lp, kFloat32}, false);
      h.draw(q0, m, kept);
      for (int64_t i = 0; i < m; i++) {
        float *probs = P + i * h.Lp, *d = dS + i * h.Lp;
        h.mask(probs, q0 + i);
        h.probabilities(probs, lse[h.in_lse() + (q0 + i) * A]);
        const float delta = sum_columns(D, [&](int64_t j, int n) { return load_columns(dO + i * H + j, n) * load_columns(O + i * H + j, n); });
        h.score_gradients(probs, d, delta, q0, i, kept);
      }
      if (dq) {
        pack_a<F>({dS, h.Lp, 1, h.scratch}, m, h.L, strip);
        multiply_packed<F>(m, D, h.L, strip, keys, {dq + h.in_q() + q0 * s.q_stride, s.q_stride, s.type}, false);
      }
      if (!dk) continue;
      pack_a<F>({dS, 1, h.Lp, h.scratch}, h.L, m, strip);
      pack_b<F>(h.queries(q0), m, D, block);
      multiply_packed<F>(h.L, D, m, strip, block, {dk_sums.sums, dk_sums.stride, kFloat32}, q0 > 0);
      pack_a<F>({P, 1, h.Lp, h.scratch}, h.L, m, strip);
      pack_b<F>(gradient, m, D, block);
      multiply_packed<F>(h.L, D, m, strip, block, {dv_sums.sums, dv_sums.stride, kFloat32}, q0 > 0);
    }
    if (!dk) return;
    dk_sums.finish(dk + h.in_kv(), s.kv_stride, h.L, D);
    dv_sums.finish(dv + h.in_kv(), s.kv_stride, h.L, D);
  });
  return kOk;
}
static Scratch attend_backward_scratch(ElementType type, int64_t L, int64_t D) {
  return with_type(type, [&](auto element) -> Scratch {
    typedef typename FormatOf<decltype(element)>::F F;
    constexpr int64_t BQ = kQueries<decltype(element)>, size = sizeof(typename F::Packed);
    const int64_t Lp = round_up(L, F::NR), Dp = round_up(D, F::NR);
    const int64_t strip = larger(BQ * padded<F>(larger(D, L)), round_up(L, F::MR) * padded<F>(BQ));
    const int64_t packed = 2 * padded<F>(D) * Lp + padded<F>(L) * Dp + padded<F>(BQ) * Dp + strip;
    const int64_t kept = Head<decltype(element)>::drawn_words(BQ, L);
    return {0, packed * size + (2 * BQ * Lp + kept + (type == kFloat32 ? 0 : 2 * L * D)) * 4 + 9 * 64};
  });
}

static Status attention_backward(Run& run, const Call& call) {
  return with_type((ElementType)call.attributes[BK_PLACE(attention_backward, type)], [&](auto element) {
    typedef decltype(element) T;
    Cursor c(call);
    const T *dcontext = (T*)c.any(), *qkv = (T*)c.any(), *context = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T* dqkv = (T*)c.any();
    auto s = Sequences<T>::self(qkv, cu_seqlens, key_mask, keep);
    s.options(run, c);
    const int64_t H = s.A * s.D;
    return attend_backward(run, s, dcontext, context, lse, dqkv, dqkv + H, dqkv + 2 * H);
  });
}
static Scratch attention_backward_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return attend_backward_scratch((ElementType)at[BK_PLACE(attention_backward, type)], at[BK_PLACE(attention_backward, rows)],
                                 at[BK_PLACE(attention_backward, D)]);
}

static Status cross_attention_backward(Run& run, const Call& call) {
  return with_type((ElementType)call.attributes[BK_PLACE(cross_attention_backward, type)], [&](auto element) {
    typedef decltype(element) T;
    Cursor c(call);
    const T *dcontext = (T*)c.any(), *q = (T*)c.any(), *kv = (T*)c.any(), *context = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    T *dq = (T*)c.any(), *dkv = (T*)c.any();
    auto s = Sequences<T>::cross(q, kv, cu_queries, cu_keys, key_mask, keep);
    s.options(run, c);
    return attend_backward(run, s, dcontext, context, lse, dq, dkv, dkv ? dkv + s.A * s.D : nullptr);
  });
}
static Scratch cross_attention_backward_scratch(const Call& call) {
  const int32_t* at = call.attributes;
  return attend_backward_scratch((ElementType)at[BK_PLACE(cross_attention_backward, type)], at[BK_PLACE(cross_attention_backward, keys)],
                                 at[BK_PLACE(cross_attention_backward, D)]);
}
