// A float vector and its verbs, the only file that knows an instruction set. Kernels are written once over these; isa.cc is
// compiled once for each value of BK_ISA with that set's flags. Compiler vectors (GCC, Clang) give the arithmetic, + - * / and
// comparisons, on every target; the verbs below are what they lack.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

namespace bk {
namespace BK_ISA {
namespace {

#if defined(BK_ISA_AVX512)
constexpr int W = 16;
#elif defined(BK_ISA_AVX2)
constexpr int W = 8;
#else
constexpr int W = BK_GENERIC_WIDTH;  // any compiler vector: 128-bit SSE2, NEON and WASM, or a wider one built of narrower parts
#endif

typedef float f32 __attribute__((vector_size(W * 4)));
typedef int32_t i32 __attribute__((vector_size(W * 4)));
typedef uint32_t u32 __attribute__((vector_size(W * 4)));
typedef uint64_t u64 __attribute__((vector_size(W * 8)));
typedef int16_t i16 __attribute__((vector_size(W * 4)));
typedef float f32_unaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t i32_unaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef uint16_t u16 __attribute__((vector_size(W * 2)));
typedef uint16_t u16_unaligned __attribute__((vector_size(W * 2), aligned(2), may_alias));

// four elements, whatever W is
typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint16_t u16x4 __attribute__((vector_size(8)));
typedef uint16_t u16x4_unaligned __attribute__((vector_size(8), aligned(2), may_alias));

/** bfloat16: the upper half of a float32, with its 8 bits of exponent and 7 of fraction. Kernels compute in float32 and round to it. */
struct __attribute__((may_alias)) bf16 {
  uint16_t bits;
};

#define BK_INLINE static inline __attribute__((always_inline))

BK_INLINE f32 load(const float* p) { return *(const f32_unaligned*)p; }
BK_INLINE void store(float* p, f32 v) { *(f32_unaligned*)p = v; }
BK_INLINE f32 set1(float x) { return x - f32{}; }
BK_INLINE i32 set1_i32(int32_t x) { return x - i32{}; }
BK_INLINE u32 set1_u32(uint32_t x) { return x - u32{}; }
BK_INLINE i32 bits_of(f32 v) { return (i32)v; }
BK_INLINE f32 of_bits(i32 v) { return (f32)v; }
#if defined(__wasm_relaxed_simd__)
// as the instruction: LLVM makes relaxed_min and relaxed_max of a comparison and a choice, which may lose a NaN
BK_INLINE f32 select(i32 mask, f32 a, f32 b) { return (f32)wasm_v128_bitselect((v128_t)a, (v128_t)b, (v128_t)mask); }
#else
BK_INLINE f32 select(i32 mask, f32 a, f32 b) { return of_bits((mask & bits_of(a)) | (~mask & bits_of(b))); }
#endif
BK_INLINE f32 abs(f32 v) { return of_bits(bits_of(v) & 0x7fffffff); }

/** The upper halves of float32 vectors F with integers U, rounded to nearest, ties to even; a NaN stays one. */
template <class U, class F>
BK_INLINE U bf16_bits(F v) {
  const U bits = (U)v, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, nan = (U)(v != v);
  return (rounded & ~nan) | (nan & 0x7fc0);
}
/** W float32 as bfloat16. AVX512-BF16 has an instruction for it, which makes what is below 2^-126 zero, as its products do. */
BK_INLINE u16 rounded_halves(f32 v) {
#if defined(__AVX512BF16__)
  return (u16)_mm512_cvtneps_pbh((__m512)v);
#else
  return __builtin_convertvector(bf16_bits<u32>(v), u16);
#endif
}
/** Four of them. */
BK_INLINE u16x4 narrow(f32x4 v) {
#if defined(__AVX512BF16__)
  const __m128bh halves = _mm_cvtneps_pbh((__m128)v);
  u16x4 four;
  memcpy(&four, &halves, sizeof four);
  return four;
#else
  return __builtin_convertvector(bf16_bits<u32x4>(v), u16x4);
#endif
}
BK_INLINE f32 of_halves(u16 halves) { return (f32)(__builtin_convertvector(halves, u32) << 16); }
BK_INLINE f32 load(const bf16* p) { return of_halves(*(const u16_unaligned*)p); }
BK_INLINE void store(bf16* p, f32 v) { *(u16_unaligned*)p = rounded_halves(v); }
BK_INLINE float to_float(float x) { return x; }
BK_INLINE float to_float(bf16 x) {
  const uint32_t bits = (uint32_t)x.bits << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
BK_INLINE void put(float* p, float x) { *p = x; }
BK_INLINE void put(bf16* p, float x) {
#if defined(__AVX512BF16__)
  const __m128bh halves = _mm_cvtneps_pbh(_mm_set_ss(x));
  memcpy(&p->bits, &halves, 2);
#else
  uint32_t bits;
  memcpy(&bits, &x, 4);
  p->bits = x == x ? (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : 0x7fc0;
#endif
}

/** The first n < W elements; the others are `fill`. */
template <class T>
BK_INLINE f32 load_n(const T* p, int n, float fill = 0) {
  float t[W];
  for (int i = 0; i < W; i++) t[i] = i < n ? to_float(p[i]) : fill;
  return load(t);
}
template <class T>
BK_INLINE void store_n(T* p, f32 v, int n) {
  for (int i = 0; i < n; i++) put(p + i, v[i]);
}

/** v as it is when stored as a T and loaded again. */
template <class T>
BK_INLINE f32 as_stored(f32 v) {
  return sizeof(T) == 2 ? of_halves(rounded_halves(v)) : v;
}

#if defined(BK_ISA_AVX512)
BK_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm512_fmadd_ps(a, b, c); }
BK_INLINE f32 sqrt(f32 v) { return _mm512_sqrt_ps(v); }
BK_INLINE f32 max(f32 a, f32 b) { return _mm512_max_ps(a, b); }
BK_INLINE f32 min(f32 a, f32 b) { return _mm512_min_ps(a, b); }
BK_INLINE i32 round_i32(f32 v) { return (i32)_mm512_cvtps_epi32(v); }
BK_INLINE void mul_wide(u32 a, uint32_t b, u32& hi, u32& lo) {
  const __m512i even = _mm512_mul_epu32((__m512i)a, _mm512_set1_epi32((int)b));
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), _mm512_set1_epi32((int)b));
  hi = (u32)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
  lo = (u32)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}
#elif defined(BK_ISA_AVX2)
BK_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm256_fmadd_ps(a, b, c); }
BK_INLINE f32 sqrt(f32 v) { return _mm256_sqrt_ps(v); }
BK_INLINE f32 max(f32 a, f32 b) { return _mm256_max_ps(a, b); }
BK_INLINE f32 min(f32 a, f32 b) { return _mm256_min_ps(a, b); }
BK_INLINE i32 round_i32(f32 v) { return (i32)_mm256_cvtps_epi32(v); }
BK_INLINE void mul_wide(u32 a, uint32_t b, u32& hi, u32& lo) {
  const __m256i even = _mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int)b));
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), _mm256_set1_epi32((int)b));
  hi = (u32)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  lo = (u32)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
