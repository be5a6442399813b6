// The C library that kernels and runtime need, some ten functions. Compiled with -fno-builtin: what stands here is not to be recognised
// as what it implements.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern "C" {

// memory.copy and memory.fill: with -mbulk-memory they are what these two builtins become
void* memmove(void* to, const void* from, size_t bytes) { return __builtin_memmove(to, from, bytes); }
void* memcpy(void* to, const void* from, size_t bytes) { return __builtin_memmove(to, from, bytes); }
void* memset(void* to, int byte, size_t bytes) { return __builtin_memset(to, byte, bytes); }

int strcmp(const char* a, const char* b) {
  while (*a && *a == *b) a++, b++;
  return (unsigned char)*a - (unsigned char)*b;
}

void abort(void) { __builtin_trap(); }

// Elementary functions of a double, for losses that are added up in float64: within 1.5 ulp, expm1 within 4.

static double of_bits(uint64_t bits) {
  double x;
  __builtin_memcpy(&x, &bits, 8);
  return x;
}
static uint64_t bits_of(double x) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, 8);
  return bits;
}

constexpr double kLog2High = 6.93147180369123816490e-01, kLog2Low = 1.90821492927058770002e-10;  // their sum is log 2

/** x = n log 2 + r; e^r = 1 + 2 r / (R - r), where R = r (1 + e^-r) / (1 - e^-r) is a polynomial of r^2 (fdlibm's e_exp.c). */
double exp(double x) {
  if (x != x) return x;
  if (x > 709.782712893384) return __builtin_inf();
  if (x < -745.1332191019411) return 0;
  const double n = __builtin_rint(x * 1.44269504088896338700), high = x - n * kLog2High, low = n * kLog2Low, r = high - low, q = r * r;
  const double c =
      r - q * (1.66666666666666019037e-01 +
               q * (-2.77777777770155933842e-03 + q * (6.61375632143793436117e-05 + q * (-1.65339022054652515390e-06 + q * 4.13813679705723846039e-08))));
  const double y = 1 - (low - r * c / (2 - c) - high);
  // 2^n in two factors, so that neither overflows or underflows before the product does
  const int64_t half = (int64_t)n / 2, rest = (int64_t)n - half;
  return y * of_bits((uint64_t)(half + 1023) << 52) * of_bits((uint64_t)(rest + 1023) << 52);
}

/** x = 2^k (1 + f) with 1 + f around 1; log(1 + f) = f - f^2/2 + s (f^2/2 + R), s = f / (2 + f) (fdlibm's e_log.c). */
double log(double x) {
  if (!(x > 0)) return x == 0 ? -__builtin_inf() : __builtin_nan("");
  if (x > 1.7976931348623157e308) return x;
  int64_t k = 0;
  if (x < 2.2250738585072014e-308) {  // subnormal
    x *= 18014398509481984.0;         // 2^54
    k = -54;
  }
  const uint64_t bits = bits_of(x) + (0x3ff0000000000000ull - 0x3fe6a09e00000000ull);  // 1 + f from sqrt(1/2) to sqrt(2)
  k += (int64_t)(bits >> 52) - 1023;
  const double f = of_bits((bits & 0x000fffffffffffffull) + 0x3fe6a09e00000000ull) - 1, half = 0.5 * f * f, s = f / (2 + f), z = s * s, w = z * z;
  const double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  const double odd = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  return s * (half + even + odd) + (double)k * kLog2Low - half + f + (double)k * kLog2High;
}

/** log(1 + x): what rounding 1 + x has lost is made up for by the slope of the logarithm there. */
double log1p(double x) {
  const double u = 1 + x;
  return u == 1 || u > 1.7976931348623157e308 ? x : log(u) + (x - (u - 1)) / u;
}

/** e^x - 1: what rounding e^x has lost is the same in its logarithm (Kahan's, in Higham, "Accuracy and Stability", 2002, 1.14.1). */
double expm1(double x) {
  if (x < -40) return -1;  // and where e^x has few digits, so has its logarithm
  const double u = exp(x);
  return u == 1 ? x : u > 1.7976931348623157e308 ? u : (u - 1) * (x / log(u));
}

}  // extern "C"
