// A product of float32: how A and B are packed, and the tile of sums that registers hold. Also what a bfloat16 product is made of
// where the CPU has no instruction for it: its elements are widened while they are packed.
//
// The tile: AVX2 has 16 registers: 6 x 2 vectors of sums + 2 of B + a broadcast; AVX-512 has 32: 14 x 2; NEON has 32: 6 x 4; each has
// at least latency (4) x throughput (2) independent sums. KC: a panel of B (KC x NR) and a strip of A (KC x MR) stay in a 32 KiB L1.
// MC: a block of A (MC x KC) takes at most a third of a 512 KiB L2.
//
// A strip of few rows takes the time of a taller one, because a sum waits for itself. PAIRED: of at most so many rows it takes two panels
// at a time. TALL: rows of a strip where WebAssembly is compiled in the order of its code (bk_tall_strips), which 16 registers are
// enough for: 6 x 2 sums; elsewhere all broadcasts of a k are loaded first, and sums pushed out to the stack.
struct Float32 {
#if defined(BK_ISA_AVX512) || BK_GENERIC_WIDTH == 16  // 16 generic lanes: the same layout where there is no AVX-512
  static constexpr int MR = 14, NV = 2, PAIRED = 0;
#elif defined(BK_ISA_AVX2)
  static constexpr int MR = 6, NV = 2, PAIRED = 0;
#elif defined(__aarch64__)
  static constexpr int MR = 6, NV = 4, PAIRED = 0;
#else
  static constexpr int MR = 4, NV = 2, PAIRED = 2;
#endif
#if defined(__wasm_relaxed_simd__)
  static constexpr int TALL = 6;
  static bool tall() { return tall_strips; }
#else
  static constexpr int TALL = MR;
  static constexpr bool tall() { return false; }
#endif
  static constexpr int NR = NV * W;
  static constexpr int64_t KC = 256, MC = (96 / MR) * MR;
  static constexpr int KU = 1;  // k's that belong together in a packed strip or panel
  /** Whether the last strip gives up a whole one before it, of MR rows or TALL, to share its rows: where `rest` of them would take longer. */
  static bool shares(int64_t rest) { return tall() ? rest < MR : PAIRED == 0; }
  /** Rows that a strip of n rows has in its packed form, the others zeros. */
  static int64_t packed_rows(int64_t n) { return PAIRED > 0 && n > PAIRED && !tall() ? MR : n; }
  typedef float Packed;
  typedef const float* Strip;  // packed rows of A
  static Strip strip(const float* packed) { return packed; }

  /** n lines of `from`, line i at from + i * stride, in places for `width`: COUNT in the usual case. out[k * width + i] = line i [k * step], 0 where i >= n. */
  template <int COUNT, class Source>
  static void pack_lines(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t width, int64_t kc, float* out) {
    if (n == COUNT && step == 1) {
      const typename Source::T* lines[COUNT];
      for (int i = 0; i < COUNT; i++) lines[i] = from + i * stride;
      interleave<Source, COUNT>(lines, kc, COUNT, out);
    } else if (n == COUNT && stride == 1) {
      for (int64_t k = 0; k < kc; k++) copy_line<Source, COUNT>(from + k * step, out + k * COUNT);
    } else {
      int64_t i = 0;
      if (step == 1)
        for (; i + 4 <= n; i += 4) {
          const typename Source::T* const lines[] = {from + i * stride, from + (i + 1) * stride, from + (i + 2) * stride, from + (i + 3) * stride};
          interleave<Source, 4>(lines, kc, width, out + i);
        }
      for (int64_t k = 0; k < kc; k++)
        for (int64_t j = i; j < width; j++) out[k * width + j] = j < n ? Source::one(from + j * stride + k * step) : 0;
    }
  }
  template <class Source>
  static void pack_strip(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, float* out) {
    if (n == TALL)
      pack_lines<TALL, Source>(from, stride, step, n, n, kc, out);
    else
      pack_lines<MR, Source>(from, stride, step, n, packed_rows(n), kc, out);
  }
  template <class Source>
  static void pack_panel(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, float* out) {
    pack_lines<NR, Source>(from, stride, step, n, NR, kc, out);
  }

