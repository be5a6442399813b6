// Functions of one thread. What a device computes approximately is exact here.
#pragma once
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <cmath>

#include "types.h"

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

#define BK_MIN_MAX(T, A, B)                                    \
  inline T min(A a, B b) { return (T)a < (T)b ? (T)a : (T)b; } \
  inline T max(A a, B b) { return (T)a > (T)b ? (T)a : (T)b; }
BK_MIN_MAX(int, int, int)
BK_MIN_MAX(unsigned, unsigned, unsigned)
BK_MIN_MAX(unsigned, int, unsigned)
BK_MIN_MAX(unsigned, unsigned, int)
BK_MIN_MAX(long, long, long)
BK_MIN_MAX(unsigned long, unsigned long, unsigned long)
BK_MIN_MAX(unsigned long, long, unsigned long)
BK_MIN_MAX(unsigned long, unsigned long, long)
BK_MIN_MAX(long long, long long, long long)
BK_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
BK_MIN_MAX(unsigned long long, long long, unsigned long long)
BK_MIN_MAX(unsigned long long, unsigned long long, long long)
#undef BK_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

namespace cuda_emulation {
template <class To, class From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "expected types of one size");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}
/** The same, which the compiler does not know: it contracts products and sums, as a device's does, but nothing with this between. */
template <class T>
inline T apart(T x) {
#if defined(__x86_64__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#endif
  return x;
}
/** A float32 as the nearest T, or the nearest that T has; NaN is 0. */
template <class T>
inline T to_integer(float x, T least, T most) {
  if (x != x) return 0;
  return x <= (float)least ? least : x >= (float)most ? most : (T)x;
}
}  // namespace cuda_emulation

inline int __float_as_int(float x) { return cuda_emulation::bits_as<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_emulation::bits_as<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_emulation::bits_as<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_emulation::bits_as<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_emulation::bits_as<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_emulation::bits_as<double>(x); }

inline int __float2int_rn(float x) { return cuda_emulation::to_integer(rintf(x), INT32_MIN, INT32_MAX); }
inline int __float2int_rz(float x) { return cuda_emulation::to_integer(truncf(x), INT32_MIN, INT32_MAX); }
inline int __float2int_rd(float x) { return cuda_emulation::to_integer(floorf(x), INT32_MIN, INT32_MAX); }
inline int __float2int_ru(float x) { return cuda_emulation::to_integer(ceilf(x), INT32_MIN, INT32_MAX); }
inline unsigned __float2uint_rn(float x) { return cuda_emulation::to_integer(rintf(x), 0u, UINT32_MAX); }
inline unsigned __float2uint_rz(float x) { return cuda_emulation::to_integer(truncf(x), 0u, UINT32_MAX); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
inline float __ll2float_rn(long long x) { return (float)x; }
inline float __double2float_rn(double x) { return (float)x; }

inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)((unsigned __int128)a * b >> 64); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
  return y;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = (uint64_t)b << 32 | a;
  unsigned y = 0;
  for (int i = 0; i < 4; i++) y |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return y;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) { return (unsigned)((((uint64_t)high << 32 | low) << (shift & 31)) >> 32); }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) { return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31)); }
/** The products of four int8 each, added to c. */
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++) c += (int)(int8_t)(a >> 8 * i) * (int)(int8_t)(b >> 8 * i);
  return c;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
// not contracted
inline float __fadd_rn(float a, float b) { return cuda_emulation::apart(a + b); }
inline float __fsub_rn(float a, float b) { return cuda_emulation::apart(a - b); }
inline float __fmul_rn(float a, float b) { return cuda_emulation::apart(a * b); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return cuda_emulation::apart(a + b); }
inline double __dmul_rn(double a, double b) { return cuda_emulation::apart(a * b); }

// Loads and stores that say how they are cached.
template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldca(const T* p) {
  return *p;
}
template <class T>
inline T __ldcg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline void __stcg(T* p, T value) {
  *p = value;
}
template <class T>
inline void __stcs(T* p, T value) {
  *p = value;
}
template <class T>
inline void __stwt(T* p, T value) {
  *p = value;
}
