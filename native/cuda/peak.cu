// What the device reaches in a second (bk_measure_peak): multiply-adds and products in registers, and memory that no cache holds.
#include <time.h>

#include "engine.h"
#include "tensor_core.cuh"

namespace bk {
namespace cuda {
namespace {

constexpr int kThreads = 256, kChains = 8, kRounds = 4096;

/** `kChains` independent multiply-adds of float32 in each thread, again and again. */
__global__ void __launch_bounds__(kThreads) multiply_adds(float* out, float factor) {
  float sum[kChains];
#pragma unroll
  for (int i = 0; i < kChains; i++) sum[i] = (float)(threadIdx.x + i);
  for (int round = 0; round < kRounds; round++)
#pragma unroll
    for (int i = 0; i < kChains; i++) sum[i] = fmaf(sum[i], factor, factor);
  float total = 0;
#pragma unroll
  for (int i = 0; i < kChains; i++) total += sum[i];
  if (total == -1) *out = total;  // never, but the compiler does not know
}
constexpr double kMultiplyAddFlops = 2.0 * kThreads * kChains * kRounds;

/** The same of products of 16 x 8 x 16 bfloat16, one after another in each of `kChains` accumulators of a warp. */
__global__ void __launch_bounds__(kThreads) products(float* out, uint32_t bits) {
  float sum[kChains][4] = {};
  const uint32_t a[4] = {bits, bits, bits, bits}, b[2] = {bits, bits};
  for (int round = 0; round < kRounds; round++)
#pragma unroll
    for (int i = 0; i < kChains; i++) mma_bf16(sum[i], a, b);
  float total = 0;
#pragma unroll
  for (int i = 0; i < kChains; i++) total += sum[i][0] + sum[i][1] + sum[i][2] + sum[i][3];
  if (total == -1) *out = total;
}
constexpr double kProductFlops = 2.0 * 16 * 8 * 16 * (kThreads / kWarp) * kChains * kRounds;

__global__ void __launch_bounds__(kThreads) update(float4* data, int64_t n) {
  for (int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x; i < n; i += (int64_t)gridDim.x * kThreads) {
    float4 x = data[i];
    x.x += 1, x.y += 1, x.z += 1, x.w += 1;
    data[i] = x;
  }
}

__global__ void __launch_bounds__(kThreads) read(const float4* data, int64_t n, float* out) {
  float total = 0;
  for (int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x; i < n; i += (int64_t)gridDim.x * kThreads) {
    const float4 x = data[i];
    total += (x.x + x.y) + (x.z + x.w);
  }
  if (total == -1) *out = total;
}

constexpr int64_t kMemoryBytes = (int64_t)1 << 30;  // many times the largest cache

/** Flops or bytes of one launch, which it adds to the stream. */
double launch_once(Device& d, int peak, char* data) {
  const int blocks = d.properties.multiProcessorCount * 8;
  const int64_t n = kMemoryBytes / (int64_t)sizeof(float4);
  Launch launch = {};
  launch.stream = d.copies;
  switch (peak) {
    case BK_PEAK_FLOAT32: launch(multiply_adds, blocks, kThreads, 0, (float*)data, 0.5f); return kMultiplyAddFlops * blocks;
    case BK_PEAK_BFLOAT16: launch(products, blocks, kThreads, 0, (float*)data, 0x3f803f80u); return kProductFlops * blocks;
    case BK_PEAK_MEMORY: launch(update, blocks, kThreads, 0, (float4*)data, n); return 2.0 * kMemoryBytes;
    default: launch(read, blocks, kThreads, 0, (const float4*)data, n, (float*)data); return (double)kMemoryBytes;
  }
}

}  // namespace
}  // namespace cuda
}  // namespace bk

double bk_measure_peak(bk_engine* engine, int peak, double seconds) {
  using namespace bk::cuda;
  Device& d = *static_cast<Engine*>(engine)->device;
  if (d.lost || peak < BK_PEAK_FLOAT32 || peak > BK_PEAK_READ) return 0;
  char* data = nullptr;
  const int64_t bytes = peak >= BK_PEAK_MEMORY ? kMemoryBytes : 256;
  cudaError_t e = cudaMalloc((void**)&data, (size_t)bytes);
  if (e == cudaSuccess) e = cudaMemsetAsync(data, 0, (size_t)bytes, d.copies);
  double done = 0;
  timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  const auto elapsed = [&] {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec);
  };
  while (e == cudaSuccess && elapsed() < seconds) {
    done += launch_once(d, peak, data);
    e = cudaStreamSynchronize(d.copies);
  }
  const double rate = done / elapsed();
  cudaFree(data);
  char message[256];
  return device_check(d, e, "Measuring", message, sizeof message) ? 0 : rate;
}
