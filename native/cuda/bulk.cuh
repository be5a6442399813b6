// Copies of contiguous memory between shared and global memory for compute capability 9.0, and counters by which blocks take turns at it. All is
// 16-byte aligned and whole 16 bytes. Copies to global memory are committed and awaited by the thread that began them.
#pragma once
#include "hopper.cuh"

namespace bk {
namespace cuda {

__device__ __forceinline__ void bulk_load(void* target, const void* global, int bytes, Mbarrier* barrier) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(target)), "l"(global), "r"(bytes),
               "r"(shared_address(barrier))
               : "memory");
#else
  memcpy(target, global, (size_t)bytes);
  barrier->bytes -= bytes;
  barrier->settle();
#endif
}
__device__ __forceinline__ void bulk_store(void* global, const void* from, int bytes) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(shared_address(from)), "r"(bytes) : "memory");
#else
  memcpy(global, from, (size_t)bytes);
#endif
}
/** Adds float32 to what is there. */
__device__ __forceinline__ void bulk_add(float* global, const float* from, int bytes) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global), "r"(shared_address(from)), "r"(bytes) : "memory");
#else
  for (int i = 0; i < bytes / 4; i++) global[i] += from[i];
#endif
}
__device__ __forceinline__ void bulk_commit() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}
/** Waits until what this thread has committed has been read from shared memory. */
__device__ __forceinline__ void bulk_wait_read() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
#endif
}
/** Waits until it has been written. */
__device__ __forceinline__ void bulk_wait() {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
#endif
}

/** Counts one more in global memory. Who waits for it then finds what this thread has written and seen, also by the copies of contiguous memory. */
__device__ __forceinline__ void count_up(int* counter) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile("fence.proxy.async;\nred.release.gpu.global.add.s32 [%0], 1;" ::"l"(counter) : "memory");
#else
  ++*counter;
#endif
}
/** Waits until so many, or more, have been counted. */
__device__ __forceinline__ void wait_for_count(const int* counter, int count) {
#if !defined(BK_CUDA_EMULATED)
  int now;
  do {
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
  } while (now < count);
  asm volatile("fence.proxy.async;" ::: "memory");
#else
  struct Wait {
    const int* counter;
    int count;
  } wait = {counter, count};
  cuda_emulation::wait_until(
      "wait_for_count", [](void* of) { return *((Wait*)of)->counter >= ((Wait*)of)->count; }, &wait);
#endif
}

}  // namespace cuda
}  // namespace bk
