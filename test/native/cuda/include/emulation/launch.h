// Launches: a kernel is an ordinary function, which every thread calls with the same arguments.
#pragma once
#include <stdlib.h>
#include <new>
#include <tuple>
#include <type_traits>

#include "runtime.h"

enum cudaLaunchAttributeID {
  cudaLaunchAttributeIgnore = 0,
  cudaLaunchAttributeClusterDimension = 4,
  cudaLaunchAttributeProgrammaticStreamSerialization = 6,
  cudaLaunchAttributePriority = 8
};
union cudaLaunchAttributeValue {
  struct {
    unsigned x, y, z;
  } clusterDim;
  int programmaticStreamSerializationAllowed;
  int priority;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

namespace cuda_emulation {

/** What is done by a stream, now or whenever the graph runs that it is captured in. */
struct Operation {
  virtual ~Operation() {}
  virtual cudaError_t run() = 0;
  /** Whether it may be done when a stream is waited for, not when it is handed over. */
  virtual bool may_be_late() const { return false; }
};

struct KernelOperation : Operation {
  const void* kernel;
  dim3 grid, block;
  size_t shared;
  bool early = false;  // may be launched before the kernel before it has ended
  cudaError_t run() override;
  /** What each thread does. */
  virtual void thread() = 0;
};

template <class... Parameters>
struct KernelCall final : KernelOperation {
  void (*function)(Parameters...);
  std::tuple<Parameters...> arguments;
  template <class... Arguments>
  KernelCall(void (*function)(Parameters...), Arguments&&... arguments) : function(function), arguments(arguments...) {}
  void thread() override { std::apply(function, arguments); }
};

/** Threads of the kernel that runs which have waited for the kernel before it, as all must whose launch is early. */
extern long threads_begun;

/** Called after each block, where it is set: says what is wrong with its end, and forgets what was left; null if nothing was. */
extern const char* (*block_ends)();

/** Whether a device would start this kernel. */
cudaError_t check_launch(const KernelOperation&);
/** Hands an operation to a stream, which does it, or notes it for a graph; it is deleted afterwards. */
cudaError_t submit(cudaStream_t stream, Operation*);

}  // namespace cuda_emulation

template <class... Parameters, class... Arguments>
inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  static_assert((std::is_trivially_copyable<Parameters>::value && ...), "arguments of kernels are copied as bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "arguments of a kernel take at most 4096 bytes");
  bool early = false;
  for (unsigned i = 0; i < config->numAttrs; i++) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == cudaLaunchAttributeClusterDimension) return cudaErrorNotSupported;  // one block runs at a time
    if (attribute.id == cudaLaunchAttributeProgrammaticStreamSerialization) early = attribute.val.programmaticStreamSerializationAllowed != 0;
  }
  auto* call = new cuda_emulation::KernelCall<Parameters...>(kernel, arguments...);
  call->kernel = (const void*)kernel;
  call->grid = config->gridDim;
  call->block = config->blockDim;
  call->shared = config->dynamicSmemBytes;
  call->early = early;
  if (const cudaError_t error = cuda_emulation::check_launch(*call)) {
    delete call;
    return error;
  }
  return cuda_emulation::submit(config->stream, call);
}
