// The emulation itself: what it computes, what it refuses.
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace {

int failures = 0;

void expect(bool holds, const char* what, int line) {
  if (holds || ++failures > 10) return;
  const cudaError_t error = cudaPeekAtLastError();
  fprintf(stderr, "emulation_test.cc:%d: %s; the last error: %s\n", line, what, cudaGetErrorString(error));
}
#define EXPECT(...) expect((__VA_ARGS__), #__VA_ARGS__, __LINE__)

bool starts_with_says(cudaError_t error, const char* part) {
  if (strstr(cudaGetErrorString(error), part)) return true;
  fprintf(stderr, "says: %s\n", cudaGetErrorString(error));
  return false;
}

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, (Parameters)arguments...);
}

template <class T>
struct Buffer {
  T* at = nullptr;
  size_t count;
  explicit Buffer(size_t count) : count(count) { EXPECT(cudaMalloc(&at, count * sizeof(T)) == cudaSuccess); }
  ~Buffer() { cudaFree(at); }
  T operator[](size_t i) const { return at[i]; }
};

// ------------------------------------------------------------------------------------------------------------- what works

__device__ __forceinline__ int block_sum(int x) {
  __shared__ int sums[32];
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  __syncthreads();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
  __syncthreads();
  x = threadIdx.x % 32 < blockDim.x / 32 ? sums[threadIdx.x % 32] : 0;
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

__global__ void __launch_bounds__(1024) sum_kernel(int* out) {
  const int first = block_sum((int)(threadIdx.x + 1000 * blockIdx.x)), second = block_sum(1);
  out[blockIdx.x * blockDim.x + threadIdx.x] = first + second;
}

void test_block_sum(unsigned block) {
  Buffer<int> out(3 * block);
  EXPECT(launch(sum_kernel, 3, block, 0, nullptr, out.at) == cudaSuccess);
  for (unsigned b = 0; b < 3; b++)
    for (unsigned t = 0; t < block; t++) EXPECT(out[b * block + t] == (int)(block * (block - 1) / 2 + 1000 * b * block + block));
}

__global__ void collectives_kernel(unsigned* out) {
  const int lane = (int)threadIdx.x % 32;
  unsigned* mine = out + threadIdx.x;
  const unsigned all = 0xffffffffu;
  mine[0 * 64] = __ballot_sync(all, lane % 3 == 0);
  mine[1 * 64] = (unsigned)__shfl_sync(all, lane * 10, 5, 8);
  mine[2 * 64] = (unsigned)__shfl_up_sync(all, lane, 2);
  mine[3 * 64] = (unsigned)__shfl_down_sync(all, lane, 3, 16);
  mine[4 * 64] = (unsigned)(__any_sync(all, lane == 7) + 2 * __all_sync(all, lane == 7) + 4 * __all_sync(all, 1));
  mine[5 * 64] = __match_any_sync(all, lane / 4);
  mine[6 * 64] = (unsigned)__reduce_max_sync(all, -lane);
  // two halves of a warp on ways of their own
  if (lane < 16)
    mine[7 * 64] = (unsigned)__shfl_xor_sync(0x0000ffffu, lane, 1);
  else
    mine[7 * 64] = __ballot_sync(0xffff0000u, lane % 2);
  __syncwarp();
  int gathered[32];
  cuda_emulation::warp_gather(lane * lane, gathered);
  mine[8 * 64] = (unsigned)gathered[(lane + 1) % 32];
  mine[9 * 64] = (unsigned)(__syncthreads_count(threadIdx.x < 40) + 100 * __syncthreads_or(threadIdx.x == 63) + 1000 * __syncthreads_and(threadIdx.x != 63));
}

void test_collectives() {
  Buffer<unsigned> out(10 * 64);
  EXPECT(launch(collectives_kernel, 1, 64, 0, nullptr, out.at) == cudaSuccess);
  for (unsigned t = 0; t < 64; t++) {
    const unsigned lane = t % 32;
    const auto value = [&](unsigned i) { return out[i * 64 + t]; };
    EXPECT(value(0) == 0x49249249u);
    EXPECT(value(1) == (lane / 8 * 8 + 5) * 10);
    EXPECT(value(2) == (lane < 2 ? lane : lane - 2));
    EXPECT(value(3) == (lane % 16 + 3 > 15 ? lane : lane + 3));
    EXPECT(value(4) == 5);
    EXPECT(value(5) == 0xfu << lane / 4 * 4);
    EXPECT(value(6) == 0);
    EXPECT(value(7) == (lane < 16 ? (lane ^ 1) : 0xaaaa0000u));
    EXPECT(value(8) == (lane + 1) % 32 * ((lane + 1) % 32));
    EXPECT(value(9) == 140);
  }
}

__global__ void dynamic_kernel(float* out) {
  float* shared = (float*)cuda_emulation::dynamic_shared();
  out[threadIdx.x] = shared[threadIdx.x];  // NaN: nothing has been written
  __syncthreads();
  shared[threadIdx.x] = (float)threadIdx.x;
  __syncthreads();
  out[blockDim.x + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

void test_shared_memory() {
  Buffer<float> out(512);
  for (int again = 0; again < 2; again++) {
    EXPECT(launch(dynamic_kernel, 2, 256, 1024, nullptr, out.at) == cudaSuccess);
    for (int t = 0; t < 256; t++) EXPECT(isnan(out[(size_t)t]) && out[256 + (size_t)t] == (float)(255 - t));
  }
  EXPECT(launch(dynamic_kernel, 1, 256, 60000, nullptr, out.at) == cudaErrorInvalidValue);
  EXPECT(starts_with_says(cudaGetLastError(), "60000 bytes of shared memory, of 47104"));
  EXPECT(cudaGetLastError() == cudaSuccess);
  EXPECT(cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000) == cudaSuccess);
  EXPECT(launch(dynamic_kernel, 1, 256, 60000, nullptr, out.at) == cudaSuccess);
  EXPECT(cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 0) == cudaSuccess);
  EXPECT(cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 240000) == cudaErrorInvalidValue);
  EXPECT(launch(dynamic_kernel, 1, 1056, 0, nullptr, out.at) == cudaErrorInvalidConfiguration);
  EXPECT(launch(dynamic_kernel, 0, 32, 0, nullptr, out.at) == cudaErrorInvalidConfiguration);
  cudaGetLastError();
}

