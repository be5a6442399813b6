// A product of float32: how A and B are packed, and the tile of sums that registers hold. Also what a bfloat16 product is made of
// where the CPU has no instruction for it: its elements are widened while they are packed.
//
// The tile: AVX2 has 16 registers: 6 x 2 vectors of sums + 2 of B + a broadcast; AVX-512 has 32: 14 x 2; NEON has 32: 6 x 4; each has
// at least latency (4) x throughput (2) independent sums. KC: a panel of B (KC x NR) and a strip of A (KC x MR) stay in a 32 KiB L1.
// MC: a block of A (MC x KC) takes at most a third of a 512 KiB L2.
struct Float32 {
#if defined(BK_ISA_AVX512) || BK_GENERIC_WIDTH == 16  // 16 generic lanes: the same layout where there is no AVX-512
  static constexpr int MR = 14, NV = 2;
#elif defined(BK_ISA_AVX2)
  static constexpr int MR = 6, NV = 2;
#elif defined(__aarch64__)
  static constexpr int MR = 6, NV = 4;
#else
  static constexpr int MR = 4, NV = 2;
#endif
  static constexpr int NR = NV * W;
  static constexpr int64_t KC = 256, MC = (96 / MR) * MR;
  static constexpr int KU = 1;  // k's that belong together in a packed strip or panel
  typedef float Packed;
  typedef const float* Strip;  // MR packed rows of A
  static Strip strip(const float* packed) { return packed; }

  /** COUNT lines of `from`, line i at from + i * stride, of which `n` exist; the others are zeros. out[k * COUNT + i] = line i [k * step]. */
  template <int COUNT, class Source>
  static void pack_lines(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, float* out) {
    if (n == COUNT && step == 1) {
      const typename Source::T* lines[COUNT];
      for (int i = 0; i < COUNT; i++) lines[i] = from + i * stride;
      interleave<Source, COUNT>(lines, kc, out);
    } else if (n == COUNT && stride == 1) {
      for (int64_t k = 0; k < kc; k++) copy_line<Source, COUNT>(from + k * step, out + k * COUNT);
    } else {
      for (int64_t k = 0; k < kc; k++)
        for (int i = 0; i < COUNT; i++) out[k * COUNT + i] = i < n ? Source::one(from + i * stride + k * step) : 0;
    }
  }
  template <class Source>
  static void pack_strip(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, float* out) {
    pack_lines<MR, Source>(from, stride, step, n, kc, out);
  }
  template <class Source>
  static void pack_panel(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, float* out) {
    pack_lines<NR, Source>(from, stride, step, n, kc, out);
  }

  /**
   * to[MR x NR] = (from ? from : 0) + a b over one strip and one panel; leading dimensions follow their pointers. The loop ends where b
   * does: WebAssembly's is bound by the number of its instructions, and took 12 % longer with a counter of its own.
   */
  static inline __attribute__((always_inline)) void micro_kernel(int64_t kc, Strip a, const float* b, const float* from, int64_t ldfrom, float* to,
                                                                 int64_t ldto) {
    f32 sum[MR][NV] = {};
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) __builtin_prefetch(to + i * ldto, 1);
    for (const float* end = b + kc * NR; b != end; a += MR, b += NR) {
      const Multipliers<MR> av(a);
      f32 bv[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) bv[v] = load(b + v * W);
#pragma GCC unroll 16
      for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) sum[i][v] = fma(av[i], bv[v], sum[i][v]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) store(to + i * ldto + v * W, from ? load(from + i * ldfrom + v * W) + sum[i][v] : sum[i][v]);
  }

  /** Of kc packed k's, those that whole loads can take four at a time: a load may reach beyond row MR, into the next k. */
  static int64_t strip_fours(int64_t kc) {
    const int64_t k = kc - ceil_div(W, MR);
    return k > 0 ? k / 4 * 4 : 0;
  }

  /** out[i] = the sum over k of a packed strip's row i, as four sums of every fourth k, then the last k's one by one. */
  static void sum_strip(const float* strip, int64_t kc, float* out) {
    constexpr int vectors = (MR + W - 1) / W;
    f32 sum[4][vectors] = {};
    const int64_t fours = strip_fours(kc);
    for (int64_t k = 0; k < fours; k += 4)
#pragma GCC unroll 4
      for (int c = 0; c < 4; c++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[c][v] = sum[c][v] + load(strip + (k + c) * MR + v * W);
    float lanes[vectors * W];
    for (int v = 0; v < vectors; v++) store(lanes + v * W, (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]));
    for (int64_t k = fours; k < kc; k++)
      for (int i = 0; i < MR; i++) lanes[i] += strip[k * MR + i];
    for (int i = 0; i < MR; i++) out[i] = lanes[i];
  }
};