#elif defined(__wasm_simd128__)
#if defined(__wasm_relaxed_simd__)
BK_INLINE f32 fma(f32 a, f32 b, f32 c) { return (f32)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c); }
#else
BK_INLINE f32 fma(f32 a, f32 b, f32 c) { return a * b + c; }
#endif
BK_INLINE f32 sqrt(f32 v) { return (f32)wasm_f32x4_sqrt((v128_t)v); }
// pmax(a, b) is a < b ? b : a, so that a NaN gives the second operand as everywhere else
BK_INLINE f32 max(f32 a, f32 b) { return (f32)wasm_f32x4_pmax((v128_t)b, (v128_t)a); }
BK_INLINE f32 min(f32 a, f32 b) { return (f32)wasm_f32x4_pmin((v128_t)b, (v128_t)a); }
/** As in the generic verbs: on x86-64 every conversion of a vector to integers would also treat what is out of range. */
BK_INLINE i32 round_i32(f32 v) { return bits_of(v + 12582912.0f) - 0x4B400000; }
BK_INLINE void mul_wide(u32 a, uint32_t b, u32& hi, u32& lo) {
  const v128_t factor = wasm_i32x4_splat((int32_t)b);
  const v128_t low = wasm_u64x2_extmul_low_u32x4((v128_t)a, factor), high = wasm_u64x2_extmul_high_u32x4((v128_t)a, factor);
  hi = (u32)wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
  lo = (u32)wasm_i32x4_shuffle(low, high, 0, 2, 4, 6);
}
#else
#if defined(__aarch64__) && BK_GENERIC_WIDTH == 4
BK_INLINE f32 fma(f32 a, f32 b, f32 c) { return (f32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
BK_INLINE f32 fma(f32 a, f32 b, f32 c) { return a * b + c; }
#endif
BK_INLINE f32 sqrt(f32 v) {
  f32 r;
  for (int i = 0; i < W; i++) r[i] = __builtin_sqrtf(v[i]);
  return r;
}
BK_INLINE f32 max(f32 a, f32 b) { return select(a > b, a, b); }
BK_INLINE f32 min(f32 a, f32 b) { return select(a < b, a, b); }
/** Nearest, ties to even, for |v| < 2^22: the sum with 1.5 * 2^23 leaves the integer in the low bits. */
BK_INLINE i32 round_i32(f32 v) { return bits_of(v + 12582912.0f) - 0x4B400000; }
BK_INLINE void mul_wide(u32 a, uint32_t b, u32& hi, u32& lo) {
  for (int i = 0; i < W; i++) {
    const uint64_t p = (uint64_t)a[i] * b;
    hi[i] = (uint32_t)(p >> 32);
    lo[i] = (uint32_t)p;
  }
}
#endif

#if defined(BK_PAIRS)
/** sum + the products of both bfloat16 halves of each lane: two multiply-adds a lane. */
#if defined(BK_ISA_AVX512)
BK_INLINE f32 dot_pairs(f32 sum, u32 a, u32 b) { return (f32)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b); }
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
BK_INLINE f32 dot_pairs(f32 sum, u32 a, u32 b) { return (f32)vbfdotq_f32((float32x4_t)sum, (bfloat16x8_t)a, (bfloat16x8_t)b); }
#else
BK_INLINE f32 dot_pairs(f32 sum, u32 a, u32 b) {
  const f32 low = (f32)(a << 16) * (f32)(b << 16), high = (f32)(a & 0xffff0000u) * (f32)(b & 0xffff0000u);
  return sum + low + high;
}
#endif
#endif

// Products of int8. A lane of a weight is a word of four int8, the next four k's of a column, and meets the same k's of a row of x, which
// are within [-127, 127]. `fours` writes those as the FOURS words that are multiplied one after another, each with its part of the weight.
#if defined(__aarch64__) && BK_GENERIC_WIDTH == 4
constexpr int FOURS = 1;
typedef int8x16_t Part;
BK_INLINE void fours(const int32_t* x, int32_t* to) { *to = (x[0] & 0xff) | (x[1] & 0xff) << 8 | (x[2] & 0xff) << 16 | (int32_t)((uint32_t)x[3] << 24); }
BK_INLINE Part part(const int32_t* w, int) { return vreinterpretq_s8_s32(vld1q_s32(w)); }
/** sum + the products of the four int8 of each lane. */
BK_INLINE i32 dot_part(i32 sum, Part w, int32_t x) {
  const int8x16_t v = vreinterpretq_s8_s32(vdupq_n_s32(x));
#if defined(__ARM_FEATURE_DOTPROD)
  return (i32)vdotq_s32((int32x4_t)sum, w, v);
#else
  // sums of two products: at most 2 * 128 * 127, which int16 holds
  const int16x8_t twos = vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(v)), vmull_high_s8(w, v));
  return (i32)vpadalq_s16((int32x4_t)sum, twos);
