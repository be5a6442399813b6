// Atomic operations: one thread runs at a time, so they need nothing.
#pragma once
#include "threads.h"

namespace cuda_emulation {
template <class T>
inline T exchange(T* place, T value) {
  const T old = *place;
  *place = value;
  return old;
}
}  // namespace cuda_emulation

#define BK_ATOMICS(T)                                                                    \
  inline T atomicAdd(T* p, T x) { return cuda_emulation::exchange(p, (T)(*p + x)); }     \
  inline T atomicSub(T* p, T x) { return cuda_emulation::exchange(p, (T)(*p - x)); }     \
  inline T atomicMin(T* p, T x) { return cuda_emulation::exchange(p, *p < x ? *p : x); } \
  inline T atomicMax(T* p, T x) { return cuda_emulation::exchange(p, *p > x ? *p : x); } \
  inline T atomicAnd(T* p, T x) { return cuda_emulation::exchange(p, (T)(*p & x)); }     \
  inline T atomicOr(T* p, T x) { return cuda_emulation::exchange(p, (T)(*p | x)); }      \
  inline T atomicXor(T* p, T x) { return cuda_emulation::exchange(p, (T)(*p ^ x)); }     \
  inline T atomicExch(T* p, T x) { return cuda_emulation::exchange(p, x); }              \
  inline T atomicCAS(T* p, T expected, T x) { return cuda_emulation::exchange(p, *p == expected ? x : *p); }
BK_ATOMICS(int)
BK_ATOMICS(unsigned)
BK_ATOMICS(unsigned long long)
#undef BK_ATOMICS

inline float atomicAdd(float* p, float x) { return cuda_emulation::exchange(p, *p + x); }
inline double atomicAdd(double* p, double x) { return cuda_emulation::exchange(p, *p + x); }
inline float atomicExch(float* p, float x) { return cuda_emulation::exchange(p, x); }
inline unsigned atomicInc(unsigned* p, unsigned most) { return cuda_emulation::exchange(p, *p >= most ? 0u : *p + 1); }
inline unsigned atomicDec(unsigned* p, unsigned most) { return cuda_emulation::exchange(p, *p == 0 || *p > most ? most : *p - 1); }
