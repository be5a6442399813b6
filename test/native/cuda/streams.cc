// Streams do at once what they are handed, or note it for a graph; but copies from pinned memory as late as a device may.
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "emulation.h"

using cuda_emulation::Operation;

/** A capture: what streams have noted so far. It begins in one stream; others come in by waiting for an event of it. */
struct CUgraph_st {
  std::vector<std::shared_ptr<Operation>> operations;
};
struct CUgraphExec_st : CUgraph_st {};
/** Copies that a stream was handed and nobody has waited for. */
struct Late {
  std::deque<std::shared_ptr<Operation>> waiting;
  size_t done = 0;  // of those before them
};
struct CUstream_st {
  CUgraph_st* graph = nullptr;  // while it is captured
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  pthread_t thread = {};  // which captures
  bool invalid = false, joined = true;
  std::vector<CUstream_st*> forks;  // of an origin
  std::shared_ptr<Late> late = std::make_shared<Late>();
};
struct CUevent_st {
  bool timed = true, recorded = false;
  double seconds = 0;
  CUstream_st* captured = nullptr;  // the stream that it was recorded in while that was captured
  std::shared_ptr<Late> behind;     // the copies of a stream, of which so many are before it
  size_t before = 0;
};

namespace cuda_emulation {
namespace {

CUstream_st& default_stream = *new CUstream_st;
std::vector<CUstream_st*>& capturing = *new std::vector<CUstream_st*>;  // origins
std::vector<CUstream_st*>& streams = *new std::vector<CUstream_st*>;    // that there are, but the default one
std::map<const void*, int>& shared_allowed = *new std::map<const void*, int>;
constexpr int kUnasked = 46 << 10;  // shared memory that a block may have unasked: 48 KB with static arrays, which are not known here
long launches = 0;
bool in_host_function = false;

CUstream_st* stream_of(cudaStream_t stream) { return stream ? stream : &default_stream; }

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/** What cannot be while a stream is captured also makes the capture worthless. */
cudaError_t invalidate(CUstream_st* stream, cudaError_t error) {
  (stream->origin ? stream->origin : stream)->invalid = true;
  return note(error);
}

/** Whether this thread may not do what could disturb the capture. */
bool forbids(const CUstream_st* stream) {
  return stream->mode == cudaStreamCaptureModeGlobal || (stream->mode == cudaStreamCaptureModeThreadLocal && pthread_equal(stream->thread, pthread_self()));
}

cudaError_t invalidate_all() {
  for (CUstream_st* stream : capturing)
    if (forbids(stream)) stream->invalid = true;
  return note(cudaErrorStreamCaptureUnsupported);
}

struct HostCall : Operation {
  cudaHostFn_t function;
  void* user;
  HostCall(cudaHostFn_t function, void* user) : function(function), user(user) {}
  cudaError_t run() override {
    in_host_function = true;
    function(user);
    in_host_function = false;
    return cudaSuccess;
  }
};

struct Record : Operation {
  CUevent_st* event;
  explicit Record(CUevent_st* event) : event(event) {}
  cudaError_t run() override {
    event->recorded = true;
    event->seconds = now();
    return cudaSuccess;
  }
};

/** Does them, up to the one of that number. */
void catch_up(Late& late, size_t until = SIZE_MAX) {
  while (!late.waiting.empty() && late.done < until) {
    const auto operation = late.waiting.front();
    late.waiting.pop_front();
    late.done++;
    operation->run();
  }
}

void catch_up(const CUstream_st* stream) { catch_up(*stream->late); }

void catch_up(const CUevent_st* event) {
  if (event->behind) catch_up(*event->behind, event->before);
}

}  // namespace

void catch_up_all() {
  catch_up(&default_stream);
  for (CUstream_st* stream : streams) catch_up(stream);
}

/** What a host function may not do. */
cudaError_t begin_call() {
  if (in_host_function) return note(cudaErrorNotPermitted);
  return usable();
}

bool capture_forbids() {
  for (const CUstream_st* stream : capturing)
    if (forbids(stream)) {
      invalidate_all();
      return true;
    }
  return false;
}

cudaError_t KernelOperation::run() {
  const Settings& s = settings();
  if (s.fail_at && ++launches == s.fail_at) {
    explain(cudaErrorIllegalAddress, "as BK_CUDA_EMULATED_FAIL has asked for");
    return break_device(cudaErrorIllegalAddress);
  }
  Shown shown;
  return run_blocks(*this);
}

cudaError_t check_launch(const KernelOperation& kernel) {
  std::lock_guard<std::recursive_mutex> lock(process_lock());
  if (const cudaError_t error = begin_call()) return error;
  const dim3 g = kernel.grid, b = kernel.block;
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535 || b.x == 0 || b.y == 0 || b.z == 0 || b.x > 1024 || b.y > 1024 ||
      b.z > 64 || (uint64_t)b.x * b.y * b.z > 1024) {
    explain(cudaErrorInvalidConfiguration, "a grid of (%u, %u, %u) blocks of (%u, %u, %u) threads", g.x, g.y, g.z, b.x, b.y, b.z);
    return note(cudaErrorInvalidConfiguration);
  }
  const auto allowed = shared_allowed.find(kernel.kernel);
  const size_t most = allowed != shared_allowed.end() && allowed->second > kUnasked ? (size_t)allowed->second : kUnasked;
  if (kernel.shared > most) {
    explain(cudaErrorInvalidValue, "%zu bytes of shared memory, of %zu that the kernel may have", kernel.shared, most);
    return note(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t submit(cudaStream_t handle, Operation* given) {
  std::lock_guard<std::recursive_mutex> lock(process_lock());
  std::shared_ptr<Operation> operation(given);
  CUstream_st* stream = stream_of(handle);
  if (stream->graph) {
    stream->graph->operations.push_back(operation);
    stream->joined = false;
    return cudaSuccess;
  }
  if (operation->may_be_late()) {
    stream->late->waiting.push_back(operation);
    return cudaSuccess;
  }
  // Work that the device fails at is found out by a later call, as streams run behind the program.
  catch_up(stream);
  operation->run();
  return cudaSuccess;
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  BK_CALL();
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value > most_shared()) {
    explain(cudaErrorInvalidValue, "%d bytes of shared memory, of %d that a block may have", value, most_shared());
    return note(cudaErrorInvalidValue);
  }
  shared_allowed[kernel] = value;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  BK_CALL();
  if (capture_forbids()) return cudaErrorStreamCaptureUnsupported;
  catch_up_all();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  BK_CALL();
  *stream = new CUstream_st;
  streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) { return cudaStreamCreateWithFlags(stream, flags); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard<std::recursive_mutex> lock(process_lock());
  if (!stream) return note(cudaErrorInvalidResourceHandle);
  if (stream->graph) return invalidate(stream, cudaErrorStreamCaptureUnsupported);
  catch_up(stream);
  for (size_t i = 0; i < streams.size(); i++)
    if (streams[i] == stream) streams.erase(streams.begin() + (ptrdiff_t)i);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  BK_CALL();
  if (stream_of(stream)->graph) return invalidate(stream, cudaErrorStreamCaptureUnsupported);
  catch_up(stream_of(stream));
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  BK_CALL();
  CUstream_st *stream = stream_of(handle), *from = event->captured;
  catch_up(event);
  if (!from || !from->graph) return cudaSuccess;
  if (!stream->graph) {
    stream->graph = from->graph;
    stream->origin = from->origin ? from->origin : from;
    stream->joined = false;
    stream->origin->forks.push_back(stream);
  } else if (stream->graph == from->graph) {
    from->joined = true;
  } else {
    return invalidate(stream, cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* user) {
  BK_CALL();
  return submit(stream, new HostCall(function, user));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  BK_CALL();
  *event = new CUevent_st;
  (*event)->timed = !(flags & cudaEventDisableTiming);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t handle, unsigned flags) {
  BK_CALL();
  CUstream_st* stream = stream_of(handle);
  if (!event) return note(cudaErrorInvalidResourceHandle);
  event->captured = nullptr;
  event->behind = nullptr;
  if (!stream->graph && !event->timed) {
    event->behind = stream->late;
    event->before = stream->late->done + stream->late->waiting.size();
    event->recorded = true;
    return cudaSuccess;
  }
  if (!stream->graph || (flags & cudaEventRecordExternal)) {
    if (!stream->graph && (flags & cudaEventRecordExternal)) return note(cudaErrorInvalidValue);
    return submit(handle, new Record(event));
  }
  event->captured = stream;  // only says what comes after what
  event->recorded = false;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault); }

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  BK_CALL();
  if (event->captured && event->captured->graph) return invalidate(event->captured, cudaErrorStreamCaptureUnsupported);
  catch_up(event);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  BK_CALL();
  if (!from->timed || !to->timed || !from->recorded || !to->recorded) return note(cudaErrorInvalidResourceHandle);
  *milliseconds = (float)((to->seconds - from->seconds) * 1e3);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  BK_CALL();
  if (!stream) return note(cudaErrorStreamCaptureUnsupported);
  if (stream->graph) return invalidate(stream, cudaErrorInvalidValue);
  stream->graph = new CUgraph_st;
  stream->origin = nullptr;
  stream->mode = mode;
  stream->thread = pthread_self();
  stream->invalid = false;
  capturing.push_back(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard<std::recursive_mutex> lock(process_lock());
  *graph = nullptr;
  if (!stream || !stream->graph) return note(cudaErrorInvalidValue);
  if (stream->origin) return invalidate(stream, cudaErrorStreamCaptureUnmatched);
  CUgraph_st* captured = stream->graph;
  bool joined = true;
  for (CUstream_st* fork : stream->forks) {
    joined = joined && fork->joined;
    fork->graph = nullptr;
    fork->origin = nullptr;
  }
  stream->forks.clear();
  stream->graph = nullptr;
  for (size_t i = 0; i < capturing.size(); i++)
    if (capturing[i] == stream) capturing.erase(capturing.begin() + (ptrdiff_t)i);
  const cudaError_t error = usable() ? usable() : stream->invalid ? cudaErrorStreamCaptureInvalidated : joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined;
  if (error) {
    delete captured;
    return note(error);
  }
  *graph = captured;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  BK_CALL();
  CUstream_st* stream = stream_of(handle);
  const CUstream_st* origin = stream->origin ? stream->origin : stream;
  *status = !stream->graph ? cudaStreamCaptureStatusNone : origin->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  BK_CALL();
  if (nodes) return note(cudaErrorNotSupported);
  *count = graph->operations.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  BK_CALL();
  *exec = new CUgraphExec_st{graph->operations};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  BK_CALL();
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  BK_CALL();
  if (stream_of(stream)->graph) return invalidate(stream, cudaErrorStreamCaptureUnsupported);
  catch_up(stream_of(stream));
  Shown shown;
  for (const auto& operation : exec->operations)
    if (operation->run()) break;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
