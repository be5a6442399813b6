// Products of a warp group: d += a b, where a is 64 x 16 and b 16 x N of bfloat16 in shared memory (PTX ISA, "wgmma.mma_async"). `kAlong`: the depth
// runs along the rows of the operand's tiles; else across them. Warp w of the group has rows 16 w to 16 w + 15; with g = lane / 4 and
// t = lane % 4, d[4 j] and d[4 j + 1] are row g, columns 8 j + 2 t and 8 j + 2 t + 1, and d[4 j + 2], d[4 j + 3] those of row g + 8.
#pragma once
#include "hopper.cuh"

namespace bk {
namespace cuda {

/** Where an operand of a product lies: tiles as copy_tile writes them, and how far it is to the next. */
struct SharedMatrix {
#if !defined(BK_CUDA_EMULATED)
  uint64_t bits;
  __device__ __forceinline__ SharedMatrix advanced(int bytes) const { return {bits + (uint64_t)(bytes >> 4)}; }
#else
  const char* start;
  int blocks, groups;
  SharedMatrix advanced(int bytes) const { return {start + bytes, blocks, groups}; }
#endif
};

/** `blocks`: bytes between blocks of 64 lines where the depth runs across rows; `groups`: between groups of 8 rows. */
__device__ __forceinline__ SharedMatrix shared_matrix(const char* start, int blocks, int groups) {
#if !defined(BK_CUDA_EMULATED)
  const uint64_t address = shared_address(start) & 0x3ffff;
  return {address >> 4 | (uint64_t)(blocks >> 4) << 16 | (uint64_t)(groups >> 4) << 32 | (uint64_t)1 << 62};
#else
  return {start, blocks, groups};
#endif
}

#if defined(BK_CUDA_EMULATED)
/** Products are made by four warps together: none goes on before all have come. */
inline void emulate_warp_group_sync() {
  static EmulatedBarrier groups[1024 / kWarpGroup];
  groups[threadIdx.x / kWarpGroup].wait("a warp group", kWarpGroup);
}
#endif

__device__ __forceinline__ void warp_group_fence() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void warp_group_commit() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
/** Waits until at most this many committed groups of products go on. */
template <int kGoingOn>
__device__ __forceinline__ void warp_group_wait() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGoingOn) : "memory");
#else
  emulate_warp_group_sync();
#endif
}

/** The compiler takes sums that products go on with for changed at this place. */
template <int kCount>
__device__ __forceinline__ void hold(float (&sums)[kCount]) {
#if !defined(BK_CUDA_EMULATED)
#pragma unroll
  for (int i = 0; i < kCount; i++) asm volatile("" : "+f"(sums[i])::"memory");
#else
  (void)sums;
#endif
}
/** The same of the fragments that are the left factor of products, which must stay where they are until those are made. */
template <int kCount>
__device__ __forceinline__ void hold(uint32_t (&fragments)[kCount][4]) {
#if !defined(BK_CUDA_EMULATED)
#pragma unroll
  for (int i = 0; i < kCount; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) asm volatile("" : "+r"(fragments[i][j])::"memory");
#else
  (void)fragments;
#endif
}

#if defined(BK_CUDA_EMULATED)
/** An element of an operand, where the hardware looks for it. */
inline float element_of(const SharedMatrix& m, bool along, int line, int k) {
  const int64_t offset = along ? (int64_t)(line / 8) * m.groups + line % 8 * kSwizzle + k * 2
                               : (int64_t)(line / 64) * m.blocks + (int64_t)(k / 8) * m.groups + k % 8 * kSwizzle + line % 64 * 2;
  const uintptr_t address = (uintptr_t)m.start + (uintptr_t)offset;
  return to_float(*(const bf16*)(address ^ ((address >> 7 & 7) << 4)));
}

/** Each warp of the group computes its 16 rows. Element (i, k) of the left factor is `at(i, k)` of what lane `Left::lane(i, k)` brought. */
template <bool kAlongB, class Left, int kCount>
void emulate_warp_group_mma(float (&d)[kCount], const Left& a, const SharedMatrix& b, bool adds) {
  struct Mine {
    float* d;
    const Left* a;
    const SharedMatrix* b;
    bool adds;
  } mine = {d, &a, &b, adds};
  cuda_emulation::warp_together("warp_group_mma", 0xffffffffu, &mine, [](void* const* lanes, unsigned) {
    const Mine& first = *(const Mine*)lanes[0];
    constexpr int N = kCount * 2;
    static float left[16][16], right[N][16];
    for (int k = 0; k < 16; k++) {
      for (int i = 0; i < 16; i++) left[i][k] = ((const Mine*)lanes[Left::lane(i, k)])->a->at(i, k);
      for (int j = 0; j < N; j++) right[j][k] = element_of(*first.b, kAlongB, j, k);
    }
    for (int lane = 0; lane < kWarp; lane++)
      for (int i = 0; i < kCount; i++) {
        const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        double sum = first.adds ? ((const Mine*)lanes[lane])->d[i] : 0;
        for (int k = 0; k < 16; k++) sum += (double)left[row][k] * right[column][k];
        ((const Mine*)lanes[lane])->d[i] = (float)sum;
      }
  });
}

