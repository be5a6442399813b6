// Consecutive elements of a row, moved with accesses of up to 16 bytes and computed with in float32.
#pragma once
#include "device.cuh"

namespace bk {
namespace cuda {

/** Elements in 16 bytes. */
template <class T>
constexpr int kWidth = 16 / (int)sizeof(T);

/** N elements from `from` on, which is aligned to all of them or to 16 bytes. */
template <int N>
__device__ __forceinline__ void load(const float* from, float (&to)[N]) {
  static_assert(N == 1 || N == 2 || N % 4 == 0, "expected 1, 2, or fours");
  if (N == 1) to[0] = from[0];
  if (N == 2) {
    const float2 pair = *(const float2*)from;
    to[0] = pair.x;
    to[N - 1] = pair.y;
  }
#pragma unroll
  for (int i = 0; i + 4 <= N; i += 4) {
    const float4 four = *(const float4*)(from + i);
    to[i] = four.x;
    to[i + 1] = four.y;
    to[i + 2] = four.z;
    to[i + 3] = four.w;
  }
}

template <int N>
__device__ __forceinline__ void unpack_bf16(const uint32_t (&words)[N], float* to) {
#pragma unroll
  for (int i = 0; i < N; i++) {
    to[2 * i] = __uint_as_float(words[i] << 16);
    to[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

template <int N>
__device__ __forceinline__ void load(const bf16* from, float (&to)[N]) {
  static_assert(N == 1 || N == 2 || N == 4 || N % 8 == 0, "expected 1, 2, 4, or eights");
  if (N == 1) to[0] = to_float(from[0]);
  if (N == 2) {
    const uint32_t words[1] = {*(const uint32_t*)from};
    unpack_bf16(words, to);
  }
  if (N == 4) {
    const uint2 pair = *(const uint2*)from;
    const uint32_t words[2] = {pair.x, pair.y};
    unpack_bf16(words, to);
  }
#pragma unroll
  for (int i = 0; i + 8 <= N; i += 8) {
    const uint4 four = *(const uint4*)(from + i);
    const uint32_t words[4] = {four.x, four.y, four.z, four.w};
    unpack_bf16(words, to + i);
  }
}

template <int N>
__device__ __forceinline__ void store(float* to, const float (&from)[N]) {
  static_assert(N == 1 || N == 2 || N % 4 == 0, "expected 1, 2, or fours");
  if (N == 1) to[0] = from[0];
  if (N == 2) *(float2*)to = make_float2(from[0], from[N - 1]);
#pragma unroll
  for (int i = 0; i + 4 <= N; i += 4) *(float4*)(to + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
}

template <int N>
__device__ __forceinline__ void store(bf16* to, const float (&from)[N]) {
  static_assert(N == 1 || N == 2 || N == 4 || N % 8 == 0, "expected 1, 2, 4, or eights");
  if (N == 1) to[0] = to_bf16(from[0]);
  if (N == 2) *(uint32_t*)to = to_bf16_pair(from[0], from[N - 1]);
  if (N == 4) *(uint2*)to = make_uint2(to_bf16_pair(from[0], from[1]), to_bf16_pair(from[N - 2], from[N - 1]));
#pragma unroll
  for (int i = 0; i + 8 <= N; i += 8)
    *(uint4*)(to + i) = make_uint4(to_bf16_pair(from[i], from[i + 1]), to_bf16_pair(from[i + 2], from[i + 3]), to_bf16_pair(from[i + 4], from[i + 5]),
                                   to_bf16_pair(from[i + 6], from[i + 7]));
}

}  // namespace cuda
}  // namespace bk