#endif
}
#else
constexpr int FOURS = 2;
/** k and k + 2, or k + 1 and k + 3, as int16: shifts widen the bytes so, and move none between lanes. */
typedef i16 Part;
BK_INLINE void fours(const int32_t* x, int32_t* to) {
  constexpr uint64_t low = 0x0000ffff0000ffffull;
  uint64_t first, second;  // both words at once
  memcpy(&first, x, 8);
  memcpy(&second, x + 2, 8);
  first = (first & low) | (second & low) << 16;
  memcpy(to, &first, 8);
}
BK_INLINE Part part(const int32_t* w, int i) {
  const i16 bytes = (i16)(*(const i32_unaligned*)w);
  return i == 0 ? bytes << 8 >> 8 : bytes >> 8;
}
#if defined(BK_ISA_AVX512) || defined(BK_ISA_AVX2) || (defined(__SSE2__) && BK_GENERIC_WIDTH == 4)
/** v, computed here: GCC would put the sums of integers off, and their terms on the stack. */
BK_INLINE i32 at_once(i32 v) {
#if defined(BK_ISA_AVX512)
  asm("" : "+v"(v));
#else
  asm("" : "+x"(v));
#endif
  return v;
}
#endif
/** sum + the products of both int16 of each lane. */
BK_INLINE i32 dot_part(i32 sum, Part w, int32_t x) {
  const i32 v = set1_i32(x);
#if defined(BK_ISA_AVX512) && defined(__AVX512VNNI__)
  return (i32)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)w, (__m512i)v);
