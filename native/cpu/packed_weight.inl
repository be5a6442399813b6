// pack_weight: a linear layer's weight w [N, K] as products read it, so that each of them finds it packed: `forward` for x w^T, whose
// depth is K and whose columns are w's rows; `backward` for dy w, whose depth is N and whose columns are w's. As gemm packs B: blocks of
// KC of the depth, one after another, each a panel of NR columns after the other.

/** Elements of a packed B of this depth and width. */
template <class F>
BK_INLINE int64_t packed_size(int64_t depth, int64_t width) {
  return padded<F>(depth) * round_up(width, F::NR);
}
template <class F>
BK_INLINE int64_t packed_words(int64_t depth, int64_t width) {
  return packed_size<F>(depth, width) * (int64_t)sizeof(typename F::Packed) / 4;
}

/** Rows of w that a task packs: whole panels of `forward`, whole units of `backward`, and a part of a block of the depth. */
template <class F>
constexpr int64_t kPackedRows = larger(F::NR, 32);

/** Packs rows n .. n + count of w, which are in the cache; n is a multiple of kPackedRows. Either target may be null. */
template <class F>
static void pack_rows(const float* w, int64_t N, int64_t K, int64_t n, int64_t count, ElementType type, typename F::Packed* forward,
                      typename F::Packed* backward) {
  static_assert(kPackedRows<F> % F::NR == 0 && kPackedRows<F> % F::KU == 0 && F::KC % kPackedRows<F> == 0, "a task would split a panel or a unit");
  constexpr int64_t KC = F::KC;
  if (forward)
    for (int64_t k = 0; k < K; k += KC) {
      const int64_t kc = smaller(KC, K - k);
      pack_b<F>({w + n * K + k, 1, K, float32_elements(type)}, kc, count, forward + k * round_up(N, F::NR) + n * padded<F>(kc));
    }
  if (backward) {
    const int64_t block = n / KC * KC, depth = padded<F>(smaller(KC, N - block));
    typename F::Packed* panels = backward + block * round_up(K, F::NR) + (n - block) * F::NR;
    for (int64_t k = 0; k < K; k += F::NR) pack_b<F>({w + n * K + k, K, 1, float32_elements(type)}, count, smaller(F::NR, K - k), panels + k * depth);
  }
}

/** That the targets have room: how many words they have is the caller's number, how many it takes is the kernels'. */
template <class F>
static Status check_packed(const void* forward, const void* backward, int64_t N, int64_t K, int64_t forward_words, int64_t backward_words) {
  const int64_t p = packed_words<F>(K, N), q = packed_words<F>(N, K);
  if (forward && forward_words < p) return {"forward", 0, forward_words, p, INT64_MAX};
  if (backward && backward_words < q) return {"backward", 0, backward_words, q, INT64_MAX};
  return kOk;
}

static Status pack_weight(Run& run, const Call& call) {
  Cursor c(call);
  const float* w = c.f32();
  void *forward = c.any(), *backward = c.any();
  const int64_t N = c.dim(), K = c.dim(), forward_words = c.dim(), backward_words = c.dim();
  const ElementType type = c.type();
  return with_format(type, [&](auto format) -> Status {
    typedef decltype(format) F;
    typedef typename F::Packed Packed;
    const Status s = check_packed<F>(forward, backward, N, K, forward_words, backward_words);
    if (s.where) return s;
    parallel_ranges(run, N, kPackedRows<F>,
                    [&](int64_t begin, int64_t end, int) { pack_rows<F>(w, N, K, begin, end - begin, type, (Packed*)forward, (Packed*)backward); });
    return kOk;
  });
}
static constexpr Scratch (*pack_weight_scratch)(const Call&) = nullptr;
