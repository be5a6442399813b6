// Arenas in device memory.
#include <stdlib.h>

#include "../runtime/text.h"
#include "engine.h"

using namespace bk;
using namespace bk::cuda;

namespace {

/** Of what is on its way to the device, and of one piece of it; larger ones are waited for. */
constexpr int64_t kStagedBytes = 1 << 20, kMostStaged = kStagedBytes / 4;

uint64_t new_state() {
  static Atomic<uint64_t> states = {1};
  return states.fetch_add(1);
}

Device& device_of(const bk_memory* memory) { return *static_cast<const Memory*>(memory)->engine->device; }

/** A larger arena with what the smaller one held, and zeros behind it. */
cudaError_t grow(char** base, int64_t bytes, int64_t larger, cudaStream_t stream) {
  char* data = nullptr;
  cudaError_t e = cudaMalloc((void**)&data, (size_t)larger);
  if (e != cudaSuccess) return e;
  if (bytes) e = cudaMemcpyAsync(data, *base, (size_t)bytes, cudaMemcpyDeviceToDevice, stream);
  if (e == cudaSuccess) e = cudaMemsetAsync(data + bytes, 0, (size_t)(larger - bytes), stream);
  if (e == cudaSuccess) e = cudaStreamSynchronize(stream);
  if (e != cudaSuccess) {
    cudaFree(data);
    return e;
  }
  cudaFree(*base);
  *base = data;
  return cudaSuccess;
}

}  // namespace

/** Waits for what was written. */
static cudaError_t wait_for_staged(Memory* memory) {
  const cudaError_t e = memory->staged_used ? cudaStreamSynchronize(device_of(memory).copies) : cudaSuccess;
  if (e == cudaSuccess) memory->staged_used = 0;
  return e;
}

int bk_memory_create(bk_engine* engine, bk_memory** out) {
  Memory* memory = create<Memory>();
  *out = memory;
  if (!memory) return BK_MEMORY;
  memory->engine = static_cast<Engine*>(engine);
  memory->state = new_state();
  if (cudaMallocHost((void**)&memory->staged, kStagedBytes) != cudaSuccess) {
    cudaGetLastError();  // every piece is waited for then
    memory->staged = nullptr;
  }
  return BK_OK;
}

void bk_memory_free(bk_memory* handle) {
  if (!handle) return;
  Memory* memory = static_cast<Memory*>(handle);
  wait_for_staged(memory);
  if (memory->staged) cudaFreeHost(memory->staged);
  for (int i = 0; i < kArenas; i++) cudaFree(memory->base[i]);
  free(memory);
}

int bk_memory_release(bk_memory* memory, int arena) {
  if (arena < 0 || arena >= kArenas) return BK_ARGUMENT;
  wait_for_staged(static_cast<Memory*>(memory));
  cudaFree(memory->base[arena]);
  memory->base[arena] = nullptr;
  memory->bytes[arena] = 0;
  static_cast<Memory*>(memory)->state = new_state();
  return BK_OK;
}

int bk_memory_reserve(bk_memory* memory, int arena, uint64_t bytes, char* message, size_t capacity) {
  Device& device = device_of(memory);
  if (arena < 0 || arena >= kArenas || bytes > kMostArenaBytes) {
    write_text(message, capacity, "Expected an arena of at most %lld bytes but received arena %d of %lld", (long long)kMostArenaBytes, arena, (long long)bytes);
    return BK_ARGUMENT;
  }
  if (const int error = device_alive(device, message, capacity)) return error;
  if ((int64_t)bytes <= memory->bytes[arena]) return BK_OK;
  if (is_transient(arena)) bk_memory_release(memory, arena);  // so that old and new are never both in memory
  char what[80];
  write_text(what, sizeof what, "An arena of %lld bytes", (long long)bytes);
  if (const int error = device_check(device, grow(&memory->base[arena], memory->bytes[arena], (int64_t)bytes, device.copies), what, message, capacity))
    return error;
  memory->bytes[arena] = (int64_t)bytes;
  static_cast<Memory*>(memory)->state = new_state();
  return BK_OK;
}

/** Copies, and waits until it is done. */
static int copy(const bk_memory* memory, void* to, const void* from, uint64_t bytes, cudaMemcpyKind kind, char* message, size_t capacity) {
  Device& device = device_of(memory);
  if (const int error = device_alive(device, message, capacity)) return error;
  if (!bytes) return BK_OK;
  cudaError_t e = cudaMemcpyAsync(to, from, (size_t)bytes, kind, device.copies);
  if (e == cudaSuccess) e = cudaStreamSynchronize(device.copies);
  return device_check(device, e, "Copying", message, capacity);
}

/** Copies `source` to where the device takes it from later, by itself: a batch is many small pieces, and nobody waits for each. */
static cudaError_t stage(Memory* memory, char* to, const void* source, int64_t bytes) {
  if (memory->staged_used + bytes > kStagedBytes)
    if (const cudaError_t e = wait_for_staged(memory); e != cudaSuccess) return e;
  char* const from = memory->staged + memory->staged_used;
  memcpy(from, source, (size_t)bytes);
  memory->staged_used += bytes;
  return cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyHostToDevice, device_of(memory).copies);
}

int bk_memory_write(bk_memory* handle, int arena, uint64_t offset, const void* source, uint64_t bytes, char* message, size_t capacity) {
  if (const int error = check_range(handle, arena, offset, bytes, message, capacity)) return error;
  Memory* memory = static_cast<Memory*>(handle);
  Device& device = device_of(memory);
  char* const to = memory->base[arena] + offset;
  if ((int64_t)bytes > kMostStaged || !memory->staged) return copy(memory, to, source, bytes, cudaMemcpyHostToDevice, message, capacity);
  if (const int error = device_alive(device, message, capacity)) return error;
  return bytes ? device_check(device, stage(memory, to, source, (int64_t)bytes), "Copying", message, capacity) : BK_OK;
}

int bk_memory_read(const bk_memory* memory, int arena, uint64_t offset, void* target, uint64_t bytes, char* message, size_t capacity) {
  if (const int error = check_range(memory, arena, offset, bytes, message, capacity)) return error;
  return copy(memory, target, memory->base[arena] + offset, bytes, cudaMemcpyDeviceToHost, message, capacity);
}
