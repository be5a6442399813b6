// The instructions of tensor cores and of copies to shared memory, from compute capability 8.0 on: PTX, and the same in C++ for the build
// whose kernels run on the CPU. All lanes of a warp take part in mma_* and ldmatrix_*. Where elements of a fragment are (PTX ISA, "Matrix
// fragments"), with g = lane / 4 and t = lane % 4, and in d and b of mma_bf16 as an example:
//
//   d[0], d[1]   row g,      columns 2 t, 2 t + 1      d[2], d[3]   row g + 8
//   b[0], b[1]   column g,   rows 2 t, 2 t + 1 as the halves of a word, and 8 more
#pragma once
#include "device.cuh"
#if defined(BK_CUDA_EMULATED)
#include <math.h>
#include <vector>
#endif

namespace bk {
namespace cuda {

#if defined(BK_CUDA_EMULATED)
namespace emulated {

/** What a lane brings to a product. */
template <class T>
struct Product {
  T* d;
  const uint32_t *a, *b;
};

/** Tensor cores cut what a float32 has no bits for. */
inline float rounded(double x) {
  uint64_t bits;
  memcpy(&bits, &x, 8);
  bits &= ~0x1fffffffull;
  double cut;
  memcpy(&cut, &bits, 8);
  return fabs(x) > 3.4028234663852886e38 && fabs(x) < HUGE_VAL ? copysignf(3.40282347e38f, (float)x) : (float)cut;
}
inline int rounded(int x) { return x; }

// The elements of a word, of a fragment whose words have `kPerWord` of them.
struct Halves {
  static constexpr int kPerWord = 2;
  static double at(uint32_t word, int i) { return to_float(bf16{(uint16_t)(word >> 16 * i)}); }
};
struct Words {
  static constexpr int kPerWord = 1;
  static double at(uint32_t word, int) { return __uint_as_float(word & 0xffffe000u); }
};
struct Bytes {
  static constexpr int kPerWord = 4;
  static int at(uint32_t word, int i) { return (int8_t)(word >> 8 * i); }
};

/** d += a b, of a 16 x 8 words and b 8 words x 8. */
template <class Elements, class T>
void mma(T* d, const uint32_t* a, const uint32_t* b) {
  Product<T> mine = {d, a, b};
  const auto together = [](void* const* lanes, unsigned) {
    constexpr int kPerWord = Elements::kPerWord, kDepth = 8 * kPerWord;
    typedef decltype(Elements::at(0, 0)) Number;
    const Product<T>* const* from = (const Product<T>* const*)lanes;
    Number left[16][kDepth], right[kDepth][8], sums[16][8];
    for (int lane = 0; lane < kWarp; lane++) {
      for (int word = 0; word < 4; word++)
        for (int i = 0; i < kPerWord; i++) {
          const int k = (word / 2 * 4 + lane % 4) * kPerWord + i;
          left[lane / 4 + word % 2 * 8][k] = Elements::at(from[lane]->a[word], i);
          if (word % 2 == 0) right[k][lane / 4] = Elements::at(from[lane]->b[word / 2], i);
        }
      for (int i = 0; i < 4; i++) sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = from[lane]->d[i];
    }
    for (int row = 0; row < 16; row++)
      for (int k = 0; k < kDepth; k++)
        for (int column = 0; column < 8; column++) sums[row][column] += left[row][k] * right[k][column];
    for (int lane = 0; lane < kWarp; lane++)
      for (int i = 0; i < 4; i++) from[lane]->d[i] = rounded(sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
  };
  cuda_emulation::warp_together("mma", 0xffffffffu, &mine, together);
}

/** What a lane brings to ldmatrix. */
struct Loaded {
  uint32_t* words;
  const uint16_t* row;
};

template <int kMatrices, bool kTrans>
void ldmatrix(uint32_t* words, const void* shared) {
  if (cuda_emulation::lane() < 8 * kMatrices && (uintptr_t)shared % 16 != 0) cuda_emulation::fail("ldmatrix of %p, which is not 16-byte aligned", shared);
  Loaded mine = {words, (const uint16_t*)shared};
  const auto together = [](void* const* lanes, unsigned) {
    const Loaded* const* from = (const Loaded* const*)lanes;
    for (int lane = 0; lane < kWarp; lane++)
      for (int i = 0; i < kMatrices; i++) {
        const int g = lane / 4, t = lane % 4;
        const auto at = [&](int row, int column) { return (uint32_t)from[8 * i + row]->row[column]; };
        from[lane]->words[i] = kTrans ? at(2 * t, g) | at(2 * t + 1, g) << 16 : at(g, 2 * t) | at(g, 2 * t + 1) << 16;
      }
  };
  cuda_emulation::warp_together("ldmatrix", 0xffffffffu, &mine, together);
}

/** A copy that has begun. Some are carried out at once and some when they are waited for, as a kernel may rely on either by mistake. */
struct Copy {
  void* to;
  const void* from;
  int bytes;
  bool valid;
  int group;
  void operator()() const {
    if (valid)
      memcpy(to, from, bytes);
    else
      memset(to, 0, bytes);
  }
};
struct Copies {
  std::vector<Copy> begun;
  int groups = 0;
  uint32_t draws = 1;
};
/** Those of this thread of the block that runs. */
inline Copies& copies() {
  static std::vector<Copies> all(1024);
  return all[threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)];
}
inline void copy(void* to, const void* from, int bytes, bool valid) {
  if (((uintptr_t)to | (uintptr_t)from) % bytes != 0) cuda_emulation::fail("cp.async of %p to %p, which are not both %d-byte aligned", from, to, bytes);
  Copies& mine = copies();
  const Copy copy = {to, from, bytes, valid, mine.groups};
  mine.draws = mine.draws * 1664525u + 1013904223u;
  if (mine.draws >> 31)
    copy();
  else
    mine.begun.push_back(copy);
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
  emulated::mma<emulated::Halves>(d, a, b);
#endif
}

/** d += a b of float32 words, of which only sign, exponent and 10 bits count (to_tf32): a is 16 x 8, b 8 x 8. */
__device__ __forceinline__ void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2]) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated::mma<emulated::Words>(d, a, b);
#endif
}

