// What a thread knows of itself, and how threads of a block and of a warp wait for each other.
#pragma once
#include <type_traits>

#include "types.h"

#define BK_EMULATION __attribute__((visibility("hidden")))

// Of the thread that runs, written when another one's turn comes.
extern BK_EMULATION uint3 threadIdx, blockIdx;
extern BK_EMULATION dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// thread_local, so that all shared variables lie together, where they are filled with NaN before each block: no other variables of
// the library that hold zero at first may be thread_local.
#define __shared__ static thread_local

namespace cuda_emulation {

/** The block's dynamic shared memory, 128-byte aligned, its last 128 bytes before memory that cannot be touched. */
BK_EMULATION char* dynamic_shared();

/** The number of this thread in its warp. */
BK_EMULATION int lane();

/** Ends the launch with cudaErrorLaunchFailure and this text. */
[[noreturn]] BK_EMULATION void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/** What is done when all lanes of `mask` have come: `lanes` has what each has brought, and null for those that are not in the mask. */
typedef void (*Together)(void* const* lanes, unsigned mask);

/**
 * Waits until all lanes of `mask` have come to this line, then one of them calls `together` for all of them, once. So it can read what
 * each lane brought in *mine, and write there what it gets. It is an error when a lane comes to another line, or has ended.
 */
BK_EMULATION void warp_together(const char* what, unsigned mask, void* mine, Together together, const char* file = __builtin_FILE(),
                                int line = __builtin_LINE());

/** Every lane of the warp brings a T and gets those of all. */
template <class T>
inline void warp_gather(const T& mine, T* all32, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  struct Place {
    const T* mine;
    T* all;
  } place = {&mine, all32};
  const Together copy = [](void* const* lanes, unsigned) {
    for (int to = 0; to < 32; to++)
      for (int from = 0; from < 32; from++) ((Place*)lanes[to])->all[from] = *((Place*)lanes[from])->mine;
  };
  warp_together("warp_gather", 0xffffffffu, &place, copy, file, line);
}

/** Waits for all threads of the block that have not ended. Returns how many of them came with `predicate`. */
BK_EMULATION int block_together(const char* what, bool predicate, int* threads, const char* file, int line);

/** Whether what a thread waits for has come. */
typedef bool (*Ready)(void* of);

/** Waits until `ready(of)`, which other threads of the block bring about. */
BK_EMULATION void wait_until(const char* what, Ready ready, void* of, const char* file = __builtin_FILE(), int line = __builtin_LINE());
/** How often a `ready` has done something that others may wait for, besides looking: all that wait are asked again then. */
extern long carried_out;

template <class T>
struct Shuffle {
  T value;
  int source;
  T result;
};

template <class T>
inline T shuffle(const char* what, unsigned mask, T value, int source, const char* file, int line) {
  static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8), "expected an int, a float, or one of their 64-bit kin");
  Shuffle<T> mine = {value, source, T()};
  const Together together = [](void* const* lanes, unsigned mask) {
    for (int i = 0; i < 32; i++) {
      if (!(mask >> i & 1)) continue;
      Shuffle<T>* to = (Shuffle<T>*)lanes[i];
      const Shuffle<T>* from = (const Shuffle<T>*)lanes[to->source];
      if (!from) fail("lane %d shuffles from lane %d, which is not in the mask 0x%08x", i, to->source, mask);
      to->result = from->value;
    }
  };
  warp_together(what, mask, &mine, together, file, line);
  return mine.result;
}

template <class T>
struct Reduced {
  T value;
};

template <class T, class Operation>
inline T reduce(const char* what, unsigned mask, T value, Operation, const char* file, int line) {
  Reduced<T> mine = {value};
  const Together together = [](void* const* lanes, unsigned mask) {
    T sum = T();
    bool first = true;
    for (int i = 0; i < 32; i++)
      if (mask >> i & 1) {
        const T x = ((Reduced<T>*)lanes[i])->value;
        sum = first ? x : Operation::of(sum, x);
        first = false;
      }
    for (int i = 0; i < 32; i++)
      if (mask >> i & 1) ((Reduced<T>*)lanes[i])->value = sum;
  };
  warp_together(what, mask, &mine, together, file, line);
  return mine.value;
}

#define BK_OPERATION(name, expression) \
  struct name {                        \
    template <class T>                 \
    static T of(T a, T b) {            \
      return expression;               \
    }                                  \
  };