#elif defined(BK_ISA_AVX512)
  return at_once(sum + (i32)_mm512_madd_epi16((__m512i)w, (__m512i)v));
#elif defined(BK_ISA_AVX2)
  return at_once(sum + (i32)_mm256_madd_epi16((__m256i)w, (__m256i)v));
#elif defined(__SSE2__) && BK_GENERIC_WIDTH == 4
  return at_once(sum + (i32)_mm_madd_epi16((__m128i)w, (__m128i)v));
#elif defined(__wasm_simd128__) && BK_GENERIC_WIDTH == 4
  return sum + (i32)__builtin_wasm_dot_s_i32x4_i16x8(w, (i16)v);
#else
  const i32 u = (i32)w;
  return sum + (u << 16 >> 16) * (v << 16 >> 16) + (u >> 16) * (v >> 16);
#endif
}
#endif

/** N consecutive floats, each to be multiplied with whole vectors. */
template <int N, bool whole_vectors = N >= W>
struct Multipliers {
  typedef float T __attribute__((may_alias));  // pairs of bfloat16 too
  const T* p;
  __attribute__((always_inline)) explicit Multipliers(const float* from) : p(from) {}
  __attribute__((always_inline)) f32 operator[](size_t i) const { return set1(p[i]); }
};
#if defined(__aarch64__) && BK_GENERIC_WIDTH == 4
// NEON multiplies by a lane: N floats take N / 4 registers, where N copies of them would push sums out to the stack
template <int N>
struct Multipliers<N, true> {
  f32 v[(N + W - 1) / W];
  static constexpr int start(int i) { return i / W * W + W <= N ? i / W * W : N - W; }
  __attribute__((always_inline)) explicit Multipliers(const float* p) {
#pragma GCC unroll 8
    for (int i = 0; i < N; i += W) v[i / W] = load(p + start(i));
  }
  __attribute__((always_inline)) f32 operator[](int i) const { return set1(v[i / W][i - start(i)]); }
};
#endif

/** Joins lane i with lane i + n / 2, then with i + n / 4, and so on: the same tree for every element count. */
template <class V, class Join>
BK_INLINE float join_lanes(V v, Join join) {
  if constexpr (sizeof v == 64) {
    return join_lanes(join(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)), join);
  } else if constexpr (sizeof v == 32) {
    return join_lanes(join(__builtin_shufflevector(v, v, 0, 1, 2, 3), __builtin_shufflevector(v, v, 4, 5, 6, 7)), join);
  } else {
    v = join(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
    return join(v, __builtin_shufflevector(v, v, 1, 0, 3, 2))[0];
  }
}
struct Sum {
  template <class V>
  V operator()(V a, V b) const {
    return a + b;
  }
};
struct Largest {
  f32 operator()(f32 a, f32 b) const { return max(a, b); }
  template <class V>
  V operator()(V a, V b) const {
    return a > b ? a : b;
  }
};
BK_INLINE float reduce_add(f32 v) { return join_lanes(v, Sum()); }
BK_INLINE float reduce_max(f32 v) { return join_lanes(v, Largest()); }
BK_INLINE bool any_bit(i32 v) {
#if defined(BK_ISA_AVX512)
  return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) != 0;
#else
  uint64_t words[W / 2], any = 0;
  memcpy(words, &v, sizeof v);
  for (int i = 0; i < W / 2; i++) any |= words[i];
  return any != 0;
#endif
}

/** Loads and stores of n <= W columns at the end of a row. */
template <class T>
BK_INLINE f32 load_columns(const T* p, int n) {
  return n == W ? load(p) : load_n(p, n);
}
template <class T>
BK_INLINE void store_columns(T* p, f32 v, int n) {
  n == W ? store(p, v) : store_n(p, v, n);
}
/** v in the first n lanes, 0 in the others. */
BK_INLINE f32 first(f32 v, int n) {
  for (int i = n; i < W; i++) v[i] = 0;
  return v;
}

/** value(j, n) summed over columns j < H, n lanes at a time; lanes beyond n must be 0. */
template <class Value>
BK_INLINE float sum_columns(int64_t H, Value value) {
  f32 total = {};
  int64_t j = 0;
  for (; j + W <= H; j += W) total = total + value(j, W);
  if (j < H) total = total + value(j, (int)(H - j));
  return reduce_add(total);
}

}  // namespace
}  // namespace BK_ISA
}  // namespace bk
