// What compute capability 9.0 has besides (sm_90a): copies of whole tiles by a descriptor of their matrix, barriers in shared memory that
// count bytes, products of a warp group (128 threads) that read both operands from shared memory. PTX, and the same in C++ for the build
// whose kernels run on the CPU.
#pragma once
#include "tensor_core.cuh"

#if !defined(BK_CUDA_EMULATED)
#include <cuda.h>
#endif

// Whether what is compiled now may have them; kernels that need them are empty elsewhere.
#if defined(BK_CUDA_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define BK_HOPPER
#endif

namespace bk {
namespace cuda {

constexpr int kWarpGroup = 128;
/** Bytes of a row of a tile, whose chunks of 16 lie at chunk ^ (row % 8); and of the 8 rows after which the pattern repeats. */
constexpr int kSwizzle = 128, kSwizzled = 8 * kSwizzle;

#if !defined(BK_CUDA_EMULATED)
__device__ __forceinline__ uint32_t shared_address(const void* shared) { return (uint32_t)__cvta_generic_to_shared(shared); }
#endif

// ------------------------------------------------------------------------------------------------------------------ barriers

/** A barrier in shared memory: a phase ends when all that were announced have arrived, and all bytes that were expected. */
struct alignas(8) Mbarrier {
#if !defined(BK_CUDA_EMULATED)
  uint64_t word;
#else
  uint16_t announced, pending : 15, phase : 1;
  int32_t bytes;

  void settle() {
    if (pending || bytes) return;
    pending = announced;
    phase ^= 1;
  }
#endif
};

__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, int arrivals) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
#else
  *barrier = {};
  barrier->announced = barrier->pending = (uint16_t)arrivals;
#endif
}

/** Barriers that were made are there for copies and for other blocks of the cluster. */
__device__ __forceinline__ void fence_barriers() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#else
  barrier->pending--;
  barrier->settle();
#endif
}

/** At the same barrier of another block of the cluster. What this thread wrote may not be there yet: there is no fence of the whole device. */
__device__ __forceinline__ void mbarrier_arrive_at(Mbarrier* barrier, int block) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(block)
      : "memory");
#else
  (void)block;  // the emulation knows no clusters
  mbarrier_arrive(barrier);
#endif
}

/** Arrives, and expects bytes in this phase. */
__device__ __forceinline__ void mbarrier_expect(Mbarrier* barrier, int bytes) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
#else
  barrier->bytes += bytes;
  mbarrier_arrive(barrier);
#endif
}

#if defined(BK_CUDA_EMULATED)
inline void carry_out_a_copy();
#endif

/** Waits until the phase of this parity, 0 for the first, has ended. */
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, int parity) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra over;\n"
      "bra again;\n"
      "over:\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
#else
  struct Wait {
    const Mbarrier* barrier;
    int parity;
  } wait = {barrier, parity};
  cuda_emulation::wait_until(
      "mbarrier_wait",
      [](void* of) {
        const Wait& w = *(const Wait*)of;
        if (w.barrier->phase == w.parity) carry_out_a_copy();
        return w.barrier->phase != w.parity;
      },
      &wait);
#endif
}

/** Which stage of a ring is next, and the parity of its phase. */
template <int kStages>
struct Ring {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
  __device__ __forceinline__ void skip(int stages) {
    stage += stages;
    parity ^= stage / kStages & 1;
    stage %= kStages;
  }
};

// -------------------------------------------------------------------------------------------------------------------- copies

/** Has the 128 bytes around an address brought to the L2. */
__device__ __forceinline__ void prefetch_to_l2(const void* data) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(data));
#else
  (void)data;
#endif
}

/** A matrix of bfloat16 in global memory, and the part of it that is copied at once: 64 columns, 128 bytes, of some rows. */
#if !defined(BK_CUDA_EMULATED)
typedef CUtensorMap TensorMap;
#else
struct TensorMap {
  const bf16* data;
  int64_t pitch;
  int columns, rows, height;
};
#endif

/** On the host: the map of `columns` x `rows`, `pitch` elements apart (a multiple of 8), for copies of `height` rows. */
cudaError_t make_tensor_map(TensorMap* map, const bf16* data, int64_t pitch, int columns, int rows, int height);

/** On the host: whether ops go this way: on 9.0, if the library has code for 9.0, unless BERTKIT_CUDA_KERNELS=general asks for what all have. */
bool chooses_hopper(const Launch&);

#if defined(BK_CUDA_EMULATED)
/** A copy that has begun. It is carried out when somebody waits, for whatever it be; which of them is, changes. */
struct TileCopy {
  char* target;
  TensorMap map;  // that of the kernel lies where the thread that asks for copies has it, and may end before they do
  Mbarrier* barrier;
  int column, row;