BK_OPERATION(Add, a + b)
BK_OPERATION(Min, a < b ? a : b)
BK_OPERATION(Max, a > b ? a : b)
BK_OPERATION(And, a& b)
BK_OPERATION(Or, a | b)
BK_OPERATION(Xor, a ^ b)
#undef BK_OPERATION

}  // namespace cuda_emulation

// The place that an error names is where these are called.
#define BK_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(BK_PLACE) { cuda_emulation::block_together("__syncthreads", false, nullptr, file, line); }
inline int __syncthreads_count(int predicate, BK_PLACE) { return cuda_emulation::block_together("__syncthreads_count", predicate != 0, nullptr, file, line); }
inline int __syncthreads_or(int predicate, BK_PLACE) { return cuda_emulation::block_together("__syncthreads_or", predicate != 0, nullptr, file, line) != 0; }
inline int __syncthreads_and(int predicate, BK_PLACE) {
  int threads;
  return cuda_emulation::block_together("__syncthreads_and", predicate != 0, &threads, file, line) == threads;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, BK_PLACE) {
  cuda_emulation::warp_together(
      "__syncwarp", mask, nullptr, [](void* const*, unsigned) {}, file, line);
}

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, BK_PLACE) {
  const int lane = cuda_emulation::lane();
  return cuda_emulation::shuffle("__shfl_sync", mask, value, (lane & ~(width - 1)) | (source & (width - 1)), file, line);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, BK_PLACE) {
  const int lane = cuda_emulation::lane(), source = lane - (int)delta;
  return cuda_emulation::shuffle("__shfl_up_sync", mask, value, source < (lane & ~(width - 1)) ? lane : source, file, line);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, BK_PLACE) {
  const int lane = cuda_emulation::lane(), source = lane + (int)delta;
  return cuda_emulation::shuffle("__shfl_down_sync", mask, value, source > (lane | (width - 1)) ? lane : source, file, line);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, BK_PLACE) {
  const int lane = cuda_emulation::lane(), source = lane ^ lanes;
  return cuda_emulation::shuffle("__shfl_xor_sync", mask, value, source > (lane | (width - 1)) ? lane : source, file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, BK_PLACE) {
  return cuda_emulation::reduce("__ballot_sync", mask, (unsigned)(predicate != 0) << cuda_emulation::lane(), cuda_emulation::Or(), file, line);
}
inline int __any_sync(unsigned mask, int predicate, BK_PLACE) {
  return cuda_emulation::reduce("__any_sync", mask, predicate != 0 ? 1 : 0, cuda_emulation::Or(), file, line);
}
inline int __all_sync(unsigned mask, int predicate, BK_PLACE) {
  return cuda_emulation::reduce("__all_sync", mask, predicate != 0 ? 1 : 0, cuda_emulation::And(), file, line);
}
template <class T>
inline unsigned __match_any_sync(unsigned mask, T value, BK_PLACE) {
  struct Match {
    T value;
    unsigned same;
  } mine = {value, 0};
  const cuda_emulation::Together together = [](void* const* lanes, unsigned mask) {
    for (int i = 0; i < 32; i++)
      for (int j = 0; j < 32; j++)
        if ((mask >> i & 1) && (mask >> j & 1) && ((Match*)lanes[i])->value == ((Match*)lanes[j])->value) ((Match*)lanes[i])->same |= 1u << j;
  };
  cuda_emulation::warp_together("__match_any_sync", mask, &mine, together, file, line);
  return mine.same;
}

#define BK_REDUCE(name, type, Operation) \
  inline type name(unsigned mask, type value, BK_PLACE) { return cuda_emulation::reduce(#name, mask, value, cuda_emulation::Operation(), file, line); }
BK_REDUCE(__reduce_add_sync, int, Add)
BK_REDUCE(__reduce_add_sync, unsigned, Add)
BK_REDUCE(__reduce_min_sync, int, Min)
BK_REDUCE(__reduce_min_sync, unsigned, Min)
BK_REDUCE(__reduce_max_sync, int, Max)
BK_REDUCE(__reduce_max_sync, unsigned, Max)
BK_REDUCE(__reduce_and_sync, unsigned, And)
BK_REDUCE(__reduce_or_sync, unsigned, Or)
BK_REDUCE(__reduce_xor_sync, unsigned, Xor)
#undef BK_REDUCE
#undef BK_PLACE

// One thread runs at a time, and what it wrote is there for the next.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
