// Vectors, as CUDA has them: with its alignments, because a device refuses accesses that are not aligned to the whole vector.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <initializer_list>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

#define BK_VECTORS(base, scalar, align2, align4)                                    \
  struct base##1 {                                                                  \
    scalar x;                                                                       \
  };                                                                                \
  struct alignas(align2) base##2 {                                                  \
    scalar x, y;                                                                    \
  };                                                                                \
  struct base##3 {                                                                  \
    scalar x, y, z;                                                                 \
  };                                                                                \
  struct alignas(align4) base##4 {                                                  \
    scalar x, y, z, w;                                                              \
  };                                                                                \
  inline base##1 make_##base##1(scalar x) { return {x}; }                           \
  inline base##2 make_##base##2(scalar x, scalar y) { return {x, y}; }              \
  inline base##3 make_##base##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
  inline base##4 make_##base##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

BK_VECTORS(char, signed char, 2, 4)
BK_VECTORS(uchar, unsigned char, 2, 4)
BK_VECTORS(short, short, 4, 8)
BK_VECTORS(ushort, unsigned short, 4, 8)
BK_VECTORS(int, int, 8, 16)
BK_VECTORS(uint, unsigned, 8, 16)
BK_VECTORS(longlong, long long, 16, 16)
BK_VECTORS(ulonglong, unsigned long long, 16, 16)
BK_VECTORS(float, float, 8, 16)
BK_VECTORS(double, double, 16, 16)
#undef BK_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