/** The left factor: this warp's 16 rows of a matrix in shared memory, or registers. */
template <bool kAlong>
struct SharedLeft {
  const SharedMatrix& a;
  int warp = (int)threadIdx.x % kWarpGroup / kWarp;
  static int lane(int, int) { return 0; }
  float at(int i, int k) const { return element_of(a, kAlong, 16 * warp + i, k); }
};
struct RegisterLeft {
  const uint32_t (&a)[4];
  static int lane(int i, int k) { return i % 8 * 4 + k % 8 / 2; }
  float at(int i, int k) const {
    bf16 two[2];
    memcpy(two, &a[i / 8 + k / 8 * 2], sizeof two);
    return to_float(two[k % 2]);
  }
};
#endif

#if !defined(BK_CUDA_EMULATED)
#define BK_FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define BK_SIXTEEN(i) BK_FOUR(i), BK_FOUR(i + 4), BK_FOUR(i + 8), BK_FOUR(i + 12)
#define BK_SUMS_4 BK_FOUR(0)
#define BK_SUMS_32 BK_SIXTEEN(0), BK_SIXTEEN(16)
#define BK_SUMS_64 BK_SUMS_32, BK_SIXTEEN(32), BK_SIXTEEN(48)
#define BK_SUMS_128 BK_SUMS_64, BK_SIXTEEN(64), BK_SIXTEEN(80), BK_SIXTEEN(96), BK_SIXTEEN(112)
#define BK_NAMES_4 "%0, %1, %2, %3"
#define BK_NAMES_32                                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define BK_NAMES_64                                                                  \
  BK_NAMES_32                                                                        \
  ", "                                                                               \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define BK_NAMES_128                                                                             \
  BK_NAMES_64                                                                                    \
  ", "                                                                                           \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "             \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "             \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#endif

// One function for each number of columns. Of the asm's operands the first are d's; a, b, adds and which of a and b run along have the numbers given.
#if !defined(BK_CUDA_EMULATED)
#define BK_PRODUCTS(columns, count, a_operand, b, adds, along)                                                                               \
  "{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #adds ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" BK_NAMES_##count \
      "}, " a_operand ", %" #b ", adds, 1, 1, " along ";\n}\n"
#define BK_SHARED_PRODUCTS(columns, count, a_, b_, adds_, along_a, along_b)                                                          \
  template <int kAlongA, int kAlongB>                                                                                                \
  __device__ __forceinline__ void warp_group_mma(float(&d)[count], const SharedMatrix& a, const SharedMatrix& b, bool adds = true) { \
    asm volatile(BK_PRODUCTS(columns, count, "%" #a_, b_, adds_, "%" #along_a ", %" #along_b)                                        \
                 : BK_SUMS_##count                                                                                                   \
                 : "l"(a.bits), "l"(b.bits), "r"((int)adds), "n"(1 - kAlongA), "n"(1 - kAlongB));                                    \
  }
#define BK_REGISTER_PRODUCTS(columns, count, a0, a1, a2, a3, b_, adds_, along_b)                                                     \
  template <int kAlongB>                                                                                                             \
  __device__ __forceinline__ void warp_group_mma(float(&d)[count], const uint32_t(&a)[4], const SharedMatrix& b, bool adds = true) { \
    asm volatile(BK_PRODUCTS(columns, count, "{%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}", b_, adds_, "%" #along_b)                    \
                 : BK_SUMS_##count                                                                                                   \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits), "r"((int)adds), "n"(1 - kAlongB));                       \
  }
BK_SHARED_PRODUCTS(8, 4, 4, 5, 6, 7, 8)
BK_SHARED_PRODUCTS(64, 32, 32, 33, 34, 35, 36)
BK_SHARED_PRODUCTS(128, 64, 64, 65, 66, 67, 68)
BK_SHARED_PRODUCTS(256, 128, 128, 129, 130, 131, 132)
// the left factor in registers, as fragments of mma_bf16 (tensor_core.cuh) of each warp's 16 rows
BK_REGISTER_PRODUCTS(64, 32, 32, 33, 34, 35, 36, 37, 38)
BK_REGISTER_PRODUCTS(128, 64, 64, 65, 66, 67, 68, 69, 70)
#else
template <int kAlongA, int kAlongB, int kCount>
void warp_group_mma(float (&d)[kCount], const SharedMatrix& a, const SharedMatrix& b, bool adds = true) {
  emulate_warp_group_mma<kAlongB>(d, SharedLeft<kAlongA>{a}, b, adds);
}
template <int kAlongB, int kCount>
void warp_group_mma(float (&d)[kCount], const uint32_t (&a)[4], const SharedMatrix& b, bool adds = true) {
  emulate_warp_group_mma<kAlongB>(d, RegisterLeft{a}, b, adds);
}
#endif

}  // namespace cuda
}  // namespace bk
