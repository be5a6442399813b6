// What kernels of every family use: elements of either type, sums over a warp and a block, a block's dynamic shared memory. BK_CUDA_EMULATED
// is the build whose kernels run on the CPU (test/native/cuda); only what has instructions of the device's in it knows of it.
#pragma once
#include <math.h>

#include "kernel.cuh"

namespace bk {
namespace cuda {

constexpr int kWarp = 32;

/**
 * What every thread of a kernel does, once, that Launch::early launches: waits for the kernel before it, which goes on while this one's blocks
 * get their places, and lets the next one's blocks have theirs. Until then a kernel may touch its shared memory and read RunState, which no
 * kernel writes.
 */
__device__ __forceinline__ void begin_kernel() {
#if defined(BK_CUDA_EMULATED)
  cuda_emulation::threads_begun++;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\ngriddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/** bfloat16, the upper half of a float32. */
struct bf16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float((uint32_t)x.bits << 16); }

/** Rounds to the nearest, ties to even; NaN stays NaN. */
__device__ __forceinline__ bf16 to_bf16(float x) {
#if !defined(BK_CUDA_EMULATED)
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  const uint32_t u = __float_as_uint(x);
  if (x != x) return {(uint16_t)(u >> 16 | 0x40)};
  return {(uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16)};
#endif
}

/** Two, the first in the lower half. */
__device__ __forceinline__ uint32_t to_bf16_pair(float low, float high) {
#if !defined(BK_CUDA_EMULATED)
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return (uint32_t)to_bf16(low).bits | (uint32_t)to_bf16(high).bits << 16;
#endif
}

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return to_bf16(x);
}

/** What a value is after it was stored as T. */
template <class T>
__device__ __forceinline__ float as_stored(float x) {
  return to_float(from_float<T>(x));
}

/** On the host: calls body(T()) with the C++ type of an element type. */
template <class Body>
auto with_type(ElementType type, Body body) -> decltype(body(float())) {
  return type == kBfloat16 ? body(bf16()) : body(float());
}

/** 2^x within 2^-22 of itself, 0 where that is below the normal numbers: one instruction. */
__device__ __forceinline__ float exp2_fast(float x) {
#if !defined(BK_CUDA_EMULATED)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return x < -126 ? 0.0f : exp2f(x);
#endif
}

/** Byte i of the result is the byte that nibble i of `selector` names: 0 to 3 of a, 4 to 7 of b; with 8 more, its sign in all eight bits. */
__device__ __forceinline__ uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
#if !defined(BK_CUDA_EMULATED)
  uint32_t bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(a), "r"(b), "r"(selector));
  return bytes;
#else
  const uint64_t all = (uint64_t)b << 32 | a;
  uint32_t bytes = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t nibble = selector >> 4 * i & 0xf, byte = (uint32_t)(all >> 8 * (nibble & 7)) & 0xff;
    bytes |= (nibble & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << 8 * i;
  }
  return bytes;
#endif
}

/** x, but the compiler forgets what it knows of it: what follows from it is computed where it is used, not kept in registers from before a loop. */
__device__ __forceinline__ int opaque(int x) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("" : "+r"(x));
#endif
  return x;
}

/** Sums of float32 or float64 in the same order on every lane, which all get the sum. All lanes of the warp take part. */
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

/**
 * What each warp of a block has of its own: lane i of every warp gets that of warp i, and `rest` where there is none. For a block of whole
 * warps, at most 1024 threads, which all take part; may be called again at once.
 */
template <class T>
__device__ __forceinline__ T exchange_warps(T of_warp, T rest) {
  __shared__ T all[kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  __syncthreads();  // those of a call before this one have been read
  if (lane == 0) all[warp] = of_warp;
  __syncthreads();
  return lane < (int)blockDim.x / kWarp ? all[lane] : rest;
}
/** Over a block, see exchange_warps; all threads get the result. */
template <class T>
__device__ __forceinline__ T block_sum(T x) {
  return warp_sum(exchange_warps(warp_sum(x), T(0)));
}
__device__ __forceinline__ float block_max(float x) { return warp_max(exchange_warps(warp_max(x), -INFINITY)); }

/** The dynamic shared memory of the block, 128-byte aligned. */
__device__ __forceinline__ char* dynamic_shared() {
#if !defined(BK_CUDA_EMULATED)
  extern __shared__ __align__(128) char bk_dynamic_shared[];
  return bk_dynamic_shared;
#else
  return cuda_emulation::dynamic_shared();
#endif
}

/** A parameter's gradient is added to: `accumulate` of its record, or of this run (ops.def). */
__device__ __forceinline__ bool accumulates(const RunState* state, bool accumulate) { return accumulate || state->scalars[kScalar_accumulate] != 0; }

__host__ __device__ constexpr int ceil_div(int64_t a, int64_t b) { return (int)((a + b - 1) / b); }
__host__ __device__ constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

}  // namespace cuda
}  // namespace bk
