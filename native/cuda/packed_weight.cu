// pack_weight: a linear layer's weight as products read it (packed_weight.cuh).
#include "packed_weight.cuh"

namespace bk {
namespace cuda {

/** Each thread packs V elements of w, all from `V * threads of the grid` on in the same way. */
template <int V, class T>
__global__ void __launch_bounds__(256) pack_weight_kernel(const float* __restrict__ w, PackedTarget<T> target) {
  const int64_t count = (int64_t)target.N * target.K, step = (int64_t)gridDim.x * blockDim.x * V;
  for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V; i < count; i += step) {
    float values[V];
    load(w + i, values);
    target.store(i, values);
  }
}

Status pack_weight(Launch& launch, Operands c) {
  const float* w = c.f32();
  void* packed = c.any();
  const int N = c.dim(), K = c.dim(), words = c.dim();
  const ElementType product = c.type();
  const Status s = check_packed(packed, product, N, K, words);
  if (s.where) return s;
  const bool fours = K % 4 == 0;
  const int64_t blocks = ceil_div((int64_t)N * K, 256 * (fours ? 4 : 1)), most = 16 * launch.multiprocessors;
  const int grid = (int)(blocks < most ? blocks : most);
  with_type(product, [&](auto element) {
    typedef decltype(element) T;
    const PackedTarget<T> target = {(T*)packed, N, K};
    launch(fours ? pack_weight_kernel<4, T> : pack_weight_kernel<1, T>, dim3(grid), dim3(256), 0, w, target);
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
