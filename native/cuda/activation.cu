// activation_backward: dz = dy act'(z), and y = act(z) where it is wanted again.
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

template <class Act>
struct ActivationAgain {
  static constexpr bool kTwo = false;
  __device__ ActivationAgain ready() const { return *this; }
  __device__ float operator()(float z, float) const { return Act::value(z); }
};

Status activation_backward(Launch& launch, Operands c) {
  const void *dy = c.any(), *z = c.any();
  void *dz = c.any(), *y = c.any();
  const Rows rows = c.rows();
  const int N = c.dim(), act = c.integer();
  const ElementType type = c.type();
  with_activation(act, [&](auto activation) {
    typedef decltype(activation) Act;
    map_elements(launch, type, dy, z, dz, rows, N, ActivationBackward<Act>());
    if (y) map_elements(launch, type, z, nullptr, y, rows, N, ActivationAgain<Act>());
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