/** d += a b of int8: a is 16 x 32, b 32 x 8; four k's to a word, the lowest byte first. */
__device__ __forceinline__ void mma_int8(int d[4], const uint32_t a[4], const uint32_t b[2]) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated::mma<emulated::Bytes>(d, a, b);
#endif
}

/**
 * The nearest word of 10 bits of fraction, ties away from zero; x minus it is exact. cvt.rna.tf32 takes more instructions on
 * compute capability 9.0. A NaN is made quiet: of 0x7fffffff, which arithmetic makes,
 * rounding would make a zero, and of one whose upper bits are zeros tensor cores make an infinity.
 */
__device__ __forceinline__ uint32_t to_tf32(float x) { return x != x ? 0x7fc00000u : (__float_as_uint(x) + 0x1000u) & 0xffffe000u; }

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
  emulated::ldmatrix<4, false>(r, shared);
#endif
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"((uint32_t)__cvta_generic_to_shared(shared)));
#else
  emulated::ldmatrix<4, true>(r, shared);
#endif
}
/** Two of them; the addresses of lanes from 16 on are not read. */
__device__ __forceinline__ void ldmatrix_x2(uint32_t r[2], const void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"((uint32_t)__cvta_generic_to_shared(shared)));
#else
  emulated::ldmatrix<2, false>(r, shared);
#endif
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t r[2], const void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"((uint32_t)__cvta_generic_to_shared(shared)));
#else
  emulated::ldmatrix<2, true>(r, shared);
#endif
}

/** Begins to copy 16 bytes, both addresses 16-byte aligned; where not `valid`, `global` is not read and zeros are written. */
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(shared)), "l"(global), "r"(valid ? 16 : 0)
               : "memory");
#else
  emulated::copy(shared, global, 16, valid);
#endif
}
/** Begins to copy 8 or 16 bytes, of which both addresses are multiples. */
template <int BYTES>
__device__ __forceinline__ void cp_async(void* shared, const void* global) {
  static_assert(BYTES == 8 || BYTES == 16, "expected 8 or 16 bytes");
#if !defined(BK_CUDA_EMULATED)
  const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
  if (BYTES == 16)
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
  else
    asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 8;" ::"r"(to), "l"(global) : "memory");
#else
  emulated::copy(shared, global, BYTES, true);
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
