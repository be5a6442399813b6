// linear: y = act(x w^T + bias). The product is of x's type: of bfloat16 the weight is rounded too.
#include "activation.cuh"
#include "product.cuh"

namespace bk {
namespace cuda {

/** Keeps z if it is given, y = act(z). */
struct Activated {
  static constexpr bool kRowSums = false;
  const float* bias;
  Result y, z;
  int act;

  template <class Slab>
  __device__ __forceinline__ void finish(const Slab& slab) const {
    with_activation(act, [&](auto activation) {
      slab.each([&](int row, int column, auto& values) {
        constexpr int V = sizeof values / sizeof values[0];
        if (bias) {
          float start[V];
          load_elements(bias + column, start);
#pragma unroll
          for (int i = 0; i < V; i++) values[i] += start[i];
        }
        if (z.data) z.store(row, column, values);
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = decltype(activation)::value(values[i]);
        y.store(row, column, values);
      });
    });
  }
};

Status linear(Launch& launch, Operands c) {
  const void* x = c.any();
  const float *w = c.f32(), *bias = c.f32();
  const void* packed = c.any();
  void *y = c.any(), *z = c.any();
  const Rows rows = c.rows();
  const int K = c.dim(), N = c.dim(), words = c.dim();
  const int act = c.integer();
  const ElementType type = c.type(), to = c.type();
  const Status s = check_packed(packed, nullptr, type, N, K, words, 0);
  if (s.where) return s;
  with_type(type, [&](auto element) {
    typedef decltype(element) T;
    const Operand<T> a = operand<T>(launch, {x, type, K, 0, K, rows.capacity, rows.count});
    const Operand<T> b = operand<T>(launch, weight_matrix(w, packed, type, N, K));
    const Product<T> p = {a.data, b.data, a.pitch, b.pitch, rows.capacity, N, K, rows.count, nullptr, 1};
    const Activated epilogue = {bias, {y, to, N}, {z, to, N}, act};
    with_shape<T>(launch, rows.capacity, N, [&](auto shape) { launch_gemm<decltype(shape), true, true>(launch, p, epilogue); });
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
