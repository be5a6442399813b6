// The instructions of tensor cores and of copies to shared memory, from compute capability 8.0 on: PTX, and the same in C++ for the build
// whose kernels run on the CPU. All lanes of a warp take part in mma_* and ldmatrix_*. Where elements of a fragment are (PTX ISA, "Matrix
// fragments"), with g = lane / 4 and t = lane % 4, and in d and b of mma_bf16 as an example:
//
//   d[0], d[1]   row g,      columns 2 t, 2 t + 1      d[2], d[3]   row g + 8
//   b[0], b[1]   column g,   rows 2 t, 2 t + 1 as the halves of a word, and 8 more
#pragma once
#include "device.cuh"
#if defined(BK_CUDA_EMULATED)
#include <vector>
#endif

namespace bk {
namespace cuda {

#if defined(BK_CUDA_EMULATED)
namespace emulated {

template <class T>
struct Warp {
  T lane[kWarp];
};

/** What every lane of the warp has. */
template <class T>
Warp<T> gather(const T& mine) {
  Warp<T> all;
  cuda_emulation::warp_gather(&mine, sizeof(T), &all);
  return all;
}

/** Tensor cores cut what a float32 has no bits for. */
inline float toward_zero(double x) {
  const float y = (float)x;
  return fabs((double)y) > fabs(x) ? nextafterf(y, 0.0f) : y;
}

inline double half_of(uint32_t word, int i) { return to_float(bf16{(uint16_t)(word >> 16 * i)}); }
inline double tf32_of(uint32_t word) { return __uint_as_float(word & 0xffffe000u); }
inline int byte_of(uint32_t word, int i) { return (int8_t)(word >> 8 * i); }

struct Row {
  uint16_t at[8];
};

/** The rows whose addresses the lanes below `count` have, as ldmatrix spreads them. */
inline void ldmatrix(uint32_t* r, const void* shared, int matrices, bool trans) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  Row mine = {};
  if (lane < 8 * matrices) memcpy(&mine, shared, sizeof mine);
  const Warp<Row> rows = gather(mine);
  for (int i = 0; i < matrices; i++) {
    const Row* at = rows.lane + 8 * i;
    r[i] = trans ? at[2 * t].at[g] | (uint32_t)at[2 * t + 1].at[g] << 16 : at[g].at[2 * t] | (uint32_t)at[g].at[2 * t + 1] << 16;
  }
}

/** A copy that has begun. Some are carried out at once and some when they are waited for, as either may be relied on by mistake. */
struct Copy {
  void* to;
  const void* from;
  bool valid;
  int group;
  void operator()() const {
    if (valid)
      memcpy(to, from, 16);
    else
      memset(to, 0, 16);
  }
};
struct Copies {
  std::vector<Copy> begun;
  int groups = 0;
  uint32_t draws = 1;
};
/** Those of this thread: a thread of the host runs one block at a time. */
inline Copies& copies() {
  static thread_local std::vector<Copies> all(1024);
  return all[threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)];
}

}  // namespace emulated
#endif

/** d += a b of bfloat16: a is 16 x 16, b 16 x 8. */
__device__ __forceinline__ void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  struct Fragments {
    uint32_t a[4], b[2];
  };
  const emulated::Warp<Fragments> all = emulated::gather(Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  for (int i = 0; i < 4; i++) {
    double sum = d[i];
    for (int k = 0; k < 16; k++) {
      const uint32_t left = all.lane[4 * g + k % 8 / 2].a[i / 2 + k / 8 * 2], right = all.lane[4 * (2 * t + i % 2) + k % 8 / 2].b[k / 8];
      sum += emulated::half_of(left, k % 2) * emulated::half_of(right, k % 2);
    }
    d[i] = emulated::toward_zero(sum);
  }
#endif
}