  void operator()() const {
    for (int r = 0; r < map.height; r++)
      for (int c = 0; c < kSwizzle / 2; c++) {
        const bool inside = row + r >= 0 && row + r < map.rows && column + c >= 0 && column + c < map.columns;
        bf16* to = (bf16*)(target + r * kSwizzle + ((c / 8 ^ r % 8) << 4)) + c % 8;
        *to = inside ? map.data[(int64_t)(row + r) * map.pitch + column + c] : bf16{0};
      }
    barrier->bytes -= map.height * kSwizzle;
    barrier->settle();
  }
};
inline std::vector<TileCopy>& copies_begun() {
  static std::vector<TileCopy> begun;
  return begun;
}
inline void carry_out_a_copy() {
  static uint32_t draws = 1;
  std::vector<TileCopy>& begun = copies_begun();
  if (begun.empty()) return;
  draws = draws * 1664525u + 1013904223u;
  const auto one = begun.begin() + draws / 256 % begun.size();
  const TileCopy copy = *one;
  begun.erase(one);
  copy();
  cuda_emulation::carried_out++;
}
#endif

/** Copies a part into shared memory, its chunks swizzled; what lies outside the matrix is zeros. `target` is a multiple of 1024 bytes. */
__device__ __forceinline__ void copy_tile(char* target, const TensorMap* map, Mbarrier* barrier, int column, int row) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(target)),
               "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row)
               : "memory");
#else
  if ((uintptr_t)target % kSwizzled) cuda_emulation::fail("a tile is copied to a place that is no multiple of %d bytes", kSwizzled);
  memset(target, 0xff, map->height * kSwizzle);  // NaN, until it has arrived
  copies_begun().push_back({target, *map, barrier, column, row});
  cuda_emulation::block_ends = [] {
    const bool left = !copies_begun().empty();
    copies_begun().clear();
    return left ? "copies of tiles that nobody has waited for" : nullptr;
  };
#endif
}

/** The same into all blocks of the cluster whose bit is set, at the same places and barriers of theirs. */
__device__ __forceinline__ void copy_tile_to(char* target, const TensorMap* map, Mbarrier* barrier, int column, int row, uint16_t blocks) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5}], [%2], %3;" ::"r"(
                   shared_address(target)),
               "l"(map), "r"(shared_address(barrier)), "h"(blocks), "r"(column), "r"(row)
               : "memory");
#else
  (void)blocks;
  copy_tile(target, map, barrier, column, row);
#endif
}

/** What this thread has written to shared memory is there for products and copies, after the next barrier. */
__device__ __forceinline__ void fence_async() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/**
 * Writes four 8 x 8 matrices of 2-byte elements, as ldmatrix_x4 (tensor_core.cuh) reads them: lanes 8 i .. 8 i + 7 have the addresses of the
 * rows of matrix i, r[i] of a lane are elements 2 t and 2 t + 1 of row g.
 */
__device__ __forceinline__ void stmatrix_x4(const uint32_t r[4], void* shared) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(shared)), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
#else
  struct Mine {
    const uint32_t* r;
    char* row;
  } mine = {r, (char*)shared};
  cuda_emulation::warp_together("stmatrix_x4", 0xffffffffu, &mine, [](void* const* lanes, unsigned) {
    for (int lane = 0; lane < kWarp; lane++)
      for (int i = 0; i < 4; i++) *(uint32_t*)(((const Mine*)lanes[8 * i + lane / 4])->row + lane % 4 * 4) = ((const Mine*)lanes[lane])->r[i];
  });
#endif
}

// ------------------------------------------------------------------------------------------------------------------ clusters

__device__ __forceinline__ int cluster_rank() {
#if !defined(BK_CUDA_EMULATED)
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return 0;
#endif
}

/** Waits for all threads of the cluster. */
__device__ __forceinline__ void cluster_sync() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}

// ------------------------------------------------------------------------------------------------------------------ warps of a block

#if defined(BK_CUDA_EMULATED)
/** A barrier of some of a block's threads. */
struct EmulatedBarrier {
  int arrived, turns;

  void arrive(int threads) {
    if (++arrived < threads) return;
    arrived = 0;
    turns++;
  }
  void wait(const char* what, int threads) {
    struct Wait {
      EmulatedBarrier* barrier;
      int turn;
    } wait = {this, turns};
    arrive(threads);
    cuda_emulation::wait_until(
        what, [](void* of) { return ((Wait*)of)->barrier->turns != ((Wait*)of)->turn; }, &wait);
  }
};

inline EmulatedBarrier& emulated_barrier(int number) {
  static EmulatedBarrier barriers[16];
  return barriers[number];
}
#endif

/** Waits until `threads` threads, whole warps of the block, have come to barrier `number`, 1 to 15 (0 is that of __syncthreads). */
__device__ __forceinline__ void barrier_sync(int number, int threads) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
  emulated_barrier(number).wait("barrier_sync", threads);
#endif
}
/** Comes there, and goes on. */
__device__ __forceinline__ void barrier_arrive(int number, int threads) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
  emulated_barrier(number).arrive(threads);
#endif
}

/** Gives registers of this warp group back to, or takes them from, what the block has. */
template <int kCount>
__device__ __forceinline__ void give_registers() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
__device__ __forceinline__ void take_registers() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

}  // namespace cuda
}  // namespace bk
