// A product of bfloat16 where the CPU multiplies them: vectors of dot products of pairs (AVX512-BF16, ARM's BFDOT), or tiles (AMX).
// Sums are float32. Everything is compiled with plain C in the place of the instructions too (test builds), so that packing and
// borders are tested where no such CPU is.
#if defined(BK_PAIRS) || defined(BK_TILES)

typedef uint32_t word __attribute__((may_alias));

/** The halves of consecutive k's of each line side by side: out[(k / 2) * COUNT + i] = line i [k] | line i [k + 1] << 16; 0 beyond kc. */
template <int COUNT, class Source>
static void pack_pairs(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, word* out) {
  constexpr int64_t BLOCK = 32;
  typedef typename Source::T T;
  const int64_t even = kc / 2 * 2;
  if (n == COUNT && step == 1) {
    for (int64_t k = 0; k < even; k += BLOCK) {
      const int64_t count = smaller(BLOCK, even - k);
      uint32_t halves[COUNT][BLOCK / 2];
      const Words::T* lines[COUNT];
      for (int i = 0; i < COUNT; i++) {
        const T* line = from + i * stride + k;
        if (sizeof(T) == 2) {
          lines[i] = (const Words::T*)line;
          continue;
        }
        bf16* to = (bf16*)halves[i];
        int64_t j = 0;
        for (; j + W <= count; j += W) store(to + j, load(line + j));
        for (; j + 4 <= count; j += 4) *(u16x4_unaligned*)(to + j) = Source::four_halves(line + j);
        for (; j < count; j++) put(to + j, Source::one(line + j));
        lines[i] = (const Words::T*)halves[i];
      }
      interleave<Words, COUNT>(lines, count / 2, COUNT, (float*)(out + k / 2 * COUNT));
    }
  } else {
    for (int64_t k = 0; k < even; k += 2) {
      const T* line = from + k * step;
      word* pairs = out + k / 2 * COUNT;
      if (n == COUNT && stride == 1) {
        constexpr int lanes = COUNT / W * W;
#pragma GCC unroll 8
        for (int i = 0; i < lanes; i += W) {
          const u32 both = Source::halves(line + i) | Source::halves(line + step + i) << 16;
          memcpy(pairs + i, &both, sizeof both);
        }
#pragma GCC unroll 4
        for (int i = lanes; i < COUNT; i += 4) {
          const int at = four_at<COUNT>(i);
          const u32x4 low = __builtin_convertvector(Source::four_halves(line + at), u32x4);
          const u32x4 both = low | __builtin_convertvector(Source::four_halves(line + step + at), u32x4) << 16;
          memcpy(pairs + at, &both, sizeof both);
        }
      } else {
        for (int i = 0; i < COUNT; i++) pairs[i] = i < n ? pair(Source::one(line + i * stride), Source::one(line + i * stride + step)) : 0;
      }
    }
  }
  if (even < kc)
    for (int i = 0; i < COUNT; i++) out[even / 2 * COUNT + i] = i < n ? pair(Source::one(from + i * stride + even * step), 0) : 0;
}
#endif

#if defined(BK_PAIRS)
/** Dot products of pairs: the tile of Float32, whose lanes are 32 bits wide too, with twice the k's. */
struct Pairs {
  static constexpr int MR = Float32::MR, NV = Float32::NV, NR = Float32::NR, KU = 2;
  static constexpr int64_t KC = 2 * Float32::KC, MC = Float32::MC;
  static constexpr int TALL = MR, PAIRED = 0;
  static constexpr bool tall() { return false; }
  static constexpr bool shares(int64_t) { return false; }
  static constexpr int64_t packed_rows(int64_t) { return MR; }
  typedef bf16 Packed;
  typedef const bf16* Strip;
  static Strip strip(const bf16* packed) { return packed; }

  template <class Source>
  static void pack_strip(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, bf16* out) {
    pack_pairs<MR, Source>(from, stride, step, n, kc, (word*)out);
  }
  template <class Source>
  static void pack_panel(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, bf16* out) {
    pack_pairs<NR, Source>(from, stride, step, n, kc, (word*)out);
  }

  template <int P, bool any>
  static inline __attribute__((always_inline)) void micro_kernel(int64_t, int64_t kc, Strip a, const bf16* b, const float* from, int64_t ldfrom, float* to,
                                                                 int64_t ldto) {
    f32 sum[MR][NV] = {};
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) __builtin_prefetch(to + i * ldto, 1);
    for (int64_t k = 0; k < kc; k += 2, a += 2 * MR, b += 2 * NR) {
      const Multipliers<MR> av((const float*)a);
      f32 bv[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) bv[v] = load((const float*)b + v * W);
#pragma GCC unroll 16
      for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) sum[i][v] = dot_pairs(sum[i][v], (u32)av[i], (u32)bv[v]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) store(to + i * ldto + v * W, from ? load(from + i * ldfrom + v * W) + sum[i][v] : sum[i][v]);
  }
};
#endif
