// linear: y = act(x w^T + bias). The product is of x's type: of bfloat16 the weight is rounded too.
#include "activation.cuh"
#include "product.cuh"

namespace bk {
namespace cuda {

/** Keeps z if it is given, y = act(z). */
struct Activated {
  static constexpr bool kRowSums = false;
  static constexpr int kRounded = 0;
  static constexpr double kAround = 7;
  const float* bias;
  Result y, z;
  int act;

  template <class Slab>
  __device__ __forceinline__ void finish(const Slab& slab) const {
    const auto apply = [&](auto activation) {
      slab.each([&](int row, int column, auto& values) {
        constexpr int V = sizeof values / sizeof values[0];
        if (bias) {
          float start[V];
          load(bias + column, start);
#pragma unroll
          for (int i = 0; i < V; i++) values[i] += start[i];
        }
        if (z.data) z.put(row, column, values);
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = decltype(activation)::value(values[i]);
        y.put(row, column, values);
      });
    };
    if (act == kGelu && y.type == kBfloat16)
      apply(GeluOfBfloat16());
    else
      with_activation(act, apply);
  }
};

/** The same where all is bfloat16 (RoundedPart), of the activations that models have. */
template <bool kGelu_, bool kKeepsZ>
struct RoundedActivated {
  static constexpr bool kRowSums = false, kJoins = false;
  static constexpr int kRounded = kKeepsZ ? 2 : 1;
  static constexpr double kAround = kGelu_ ? 9 : 1.4;
  const float* bias;
  bf16* to[kRounded];  // y, z

  __device__ __forceinline__ void round(float a, float b, uint32_t (&pairs)[kRounded]) const {
    if (kKeepsZ) pairs[kRounded - 1] = to_bf16_pair(a, b);
    pairs[0] = kGelu_ ? to_bf16_pair(GeluOfBfloat16::value(a), GeluOfBfloat16::value(b)) : to_bf16_pair(a, b);
  }
};

/** Whether it has been launched. */
inline bool launch_rounded(Launch& launch, const Product<bf16>& p, const Activated& e) {
  if (!takes_hopper(launch, p) || e.y.type != kBfloat16 || p.N % 8 || (e.act != kLinear && e.act != kGelu)) return false;
  bf16 *y = (bf16*)e.y.data, *z = (bf16*)e.z.data;
  if (e.act == kGelu && z)
    launch_hopper<true, true>(launch, p, RoundedActivated<true, true>{e.bias, {y, z}});
  else if (e.act == kGelu)
    launch_hopper<true, true>(launch, p, RoundedActivated<true, false>{e.bias, {y}});
  else if (z)
    launch_hopper<true, true>(launch, p, RoundedActivated<false, true>{e.bias, {y, z}});
  else
    launch_hopper<true, true>(launch, p, RoundedActivated<false, false>{e.bias, {y}});
  return true;
}

Status linear(Launch& launch, Operands c) {
  const void* x = c.any();
  const float *w = c.f32(), *bias = c.f32();
  const void* packed = c.any();
  void *y = c.any(), *z = c.any();
  const Rows rows = c.rows();
  const int K = c.dim(), N = c.dim(), words = c.dim();
  const int act = c.integer();
  const ElementType type = c.type(), to = c.type();
  const Status s = check_packed(packed, type, N, K, words);
  if (s.where) return s;
  with_type(type, [&](auto element) {
    typedef decltype(element) T;
    const Operand<T> a = operand<T>(launch, {x, type, K, 0, K, rows.capacity, rows.count});
    const Operand<T> b = operand<T>(launch, weight_matrix(w, packed, type, N, K));
    const Product<T> p = {a.data, b.data, a.pitch, b.pitch, rows.capacity, N, K, rows.count, nullptr, 1};
    const Activated epilogue = {bias, {y, to, N}, {z, to, N}, act};
    if constexpr (sizeof(T) == 2)
      if (launch_rounded(launch, p, epilogue)) return;
    with_shape<T>(launch, rows.capacity, N, [&](auto shape) { launch_gemm<decltype(shape), true, true>(launch, p, epilogue); });
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
