// Copies and fills.
#include <string.h>

#include "emulation.h"

namespace cuda_emulation {
namespace {

struct Copy : Operation {
  void* to;
  const void* from;
  size_t bytes;
  Copy(void* to, const void* from, size_t bytes) : to(to), from(from), bytes(bytes) {}
  bool may_be_late() const override { return is_pinned(from, bytes); }
  cudaError_t run() override {
    Shown shown;
    memmove(to, from, bytes);
    return cudaSuccess;
  }
};

struct Fill : Operation {
  void* to;
  int value;
  size_t bytes;
  Fill(void* to, int value, size_t bytes) : to(to), value(value), bytes(bytes) {}
  cudaError_t run() override {
    Shown shown;
    if (!on_device(to, bytes)) return break_device(cudaErrorIllegalAddress);
    memset(to, value, bytes);
    return cudaSuccess;
  }
};

cudaError_t check_copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const auto fits = [&](const void* place, bool device) { return device ? on_device(place, bytes) : !touches_device(place, bytes); };
  if (bytes == 0) return cudaSuccess;
  if (kind == cudaMemcpyDefault)
    return (on_device(to, bytes) || !touches_device(to, bytes)) && (on_device(from, bytes) || !touches_device(from, bytes)) ? cudaSuccess
                                                                                                                            : cudaErrorInvalidValue;
  if (fits(to, to_device) && fits(from, from_device)) return cudaSuccess;
  explain(cudaErrorInvalidValue, "%zu bytes from %p to %p do not lie where kind %d says", bytes, from, to, (int)kind);
  return cudaErrorInvalidValue;
}

}  // namespace
}  // namespace cuda_emulation

using namespace cuda_emulation;

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  BK_CALL();
  if (const cudaError_t error = check_copy(to, from, bytes, kind)) return note(error);
  return bytes ? submit(stream, new Copy(to, from, bytes)) : cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  BK_CALL();
  if (capture_forbids()) return cudaErrorStreamCaptureUnsupported;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  BK_CALL();
  if (bytes == 0) return cudaSuccess;
  if (!on_device(to, bytes)) return note(cudaErrorInvalidValue);
  return submit(stream, new Fill(to, value, bytes));
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  BK_CALL();
  if (capture_forbids()) return cudaErrorStreamCaptureUnsupported;
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
