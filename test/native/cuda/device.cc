// The device: what it is, its memory, its errors.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <map>

#include "emulation.h"

namespace cuda_emulation {
namespace {

struct Allocation {
  size_t bytes;
  char* mapping;
  size_t mapped;
};

constexpr size_t kPage = 4096;
// Never destroyed, here and in streams.cc: a process may end while a thread of its runs kernels.
std::map<const char*, Allocation>& allocations = *new std::map<const char*, Allocation>;
std::map<const char*, size_t>& pinned = *new std::map<const char*, size_t>;
size_t allocated = 0;
int shown = 0;

cudaError_t sticky = cudaSuccess, last = cudaSuccess;
cudaError_t explained = cudaSuccess;
bool just_explained = false;
char explanation[1100], text[1200];

long number(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value && *value ? atol(value) : otherwise;
}

Settings current;
bool read = false;

void read_settings() {
  const char* computer = getenv("BK_CUDA_EMULATED");
  const auto is = [&](const char* what) { return computer && strcmp(computer, what) == 0; };
  current.computer = is("no-driver") ? Settings::kNoDriver : is("no-device") ? Settings::kNoDevice : is("old-driver") ? Settings::kOldDriver : Settings::kWorks;
  const char* capability = getenv("BK_CUDA_EMULATED_CAPABILITY");
  if (!capability || sscanf(capability, "%d.%d", &current.major, &current.minor) != 2) current.major = 9, current.minor = 0;
  current.multiprocessors = (int)number("BK_CUDA_EMULATED_MULTIPROCESSORS", 4);
  current.bytes = (size_t)number("BK_CUDA_EMULATED_BYTES", 4l << 30);
  const char* order = getenv("BK_CUDA_EMULATED_ORDER");
  current.reverse = order && strcmp(order, "reverse") == 0;
  current.hide = number("BK_CUDA_EMULATED_HIDE", 0) != 0;
  current.fail_at = number("BK_CUDA_EMULATED_FAIL", 0);
  read = true;
}

void protect(const Allocation& a, bool visible) { mprotect(a.mapping, a.mapped, visible ? PROT_READ | PROT_WRITE : PROT_NONE); }

/** The allocation that an address lies in, or the one before it. */
std::map<const char*, Allocation>::iterator around(const void* address) {
  auto it = allocations.upper_bound((const char*)address);
  return it == allocations.begin() ? allocations.end() : std::prev(it);
}

}  // namespace

std::recursive_mutex& process_lock() {
  static std::recursive_mutex lock;
  return lock;
}

const Settings& settings() {
  if (!read) read_settings();
  return current;
}

int most_shared() {
  const Settings& s = settings();
  if (s.major == 8) return (s.minor == 0 || s.minor == 7 ? 163 : 99) << 10;
  return (s.major >= 12 ? 99 : 227) << 10;
}

void explain(cudaError_t error, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(explanation, sizeof(explanation), format, values);
  va_end(values);
  explained = error;
  just_explained = true;
}

cudaError_t break_device(cudaError_t error) {
  if (sticky == cudaSuccess) sticky = error;
  return note(error);
}

cudaError_t usable() {
  switch (settings().computer) {
    case Settings::kNoDriver:
    case Settings::kOldDriver: return note(cudaErrorInsufficientDriver);
    case Settings::kNoDevice: return note(cudaErrorNoDevice);
    case Settings::kWorks: break;
  }
  return note(sticky);
}

cudaError_t note(cudaError_t error) {
  if (error == cudaSuccess || error == cudaErrorNotReady) return error;
  if (error == explained && error != sticky && !just_explained) explained = cudaSuccess;  // which was another one's
  just_explained = false;
  return last = error;
}

bool on_device(const void* address, size_t bytes) {
  const auto it = around(address);
  return it != allocations.end() && (const char*)address + bytes <= it->first + it->second.bytes;
}

bool touches_device(const void* address, size_t bytes) {
  const auto it = around((const char*)address + (bytes ? bytes - 1 : 0));
  return it != allocations.end() && (const char*)address < it->second.mapping + it->second.mapped;
}

void describe_address(const void* address, char* out, size_t capacity) {
  const auto it = around(address);
  const char* at = (const char*)address;
  if (it != allocations.end() && at < it->second.mapping + it->second.mapped + kPage)
    snprintf(out, capacity, "an access %td bytes behind the beginning of %zu bytes of device memory", at - it->first, it->second.bytes);
  else
    snprintf(out, capacity, "an access to %p, where there is nothing", address);
}

bool is_pinned(const void* address, size_t bytes) {
  auto it = pinned.upper_bound((const char*)address);
  if (it == pinned.begin()) return false;
  --it;
  return (const char*)address + bytes <= it->first + it->second;
}

void show_device_memory(bool visible) {
  if (!settings().hide) return;
  const int before = shown;
  shown += visible ? 1 : -1;
  if ((before == 0) == (shown == 0)) return;
  for (const auto& it : allocations) protect(it.second, visible);
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

// Names and texts as CUDA has them.
#define BK_ERRORS(E)                                                                              \
  E(cudaSuccess, "no error")                                                                      \
  E(cudaErrorInvalidValue, "invalid argument")                                                    \
  E(cudaErrorMemoryAllocation, "out of memory")                                                   \
  E(cudaErrorInitializationError, "initialization error")                                         \
  E(cudaErrorInvalidConfiguration, "invalid configuration argument")                              \
  E(cudaErrorInvalidDevicePointer, "invalid device pointer")                                      \
  E(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy")                         \
  E(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version")  \
  E(cudaErrorNoDevice, "no CUDA-capable device is detected")                                      \
  E(cudaErrorInvalidDevice, "invalid device ordinal")                                             \
  E(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device")  \
  E(cudaErrorInvalidResourceHandle, "invalid resource handle")                                    \
  E(cudaErrorNotReady, "device not ready")                                                        \
  E(cudaErrorIllegalAddress, "an illegal memory access was encountered")                          \
  E(cudaErrorLaunchOutOfResources, "too many resources requested for launch")                     \
  E(cudaErrorLaunchTimeout, "the launch timed out and was terminated")                            \
  E(cudaErrorMisalignedAddress, "misaligned address")                                             \
  E(cudaErrorLaunchFailure, "unspecified launch failure")                                         \
  E(cudaErrorNotPermitted, "operation not permitted")                                             \
  E(cudaErrorNotSupported, "operation not supported")                                             \
  E(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")        \
  E(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture") \
  E(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began")      \
  E(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work")                         \
  E(cudaErrorUnknown, "unknown error")

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define E(name, words) \
  case name: return #name;
    BK_ERRORS(E)
#undef E
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const char* plain = "unrecognized error code";
  switch (error) {
#define E(name, words) \
  case name: plain = words; break;
    BK_ERRORS(E)
#undef E
  }
  if (error == cudaSuccess || error != explained) return plain;
  std::lock_guard<std::recursive_mutex> lock(process_lock());
  snprintf(text, sizeof(text), "%s (%s)", plain, explanation);
  return text;
}

cudaError_t cudaGetLastError() {
  std::lock_guard<std::recursive_mutex> lock(process_lock());
  const cudaError_t error = last;
  last = sticky;
  return error;
}

cudaError_t cudaPeekAtLastError() { return last; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings().computer == Settings::kNoDriver ? 0 : settings().computer == Settings::kOldDriver ? 11040 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  std::lock_guard<std::recursive_mutex> lock(process_lock());
  read_settings();
  *count = 0;
  if (const cudaError_t error = usable()) return error;
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  BK_CALL();
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  BK_CALL();
  return note(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaSetDeviceFlags(unsigned) {
  BK_CALL();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  BK_CALL();
  if (device != 0) return note(cudaErrorInvalidDevice);
  *properties = {};
  snprintf(properties->name, sizeof(properties->name), "CPU that emulates CUDA");
  properties->totalGlobalMem = settings().bytes;
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = (size_t)most_shared();
  properties->sharedMemPerMultiprocessor = (size_t)most_shared() + 1024;
  properties->reservedSharedMemPerBlock = 1024;
  properties->major = settings().major;
  properties->minor = settings().minor;
  properties->multiProcessorCount = settings().multiprocessors;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->l2CacheSize = 50 << 20;
  properties->regsPerBlock = 65536;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device)) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    case cudaDevAttrReservedSharedMemoryPerBlock: *value = (int)p.reservedSharedMemPerBlock; break;
    default: return note(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

// An allocation ends, up to 63 bytes, before a page that cannot be touched, and begins behind one. It is full of NaN.
cudaError_t cudaMalloc(void** place, size_t bytes) {
  BK_CALL();
  *place = nullptr;
  if (capture_forbids()) return note(cudaErrorStreamCaptureUnsupported);
  if (bytes == 0) return cudaSuccess;
  const size_t room = (bytes + 63) / 64 * 64, pages = (room + kPage - 1) / kPage * kPage;
  if (bytes > settings().bytes || allocated + pages > settings().bytes) return note(cudaErrorMemoryAllocation);
  char* memory = (char*)mmap(nullptr, pages + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return note(cudaErrorMemoryAllocation);
  const Allocation made = {bytes, memory + kPage, pages};
  protect(made, true);
  memset(made.mapping, 0xff, pages);
  protect(made, !settings().hide || shown);
  char* begin = made.mapping + pages - room;
  allocations[begin] = made;
  allocated += pages;
  *place = begin;
  return cudaSuccess;
}

cudaError_t cudaFree(void* place) {
  BK_CALL();
  if (!place) return cudaSuccess;
  if (capture_forbids()) return note(cudaErrorStreamCaptureUnsupported);
  const auto it = allocations.find((char*)place);
  if (it == allocations.end()) return note(cudaErrorInvalidValue);
  catch_up_all();
  munmap(it->second.mapping - kPage, it->second.mapped + 2 * kPage);
  allocated -= it->second.mapped;
  allocations.erase(it);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  BK_CALL();
  *total = settings().bytes;
  *free = settings().bytes > allocated ? settings().bytes - allocated : 0;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** place, size_t bytes, unsigned) {
  BK_CALL();
  *place = bytes ? aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage) : nullptr;
  if (bytes && !*place) return note(cudaErrorMemoryAllocation);
  if (!bytes) return cudaSuccess;
  memset(*place, 0xff, bytes);
  pinned[(const char*)*place] = bytes;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** place, size_t bytes) { return cudaHostAlloc(place, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void* place) {
  BK_CALL();
  catch_up_all();
  pinned.erase((const char*)place);
  free(place);
  return cudaSuccess;
}