/** d += a b of float32 words, of which only sign, exponent and 10 bits count (to_tf32): a is 16 x 8, b 8 x 8. */
__device__ __forceinline__ void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2]) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  struct Fragments {
    uint32_t a[4], b[2];
  };
  const emulated::Warp<Fragments> all = emulated::gather(Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  for (int i = 0; i < 4; i++) {
    double sum = d[i];
    for (int k = 0; k < 8; k++)
      sum += emulated::tf32_of(all.lane[4 * g + k % 4].a[i / 2 + k / 4 * 2]) * emulated::tf32_of(all.lane[4 * (2 * t + i % 2) + k % 4].b[k / 4]);
    d[i] = emulated::toward_zero(sum);
  }
#endif
}

/** d += a b of int8: a is 16 x 32, b 32 x 8; four k's to a word, the lowest byte first. */
__device__ __forceinline__ void mma_int8(int d[4], const uint32_t a[4], const uint32_t b[2]) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  struct Fragments {
    uint32_t a[4], b[2];
  };
  const emulated::Warp<Fragments> all = emulated::gather(Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 32; k++) {
      const uint32_t left = all.lane[4 * g + k % 16 / 4].a[i / 2 + k / 16 * 2], right = all.lane[4 * (2 * t + i % 2) + k % 16 / 4].b[k / 16];
      d[i] += emulated::byte_of(left, k % 4) * emulated::byte_of(right, k % 4);
    }
#endif
}

/** The nearest word of 10 bits of fraction, ties away from zero. x - to_float of it is exact. */
__device__ __forceinline__ uint32_t to_tf32(float x) {
#if !defined(BK_CUDA_EMULATED)
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
#else
  const uint32_t u = __float_as_uint(x);
  return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
#endif
}

/**
 * Four 8 x 8 matrices of 2-byte elements: lanes 8 i .. 8 i + 7 have the addresses of the rows of matrix i, 16-byte aligned. r[i] of a lane
 * are elements 2 t and 2 t + 1 of row g. _trans: of column g instead, so that rows in memory may be the contraction's.
 */
__device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], const void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"((uint32_t)__cvta_generic_to_shared(shared)));
#else
  emulated::ldmatrix(r, shared, 4, false);
#endif
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"((uint32_t)__cvta_generic_to_shared(shared)));
#else
  emulated::ldmatrix(r, shared, 4, true);
#endif
}
/** Two of them; the addresses of lanes from 16 on are not read. */
__device__ __forceinline__ void ldmatrix_x2(uint32_t r[2], const void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"((uint32_t)__cvta_generic_to_shared(shared)));
#else
  emulated::ldmatrix(r, shared, 2, false);
#endif
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t r[2], const void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"((uint32_t)__cvta_generic_to_shared(shared)));
#else
  emulated::ldmatrix(r, shared, 2, true);
#endif
}

/** Begins to copy 16 bytes, both addresses 16-byte aligned; where not `valid`, `global` is not read and zeros are written. */
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(shared)), "l"(global), "r"(valid ? 16 : 0)
               : "memory");
#else
  emulated::Copies& mine = emulated::copies();
  const emulated::Copy copy = {shared, global, valid, mine.groups};
  mine.draws = mine.draws * 1664525u + 1013904223u;
  if (mine.draws >> 31)
    copy();
  else
    mine.begun.push_back(copy);
#endif
}
/** What this thread has begun so far is a group. */
__device__ __forceinline__ void cp_async_commit() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulated::copies().groups++;
#endif
}
/** This thread's groups have arrived, but for the latest N. Other threads see them after a barrier. */
template <int N>
__device__ __forceinline__ void cp_async_wait() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#else
  emulated::Copies& mine = emulated::copies();
  size_t done = 0;
  for (; done < mine.begun.size() && mine.begun[done].group < mine.groups - N; done++) mine.begun[done]();
  mine.begun.erase(mine.begun.begin(), mine.begun.begin() + done);
#endif
}

}  // namespace cuda
}  // namespace bk