__global__ void static_kernel(unsigned* out) {
  __shared__ unsigned shared[32];
  out[threadIdx.x] = shared[threadIdx.x];
  __syncthreads();
  shared[threadIdx.x] = 1;
}

void test_static_shared_memory() {
  Buffer<unsigned> out(32);
  EXPECT(launch(static_kernel, 2, 32, 0, nullptr, out.at) == cudaSuccess);
  for (size_t t = 0; t < 32; t++) EXPECT(out[t] == ~0u);
}

__global__ void leave_early_kernel(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  if (threadIdx.x < 32) out[threadIdx.x] = __shfl_xor_sync(~0u, (int)threadIdx.x, 31);
}

// ------------------------------------------------------------------------------------------------------------------ graphs

__global__ void add_kernel(int* place, int value) { atomicAdd(place, value); }

void test_graphs() {
  cudaStream_t stream = nullptr, side = nullptr;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  cudaEvent_t fork = nullptr, join = nullptr, begin = nullptr, end = nullptr;
  EXPECT(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess && cudaStreamCreate(&side) == cudaSuccess);
  EXPECT(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming) == cudaSuccess && cudaEventCreate(&join) == cudaSuccess);
  EXPECT(cudaEventCreate(&begin) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess);
  Buffer<int> sum(1);
  int* host;
  EXPECT(cudaMallocHost(&host, 8) == cudaSuccess);
  host[0] = 5;
  EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  EXPECT(cudaEventRecordWithFlags(begin, stream, cudaEventRecordExternal) == cudaSuccess);
  EXPECT(cudaMemcpyAsync(sum.at, host, 4, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  EXPECT(launch(add_kernel, 2, 32, 0, stream, sum.at, 1) == cudaSuccess);
  EXPECT(cudaEventRecord(fork, stream) == cudaSuccess && cudaStreamWaitEvent(side, fork) == cudaSuccess);
  EXPECT(launch(add_kernel, 1, 1, 0, side, sum.at, 1000) == cudaSuccess);
  EXPECT(cudaEventRecord(join, side) == cudaSuccess && cudaStreamWaitEvent(stream, join) == cudaSuccess);
  EXPECT(cudaMemcpyAsync(host + 1, sum.at, 4, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  EXPECT(cudaLaunchHostFunc(
             stream, [](void* user) { *(int*)user *= 2; }, host + 1) == cudaSuccess);
  EXPECT(cudaEventRecordWithFlags(end, stream, cudaEventRecordExternal) == cudaSuccess);
  EXPECT(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  size_t nodes;
  EXPECT(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess && nodes == 7);
  EXPECT(cudaGraphInstantiate(&exec, graph) == cudaSuccess && cudaGraphDestroy(graph) == cudaSuccess);
  EXPECT(sum[0] == -1);
  for (int run = 1; run < 3; run++) {
    host[0] = run;
    EXPECT(cudaGraphLaunch(exec, stream) == cudaSuccess && cudaStreamSynchronize(stream) == cudaSuccess);
    EXPECT(host[1] == 2 * (run + 64 + 1000));
  }
  float milliseconds;
  EXPECT(cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess && milliseconds > 0);
  EXPECT(cudaEventElapsedTime(&milliseconds, fork, end) == cudaErrorInvalidResourceHandle);
  EXPECT(cudaGraphExecDestroy(exec) == cudaSuccess);

  // what a capture does not go with
  EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  EXPECT(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  EXPECT(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated && !graph);
  EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  void* memory;
  EXPECT(cudaMalloc(&memory, 64) == cudaErrorStreamCaptureUnsupported);
  EXPECT(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  EXPECT(cudaEventRecord(fork, stream) == cudaSuccess && cudaStreamWaitEvent(side, fork) == cudaSuccess);
  EXPECT(launch(add_kernel, 1, 1, 0, side, sum.at, 1) == cudaSuccess);
  EXPECT(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureUnjoined);
  cudaGetLastError();
  EXPECT(cudaStreamDestroy(stream) == cudaSuccess && cudaStreamDestroy(side) == cudaSuccess && cudaFreeHost(host) == cudaSuccess);
  for (cudaEvent_t event : {fork, join, begin, end}) EXPECT(cudaEventDestroy(event) == cudaSuccess);
}

/** From pinned memory: nothing has arrived until somebody waits, and what is taken is what is there then. */
void test_late_copies() {
  cudaStream_t copies = nullptr, stream = nullptr;
  cudaEvent_t behind = nullptr;
  int* host;
  EXPECT(cudaStreamCreate(&copies) == cudaSuccess && cudaStreamCreate(&stream) == cudaSuccess && cudaMallocHost(&host, 12) == cudaSuccess);
  EXPECT(cudaEventCreateWithFlags(&behind, cudaEventDisableTiming) == cudaSuccess);
  Buffer<int> numbers(3);
  const auto hand_over = [&](int i) {
    host[i] = 5;
    EXPECT(cudaMemcpyAsync(numbers.at + i, host + i, 4, cudaMemcpyHostToDevice, copies) == cudaSuccess);
    host[i] = 6;
  };
  hand_over(0);
  EXPECT(cudaEventRecord(behind, copies) == cudaSuccess);
  EXPECT(launch(add_kernel, 1, 1, 0, stream, numbers.at, 1) == cudaSuccess && cudaStreamSynchronize(stream) == cudaSuccess && numbers[0] == 0);
  EXPECT(cudaStreamWaitEvent(stream, behind) == cudaSuccess && launch(add_kernel, 1, 1, 0, stream, numbers.at, 1) == cudaSuccess && numbers[0] == 7);
  hand_over(1);
  EXPECT(cudaEventSynchronize(behind) == cudaSuccess && numbers[1] == -1);
  EXPECT(cudaStreamSynchronize(copies) == cudaSuccess && numbers[1] == 6);
  hand_over(2);
  EXPECT(launch(add_kernel, 1, 1, 0, copies, numbers.at, 1) == cudaSuccess && numbers[2] == 6);
  EXPECT(cudaStreamDestroy(stream) == cudaSuccess && cudaStreamDestroy(copies) == cudaSuccess && cudaFreeHost(host) == cudaSuccess);
  EXPECT(cudaEventDestroy(behind) == cudaSuccess);
}

void test_memory() {
  size_t before, between, total;
  EXPECT(cudaMemGetInfo(&before, &total) == cudaSuccess && before == total);
  {
    Buffer<signed char> a(100);
    EXPECT(cudaMemGetInfo(&between, &total) == cudaSuccess && between < before);
    EXPECT((size_t)a.at % 64 == 0 && a[99] == -1);
    EXPECT(cudaMemset(a.at, 3, 100) == cudaSuccess && a[99] == 3);
    EXPECT(cudaMemset(a.at, 3, 101) == cudaErrorInvalidValue);
    char host[100] = {7};
    EXPECT(cudaMemcpy(a.at, host, 100, cudaMemcpyHostToDevice) == cudaSuccess && a[0] == 7 && a[1] == 0);
    EXPECT(cudaMemcpy(a.at, host, 100, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  }
  void* memory;
  EXPECT(cudaMalloc(&memory, total + 1) == cudaErrorMemoryAllocation && !memory);
  EXPECT(cudaMemGetInfo(&between, &total) == cudaSuccess && between == before);
  EXPECT(cudaFree((char*)&before) == cudaErrorInvalidValue);
  EXPECT(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
}

// -------------------------------------------------------------------------------------------- what breaks the device for good

__global__ void diverged_barrier_kernel() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncwarp();
  if (threadIdx.x >= 32) __syncthreads();
}
__global__ void waits_for_ever_kernel() {
  if (threadIdx.x == 0)
    __syncthreads();
  else
    __syncwarp(0xffffffffu);
}
__global__ void diverged_warp_kernel(int* out) {
  const int lane = (int)threadIdx.x;
  if (lane < 8)
    *out = __shfl_sync(0xffffffffu, lane, 1);
  else
    *out = __shfl_sync(0xffffffffu, lane, 2);
}
__global__ void ended_kernel(int* out) {
  if (threadIdx.x == 5) return;
  *out = __any_sync(0xffffffffu, 1);
}
__global__ void not_in_mask_kernel(int* out) {
  if (threadIdx.x < 16) *out = __shfl_sync(0x0000ffffu, 1, 20);
}
__global__ void read_behind_kernel(int* data, int* out) { *out = data[16 + threadIdx.x]; }
__global__ void shared_behind_kernel(int* out) { *out = ((int*)cuda_emulation::dynamic_shared())[32]; }
__global__ void deep_kernel(int* out) {
  volatile char much[400 << 10];
  for (size_t i = 0; i < sizeof(much); i += 512) much[i] = 1;
  *out = much[*out & 1];
}

cudaError_t bad_launch(int which, int* data, int* out) {
  switch (which) {
    case 0: return launch(diverged_barrier_kernel, 1, 64, 0, nullptr);
    case 1: return launch(waits_for_ever_kernel, 1, 32, 0, nullptr);
    case 2: return launch(diverged_warp_kernel, 1, 32, 0, nullptr, out);
    case 3: return launch(ended_kernel, 1, 32, 0, nullptr, out);
    case 4: return launch(not_in_mask_kernel, 1, 32, 0, nullptr, out);
    case 5: return launch(ended_kernel, 1, 4, 0, nullptr, out);
    case 6: return launch(read_behind_kernel, 1, 1, 0, nullptr, data, out);
    case 7: return launch(shared_behind_kernel, 1, 1, 128, nullptr, out);
    case 8: return launch(read_behind_kernel, 1, 1, 0, nullptr, (int*)nullptr, out);
    default: return launch(deep_kernel, 1, 1, 0, nullptr, out);
  }
}

void test_broken(int which) {
  const struct {
    cudaError_t error;
    const char* says;
  } expected[] = {
      {cudaErrorLaunchFailure, "this thread is at __syncthreads ("},
      {cudaErrorLaunchFailure, "threads wait for each other for ever: 1 of 32 at __syncthreads"},
      {cudaErrorLaunchFailure, "but lanes 0x000000ff are at __shfl_sync ("},
      {cudaErrorLaunchFailure, "ended"},
      {cudaErrorLaunchFailure, "lane 0 shuffles from lane 20, which is not in the mask 0x0000ffff"},
      {cudaErrorLaunchFailure, "lanes 0xfffffff0 of the mask of __any_sync"},
      {cudaErrorIllegalAddress, "an access 64 bytes behind the beginning of 64 bytes of device memory: addr2line"},
      {cudaErrorIllegalAddress, "; thread (0, 0, 0) of block (0, 0, 0)"},
      {cudaErrorIllegalAddress, "where there is nothing"},
      {cudaErrorIllegalAddress, "addr2line"},
  };
  Buffer<int> data(16), out(1);
  EXPECT(bad_launch(which, data.at, out.at) == cudaSuccess);  // found out later
  const cudaError_t error = cudaDeviceSynchronize();
  EXPECT(error == expected[which].error && starts_with_says(error, expected[which].says));
  void* memory;
  EXPECT(cudaMalloc(&memory, 1) == error && launch(sum_kernel, 1, 32, 0, nullptr, out.at) == error && cudaGetLastError() == error);
  EXPECT(cudaGetLastError() == error);
}
constexpr int kBroken = 10;

void test_asked_failure() {
  Buffer<int> out(32);
  int devices;
  setenv("BK_CUDA_EMULATED_FAIL", "3", 1);
  EXPECT(cudaGetDeviceCount(&devices) == cudaSuccess && devices == 1);
  for (int i = 1; i < 4; i++) {
    EXPECT(launch(sum_kernel, 1, 32, 0, nullptr, out.at) == cudaSuccess);
    EXPECT(cudaDeviceSynchronize() == (i < 3 ? cudaSuccess : cudaErrorIllegalAddress));
  }
}

void test_computers() {
  int devices, version;
  setenv("BK_CUDA_EMULATED", "no-driver", 1);
  EXPECT(cudaGetDeviceCount(&devices) == cudaErrorInsufficientDriver && cudaDriverGetVersion(&version) == cudaSuccess && version == 0);
  setenv("BK_CUDA_EMULATED", "old-driver", 1);
  EXPECT(cudaGetDeviceCount(&devices) == cudaErrorInsufficientDriver && cudaDriverGetVersion(&version) == cudaSuccess && version == 11040);
  setenv("BK_CUDA_EMULATED", "no-device", 1);
  EXPECT(cudaGetDeviceCount(&devices) == cudaErrorNoDevice && devices == 0 && cudaSetDevice(0) == cudaErrorNoDevice);
  unsetenv("BK_CUDA_EMULATED");
  setenv("BK_CUDA_EMULATED_CAPABILITY", "8.0", 1);
  EXPECT(cudaGetDeviceCount(&devices) == cudaSuccess && devices == 1);
  cudaDeviceProp properties;
  EXPECT(cudaGetDeviceProperties(&properties, 0) == cudaSuccess && properties.major == 8 && properties.sharedMemPerBlockOptin == 163 << 10);
}

void test_all_that_works() {
  for (unsigned block : {32u, 96u, 256u, 1024u}) test_block_sum(block);
  test_collectives();
  test_shared_memory();
  test_static_shared_memory();
  Buffer<int> out(32);
  EXPECT(launch(leave_early_kernel, 1, 64, 0, nullptr, out.at) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess && out[3] == 28);
  test_graphs();
  test_late_copies();
}

}  // namespace

// Each broken device needs a process of its own: this program runs itself with the number of what breaks it.
int main(int count, char** arguments) {
  if (count > 1) {
    test_broken(atoi(arguments[1]));
    return failures ? 1 : 0;
  }
  test_memory();
  test_all_that_works();
  int devices;
  setenv("BK_CUDA_EMULATED_ORDER", "reverse", 1);
  EXPECT(cudaGetDeviceCount(&devices) == cudaSuccess);
  test_all_that_works();
  unsetenv("BK_CUDA_EMULATED_ORDER");
  for (int which = 0; which < kBroken; which++) {
    char command[4200];
    snprintf(command, sizeof(command), "'%s' %d", arguments[0], which);
    EXPECT(system(command) == 0);
  }
  test_computers();
  test_asked_failure();
  if (failures) fprintf(stderr, "%d expectations do not hold\n", failures);
  return failures ? 1 : 0;
}
