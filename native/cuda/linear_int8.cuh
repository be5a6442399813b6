// How a weight of int8 lies in memory (ops.def): a word holds four k's of a row, the lowest byte first; panels of 16 rows one after another,
// in each, for every four k's, a word of each row.
#pragma once
#include "device.cuh"

namespace bk {
namespace cuda {

constexpr int kInt8Panel = 16;  // rows
/** Columns of x that share a scale. */
constexpr int kInt8Block = 64;

__host__ __device__ constexpr int int8_depth(int K) { return ceil_div(K, 4); }

/** That a weight's words are there. */
inline Status check_int8(const char* where, int64_t N, int K, int64_t words) {
  const int64_t needed = round_up(N, kInt8Panel) * int8_depth(K);
  if (words < needed) return {where, 0, words, needed, INT64_MAX};
  return kOk;
}

/** Where the word of four k's of a row is. */
__device__ __forceinline__ int64_t int8_word(int n, int k, int K) { return ((int64_t)(n / kInt8Panel) * int8_depth(K) + k / 4) * kInt8Panel + n % kInt8Panel; }
/** How elements become whole multiples, from -127 to 127, of a scale. */
struct Quantizer {
  float scale, inverse;

  /** For elements of this greatest magnitude; where not all are `finite` the scale is NaN. A scale below the least normal number is 0. */
  __device__ static Quantizer of(float most, bool finite) {
    const float scale = __fdiv_rn(most, 127.0f);
    const bool counts = finite && scale >= 1.17549435e-38f;
    return {finite ? (counts ? scale : 0.0f) : __uint_as_float(0x7fc00000u), counts ? __fdiv_rn(1.0f, scale) : 0.0f};
  }
  /** Any number of int8 for what is not finite. */
  __device__ uint32_t byte(float x) const { return (uint32_t)__float2int_rn(fminf(fmaxf(__fmul_rn(x, inverse), -127.0f), 127.0f)) & 0xff; }
  __device__ uint32_t word(const float (&x)[4]) const { return byte(x[0]) | byte(x[1]) << 8 | byte(x[2]) << 16 | byte(x[3]) << 24; }
};

__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) <= 3.40282347e38f; }

/** Elements k to k + 3 of a row, zeros from K on. */
__device__ __forceinline__ void load_four(const float* row, int k, int K, float (&x)[4]) {
  if (K % 4 == 0 && k < K) {
    const float4 four = *(const float4*)(row + k);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = k + i < K ? row[k + i] : 0.0f;
  }
}

}  // namespace cuda
}  // namespace bk
