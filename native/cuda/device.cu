// The device of the process: opened once, and what an error of its runtime means.
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "../runtime/text.h"
#include "engine.h"

namespace bk {
namespace cuda {

namespace {

/** Row counts and scalars, the failure's place, and streams that wait for no other. */
cudaError_t allocate(Device& d) {
  cudaError_t e = cudaStreamCreateWithFlags(&d.stream, cudaStreamNonBlocking);
  if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&d.copies, cudaStreamNonBlocking);
  if (e == cudaSuccess) e = cudaEventCreateWithFlags(&d.written, cudaEventDisableTiming);
  if (e == cudaSuccess) e = cudaMalloc((void**)&d.state, sizeof(RunState));
  if (e == cudaSuccess) e = cudaMalloc((void**)&d.failure, sizeof(Failure));
  if (e == cudaSuccess) e = cudaMallocHost((void**)&d.pinned_state, sizeof(RunState));
  if (e == cudaSuccess) e = cudaMallocHost((void**)&d.pinned_failure, sizeof(Failure));
  return e;
}

/** Why there is no device; BK_OK where there is one. */
int find(Device& d, char* message, size_t capacity) {
  cudaRuntimeGetVersion(&d.runtime);
  int devices = 0;
  const cudaError_t e = cudaGetDeviceCount(&devices);
  if (cudaDriverGetVersion(&d.driver) != cudaSuccess) d.driver = 0;
  if (e == cudaErrorInsufficientDriver || d.driver == 0) {
    cudaGetLastError();
    if (d.driver == 0)
      write_text(message, capacity, "there is no NVIDIA driver");
    else
      write_text(message, capacity, "the NVIDIA driver is for CUDA %d.%d, expected %d.%d or newer", d.driver / 1000, d.driver % 1000 / 10, d.runtime / 1000,
                 d.runtime % 1000 / 10);
    return BK_DEVICE;
  }
  if (e != cudaSuccess || devices == 0) {
    cudaGetLastError();
    write_text(message, capacity, "there is no device: %s", cudaGetErrorString(e == cudaSuccess ? cudaErrorNoDevice : e));
    return BK_DEVICE;
  }
  if (const cudaError_t f = cudaGetDeviceProperties(&d.properties, 0); f != cudaSuccess) {
    write_text(message, capacity, "the device does not answer: %s", cudaGetErrorString(f));
    return BK_DEVICE;
  }
  if (d.properties.major < 8) {
    write_text(message, capacity, "%s has compute capability %d.%d, expected 8.0 or newer", d.properties.name, d.properties.major, d.properties.minor);
    return BK_DEVICE;
  }
  return BK_OK;
}

pthread_mutex_t calls = PTHREAD_MUTEX_INITIALIZER;
constexpr int kExitWaitSeconds = 5;

/**
 * Called when the process exits, before what the runtime does then, as that began earlier: a thread that calls the runtime while it ends would
 * crash. Waits for a run that goes on, but not for ever, and lets no other begin.
 */
void end_calls() {
  timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += kExitWaitSeconds;
  pthread_mutex_timedlock(&calls, &until);
}

/** One thread at a time opens the device. Not by <mutex>, whose errors are in a C++ library: which one is linked is not known here. */
struct Opening {
  Opening() { pthread_mutex_lock(mutex()); }
  ~Opening() { pthread_mutex_unlock(mutex()); }
  static pthread_mutex_t* mutex() {
    static pthread_mutex_t only = PTHREAD_MUTEX_INITIALIZER;
    return &only;
  }
};

}  // namespace

Calling::Calling() { pthread_mutex_lock(&calls); }
Calling::~Calling() { pthread_mutex_unlock(&calls); }

Device* device_open(int* error, char* message, size_t capacity) {
  static Device* opened;
  const Opening alone;
  *error = BK_OK;
  if (opened) {
    *error = device_alive(*opened, message, capacity);
    return *error ? nullptr : opened;
  }
  Device* d = create<Device>();
  if (!d) {
    *error = BK_MEMORY;
    write_text(message, capacity, "No memory for an engine");
    return nullptr;
  }
  *error = find(*d, message, capacity);
  if (!*error) *error = device_check(*d, allocate(*d), "Opening the device", message, capacity);
  if (*error) {
    free(d);
    return nullptr;
  }
  opened = d;  // never given back: a process that exits may have a run on it
  atexit(end_calls);
  return d;
}

int device_check(Device& d, cudaError_t e, const char* what, char* message, size_t capacity) {
  if (e == cudaSuccess) return BK_OK;
  cudaGetLastError();  // an error that does not stay is forgotten
  if (e == cudaErrorMemoryAllocation) {
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    write_text(message, capacity, "%s: no memory; %lld of the device's %lld bytes are free", what, (long long)available, (long long)total);
    return BK_MEMORY;
  }
  write_text(message, capacity, "%s: %s (%s)", what, cudaGetErrorString(e), cudaGetErrorName(e));
  // one that stays is what every call gives from now on
  if (cudaDeviceSynchronize() != cudaSuccess) {
    d.lost = true;
    write_text(d.reason, sizeof d.reason, "%s", message);
    write_text(message, capacity, "The device is lost, with the models on it: %s", d.reason);
  }
  return BK_DEVICE;
}

int device_alive(const Device& d, char* message, size_t capacity) {
  if (!d.lost) return BK_OK;
  write_text(message, capacity, "The device is lost, with the models on it: %s", d.reason);
  return BK_DEVICE;
}

}  // namespace cuda
}  // namespace bk