  /**
   * to[R x P NR] = (from ? from : 0) + a b over one strip and P panels; leading dimensions follow their pointers. The loop ends where b
   * does: WebAssembly's is bound by the number of its instructions, and took 12 % longer with a counter of its own.
   */
  template <int R, int P>
  static inline __attribute__((always_inline)) void multiply_strip(int64_t kc, Strip a, const float* b, const float* from, int64_t ldfrom, float* to,
                                                                   int64_t ldto) {
    f32 sum[R][P * NV] = {};
    const float* next = b + kc * NR;  // the panel after this one
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) __builtin_prefetch(to + i * ldto, 1);
    for (const float* end = next; b != end; a += R, b += NR) {
      const Multipliers<R> av(a);
      f32 bv[P * NV];
#pragma GCC unroll 8
      for (int v = 0; v < P * NV; v++) bv[v] = load(v < NV ? b + (size_t)(v * W) : next + (size_t)((v - NV) * W));
#pragma GCC unroll 16
      for (int i = 0; i < R; i++)
#pragma GCC unroll 8
        for (int v = 0; v < P * NV; v++) sum[i][v] = fma(av[i], bv[v], sum[i][v]);
      if constexpr (P > 1) next += NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 8
      for (int v = 0; v < P * NV; v++) store(to + i * ldto + v * W, from ? load(from + i * ldfrom + v * W) + sum[i][v] : sum[i][v]);
  }

  /** The same for a strip of this many rows: any, or mostly MR. */
  template <int P, bool any>
  static inline __attribute__((always_inline)) void micro_kernel(int64_t rows, int64_t kc, Strip a, const float* b, const float* from, int64_t ldfrom,
                                                                 float* to, int64_t ldto) {
    if constexpr (any)
      multiply_rows<P == 1 ? TALL : PAIRED, P>(rows, kc, a, b, from, ldfrom, to, ldto);
    else if (PAIRED > 0 || rows == MR)
      multiply_strip<MR, P>(kc, a, b, from, ldfrom, to, ldto);
    else
      multiply_rows<MR - 1, P>(rows, kc, a, b, from, ldfrom, to, ldto);
  }
  template <int R, int P>
  static __attribute__((noinline)) void multiply_rows(int64_t rows, int64_t kc, Strip a, const float* b, const float* from, int64_t ldfrom, float* to,
                                                      int64_t ldto) {
    if constexpr (R > 0) {
      if (rows == R) return multiply_strip<R, P>(kc, a, b, from, ldfrom, to, ldto);
      multiply_rows<R - 1, P>(rows, kc, a, b, from, ldfrom, to, ldto);
    }
  }

  /** Of kc packed k's, those that whole loads can take four at a time: a load may reach beyond a k's last row, into the next k. */
  static int64_t strip_fours(int64_t kc) {
    const int64_t k = kc - ceil_div(W, MR);
    return k > 0 ? k / 4 * 4 : 0;
  }

  /** out[i] = the sum over k of a packed strip's row i, as four sums of every fourth k, then the last k's one by one. */
  static void sum_strip(int64_t rows, const float* strip, int64_t kc, float* out) {
    const int64_t fours = strip_fours(kc), width = packed_rows(rows);
    float sums[TALL + W];
    if (width == MR)
      sum_fours<MR>(strip, fours, sums);
    else if (width == TALL)
      sum_fours<TALL>(strip, fours, sums);
    else
      for (int64_t i = 0; i < rows; i++) {
        float sum[4] = {};
        for (int64_t k = 0; k < fours; k++) sum[k % 4] += strip[k * width + i];
        sums[i] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
      }
    for (int64_t k = fours; k < kc; k++)
      for (int64_t i = 0; i < rows; i++) sums[i] += strip[k * width + i];
    for (int64_t i = 0; i < rows; i++) out[i] = sums[i];
  }
  template <int WIDTH>
  static void sum_fours(const float* strip, int64_t fours, float* sums) {
    constexpr int vectors = (WIDTH + W - 1) / W;
    f32 sum[4][vectors] = {};
    for (int64_t k = 0; k < fours; k += 4)
#pragma GCC unroll 4
      for (int c = 0; c < 4; c++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[c][v] = sum[c][v] + load(strip + (k + c) * WIDTH + v * W);
    for (int v = 0; v < vectors; v++) store(sums + v * W, (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]));
  }
};
