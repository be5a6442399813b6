// Losses of single numbers, in float64: mean_squared_error and binary_cross_entropy.
#include "loss.cuh"

namespace bk {
namespace cuda {

constexpr int kElementThreads = 256;
/** Elements of [rows, C] whose losses one block sums. */
constexpr int kElementChunk = 8 * kElementThreads;

/** (z - target)^2 */
struct SquaredError {
  static __device__ double loss(double z, double target) { return (z - target) * (z - target); }
  static __device__ double gradient(double z, double target, double denominator) { return 2 * (z - target) / denominator; }
};

/** log(1 + e^z) - z target = max(z, 0) - z target + log(1 + e^-|z|): PyTorch's BCEWithLogitsLoss. */
struct BinaryCrossEntropy {
  static __device__ double loss(double z, double target) { return (z > 0 ? z : 0) - z * target + log1p(exp(z > 0 ? -z : z)); }
  static __device__ double gradient(double z, double target, double denominator) { return (1 / (1 + exp(-z)) - target) / denominator; }
};

/** The sum of each chunk. */
template <class Loss>
__global__ void __launch_bounds__(kElementThreads)
    element_losses_kernel(const float* __restrict__ logits, const float* __restrict__ targets, const int32_t* rows, int C, double* parts) {
  const int64_t n = (int64_t)*rows * C, begin = (int64_t)blockIdx.x * kElementChunk;
  if (begin >= n) return;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < n && i < begin + kElementChunk; i += kElementThreads) sum += Loss::loss((double)logits[i], (double)targets[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kSumThreads) put_element_losses_kernel(const double* parts, const int32_t* rows, int C, PutLoss put) {
  put(parts, ceil_div((int64_t)*rows * C, kElementChunk));
}

template <class Loss>
__global__ void __launch_bounds__(kElementThreads)
    element_gradients_kernel(const float* __restrict__ logits, const float* __restrict__ targets, float* __restrict__ dlogits, const int32_t* rows, int C,
                             int denominator, const RunState* state) {
  const int64_t n = (int64_t)*rows * C, begin = (int64_t)blockIdx.x * kElementChunk;
  const double divisor = state->scalars[denominator];
  for (int64_t i = begin + threadIdx.x; i < n && i < begin + kElementChunk; i += kElementThreads)
    dlogits[i] = divisor > 0 ? (float)Loss::gradient((double)logits[i], (double)targets[i], divisor) : 0.0f;
}

template <class Loss>
static Status element_loss(Launch& launch, Operands c) {
  const float *logits = c.f32(), *targets = c.f32();
  float* loss = c.f32();
  const Rows rows = c.rows();
  const int C = c.dim(), denominator = c.integer();
  const bool add = c.flag();
  const int chunks = ceil_div((int64_t)rows.capacity * C, kElementChunk);
  double* parts = launch.reserve<double>(chunks);
  launch(element_losses_kernel<Loss>, dim3(chunks), dim3(kElementThreads), 0, logits, targets, rows.count, C, parts);
  launch(put_element_losses_kernel, dim3(1), dim3(kSumThreads), 0, parts, rows.count, C, PutLoss{loss, launch.state, denominator, add});
  return kOk;
}

template <class Loss>
static Status element_loss_backward(Launch& launch, Operands c) {
  const float *logits = c.f32(), *targets = c.f32();
  float* dlogits = c.f32();
  const Rows rows = c.rows();
  const int C = c.dim(), denominator = c.integer();
  launch(element_gradients_kernel<Loss>, dim3(ceil_div((int64_t)rows.capacity * C, kElementChunk)), dim3(kElementThreads), 0, logits, targets, dlogits,
         rows.count, C, denominator, launch.state);
  return kOk;
}

Status mean_squared_error(Launch& launch, Operands c) { return element_loss<SquaredError>(launch, c); }
Status mean_squared_error_backward(Launch& launch, Operands c) { return element_loss_backward<SquaredError>(launch, c); }
Status binary_cross_entropy(Launch& launch, Operands c) { return element_loss<BinaryCrossEntropy>(launch, c); }
Status binary_cross_entropy_backward(Launch& launch, Operands c) { return element_loss_backward<BinaryCrossEntropy>(launch, c); }

}  // namespace cuda
}  // namespace bk
