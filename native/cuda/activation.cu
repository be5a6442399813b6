// activation_backward: dz = dy act'(z).
#include "activation.cuh"

#include "elementwise.cuh"

namespace bk {
namespace cuda {

template <class Act>
struct ActivationBackward {
  static constexpr bool kTwo = true;
  __device__ ActivationBackward ready() const { return *this; }
  __device__ float operator()(float dy, float z) const { return dy * Act::slope(z); }
};

Status activation_backward(Launch& launch, Operands c) {
  const void *dy = c.any(), *z = c.any();
  void* dz = c.any();
  const Rows rows = c.rows();
  const int N = c.dim(), act = c.integer();
  const ElementType type = c.type();
  with_activation(act, [&](auto activation) { map_elements(launch, type, dy, z, dz, rows, N, ActivationBackward<decltype(activation)>()); });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
