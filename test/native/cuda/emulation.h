// What the parts of the emulation know of each other.
#pragma once
#include <cuda_runtime.h>
#include <mutex>

namespace cuda_emulation {

/** Held while anything of the emulation goes on. */
std::recursive_mutex& process_lock();

/** What the environment says (cuda_runtime.h). */
struct Settings {
  enum { kWorks, kNoDriver, kNoDevice, kOldDriver } computer;
  int major, minor, multiprocessors;
  size_t bytes;
  bool reverse, hide;
  long fail_at;  // a count of launches; 0: none fails
};
const Settings& settings();
/** Bytes of shared memory that a block may have. */
int most_shared();

/** All blocks of a kernel, one after another. On failure the device is broken from then on. */
cudaError_t run_blocks(KernelOperation&);

/** Whether a kernel runs, in whatever thread. */
bool in_kernel();
/** In a thread of a kernel: the launch is over, with this error. */
[[noreturn]] void give_up(cudaError_t, const char* text);
/** Faults of a kernel, which the calling thread is about to run, are errors of the launch. */
void arm_faults();

/** Where a block's shared memory of this size begins. */
char* dynamic_shared_memory(size_t bytes);
/** Fills the shared memory of a block with NaN, its variables too. */
void spoil_shared_memory(size_t dynamic);

/** What cudaGetErrorString adds for this error, until it is told another. */
void explain(cudaError_t, const char* format, ...) __attribute__((format(printf, 2, 3)));
/** Sets an error that every later call returns. */
cudaError_t break_device(cudaError_t);
/** What every call begins with: why it cannot work at all. */
cudaError_t usable();
/** Notes an error for cudaGetLastError and returns it. */
cudaError_t note(cudaError_t);

/** Whether device memory holds this range. */
bool on_device(const void*, size_t bytes);
/** Whether any byte of this range is device memory. */
bool touches_device(const void*, size_t bytes);
/** Says in words where an address lies. */
void describe_address(const void*, char* text, size_t capacity);
/** Lets the host touch device memory, or not any longer. */
void show_device_memory(bool shown);

/** While it lives, device memory can be touched. */
struct Shown {
  Shown() { show_device_memory(true); }
  ~Shown() { show_device_memory(false); }
};

/** Whether this range is host memory that the device reads by itself. */
bool is_pinned(const void*, size_t bytes);
/** Does what all streams were handed and have not done yet. */
void catch_up_all();
/** Why a call of a host function cannot be, or cannot work at all. */
cudaError_t begin_call();
/** What every call of streams begins with. */
#define BK_CALL()                                             \
  std::lock_guard<std::recursive_mutex> lock(process_lock()); \
  if (const cudaError_t unusable = begin_call()) return unusable

/** A stream that notes for a graph, with a mode that forbids what the whole process does besides. */
bool capture_forbids();

}  // namespace cuda_emulation
