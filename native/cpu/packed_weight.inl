// pack_weight: a linear layer's weight w [N, K] as x w^T reads it, whose depth is K and whose columns are w's rows, so that the product finds
// it packed. As gemm packs B: blocks of KC of the depth, one after another, each a panel of NR columns after the other. dy w, whose depth
// is N, packs w itself while it packs dy: a second copy took 2 bytes more for each weight in bfloat16, and no time off a step.

/** 4-byte words of the packed weight. */
template <class F>
BK_INLINE int64_t packed_words(int64_t N, int64_t K) {
  return padded<F>(K) * round_up(N, F::NR) * (int64_t)sizeof(typename F::Packed) / 4;
}

/** Rows of w that a task packs: whole panels, and not so few that there is a task for each of them. */
template <class F>
constexpr int64_t kPackedRows = larger(F::NR, 32);

/** Packs rows n .. n + count of w, which are in the cache; n is a multiple of kPackedRows. */
template <class F>
static void pack_rows(const float* w, int64_t N, int64_t K, int64_t n, int64_t count, ElementType type, typename F::Packed* packed) {
  static_assert(kPackedRows<F> % F::NR == 0, "a task would split a panel");
  constexpr int64_t KC = F::KC;
  for (int64_t k = 0; k < K; k += KC) {
    const int64_t kc = smaller(KC, K - k);
    pack_b<F>({w + n * K + k, 1, K, float32_elements(type)}, kc, count, packed + k * round_up(N, F::NR) + n * padded<F>(kc));
  }
}

/** That there is room: how many words there are is the caller's number, how many it takes is the kernels'. */
template <class F>
static Status check_packed(const void* packed, int64_t N, int64_t K, int64_t words) {
  const int64_t needed = packed_words<F>(N, K);
  if (packed && words < needed) return {"packed", 0, words, needed, INT64_MAX};
  return kOk;
}

static Status pack_weight(Run& run, const Call& call) {
  Cursor c(call);
  const float* w = c.f32();
  void* packed = c.any();
  const int64_t N = c.dim(), K = c.dim(), words = c.dim();
  const ElementType type = c.type();
  return with_format(type, [&](auto format) -> Status {
    typedef decltype(format) F;
    const Status s = check_packed<F>(packed, N, K, words);
    if (s.where) return s;
    parallel_ranges(run, N, kPackedRows<F>,
                    [&](int64_t begin, int64_t end, int) { pack_rows<F>(w, N, K, begin, end - begin, type, (typename F::Packed*)packed); });
    return kOk;
  });
}
static constexpr Scratch (*pack_weight_scratch)(const Call&) = nullptr;
