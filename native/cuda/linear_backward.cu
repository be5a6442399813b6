// The gradients of linear: dx = dy w, dw = dy^T x, dbias = the sums of dy's columns.
#include "activation.cuh"
#include "column_sums.cuh"
#include "product.cuh"

namespace bk {
namespace cuda {

/** dx = product, or is added to. */
struct Added {
  static constexpr bool kRowSums = false;
  static constexpr int kRounded = 0;
  static constexpr double kAround = 7;
  Result to;
  bool add;

  template <class Slab>
  __device__ __forceinline__ void finish(const Slab& slab) const {
    slab.each([&](int row, int column, auto& values) {
      if (add) {
        float before[sizeof values / sizeof values[0]];
        to.get(row, column, before);
#pragma unroll
        for (int i = 0; i < (int)(sizeof values / sizeof values[0]); i++) values[i] += before[i];
      }
      to.put(row, column, values);
    });
  }
};

/** The same of bfloat16 (RoundedPart). */
template <bool kJoins_>
struct Rounded {
  static constexpr bool kRowSums = false, kJoins = kJoins_;
  static constexpr int kRounded = 1;
  static constexpr double kAround = kJoins ? 3 : 1.4;
  static constexpr const float* bias = nullptr;
  bf16* to[1];
  const bf16* with;  // what it is added to

  __device__ __forceinline__ float join(float sum, float with) const { return sum + with; }
  __device__ __forceinline__ void round(float a, float b, uint32_t (&pairs)[1]) const { pairs[0] = to_bf16_pair(a, b); }
};

/** dz = product times gelu'(z), of bfloat16 (RoundedPart). */
struct Sloped {
  static constexpr bool kRowSums = false, kJoins = true;
  static constexpr int kRounded = 1;
  static constexpr double kAround = 6;
  static constexpr const float* bias = nullptr;
  bf16* to[1];
  const bf16* with;  // z

  __device__ __forceinline__ float join(float sum, float z) const { return sum * GeluOfBfloat16::slope(z); }
  __device__ __forceinline__ void round(float a, float b, uint32_t (&pairs)[1]) const { pairs[0] = to_bf16_pair(a, b); }
};

/** What a record of linear_backward_data is of. */
struct DataGradient {
  const void* dy;
  const float* w;
  const void* packed;
  void* dx;
  Rows rows;
  int K, N, words;
  bool add;
  ElementType type, to;

  static DataGradient of(Operands& c) {
    const void* dy = c.any();
    const float* w = c.f32();
    const void* packed = c.any();
    void* dx = c.any();
    const Rows rows = c.rows();
    const int K = c.dim(), N = c.dim(), words = c.dim();
    const bool add = c.flag();
    const ElementType type = c.type(), to = c.type();
    return {dy, w, packed, dx, rows, K, N, words, add, type, to};
  }
  Status check() const { return check_packed(packed, type, N, K, words); }

  template <class T>
  Product<T> product(Launch& launch) const {
    const Operand<T> a = operand<T>(launch, {dy, to, N, 0, N, rows.capacity, rows.count});
    const Operand<T> b = operand<T>(launch, weight_matrix(w, packed, type, N, K));
    return {a.data, b.data, a.pitch, b.pitch, rows.capacity, K, N, rows.count, nullptr, 1};
  }
};

Status linear_backward_data(Launch& launch, Operands c) {
  const DataGradient d = DataGradient::of(c);
  const Status s = d.check();
  if (s.where) return s;
  with_type(d.type, [&](auto element) {
    typedef decltype(element) T;
    const Product<T> p = d.product<T>(launch);
    if constexpr (sizeof(T) == 2)
      if (takes_hopper(launch, p) && d.K % 8 == 0) {
        if (d.add) return launch_hopper<true, false>(launch, p, Rounded<true>{{(bf16*)d.dx}, (const bf16*)d.dx});
        return launch_hopper<true, false>(launch, p, Rounded<false>{{(bf16*)d.dx}, nullptr});
      }
    with_shape<T>(launch, d.rows.capacity, d.K, [&](auto shape) { launch_gemm<decltype(shape), true, false>(launch, p, Added{{d.dx, d.type, d.K}, d.add}); });
  });
  return kOk;
}

bool linear_backward_data_slopes(Launch& launch, Operands c, Operands of_activation) {
  const DataGradient d = DataGradient::of(c);
  of_activation.any();
  const bf16* z = (const bf16*)of_activation.any();
  of_activation.any();
  of_activation.rows();
  of_activation.dim();
  const int act = of_activation.integer();
  const bool rounded = d.type == kBfloat16 && d.to == kBfloat16 && of_activation.type() == kBfloat16;
  if (!rounded || act != kGelu || d.add || d.K % 8 || d.rows.capacity == 0 || d.N == 0 || !chooses_hopper(launch) || d.check().where) return false;
  launch_hopper<true, false>(launch, d.product<bf16>(launch), Sloped{{(bf16*)d.dx}, z});
  return true;
}

/** Where a gradient of a parameter goes: where its sum is made in parts, to the place of each. */
struct Gradient {
  float* to;     // null: nobody wants it
  float* parts;  // null: there is one
  int64_t size;

  /** `column` for the place inside; V of them are one access. */
  template <int V>
  __device__ __forceinline__ void put(int64_t place, const float (&values)[V], int part, bool add) const {
    float sums[V];
#pragma unroll
    for (int i = 0; i < V; i++) sums[i] = values[i];
    if (parts) {
      store(parts + part * size + place, sums);
      return;
    }
    if (add) {
      float before[V];
      load(to + place, before);
#pragma unroll
      for (int i = 0; i < V; i++) sums[i] += before[i];
    }
    store(to + place, sums);
  }
};

template <bool kRowSums_>
struct ParameterGradients {
  static constexpr bool kRowSums = kRowSums_;
  static constexpr int kRounded = 0;
  static constexpr double kAround = 4;
  Gradient dw, dbias;
  const RunState* state;
  bool accumulate;

  template <class Slab>
  __device__ __forceinline__ void finish(const Slab& slab) const {
    const bool add = accumulates(state, accumulate);
    slab.each([&](int row, int column, auto& values) { dw.put((int64_t)row * slab.N + column, values, slab.split, add); });
  }
  __device__ float* target(int split) const { return dw.parts ? dw.parts + split * dw.size : dw.to; }
  __device__ bool adds() const { return !dw.parts && accumulates(state, accumulate); }
  __device__ bool wants_sums() const { return dbias.to; }
  __device__ __forceinline__ void finish_sum(int row, float sum, int part) const {
    const float sums[1] = {sum};
    if (dbias.to) dbias.put(row, sums, part, accumulates(state, accumulate));
  }
};

/** The sums of the splits, in their order: of dw, where it has any, V elements a thread, and then of dbias, which has `shares` of each. */
template <int V>
__global__ void __launch_bounds__(256)
    sum_splits_kernel(Gradient dw, Gradient dbias, const int32_t* counted, int splits, int unit, int shares, const RunState* state, bool accumulate) {
  begin_kernel();
  const int used = used_splits(*counted, splits, unit);
  const bool add = accumulates(state, accumulate);
  const int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
  const auto sum = [&](const Gradient& gradient, int parts, int64_t place, auto& sums) {
    constexpr int kCount = sizeof sums / sizeof sums[0];
    if (add) load(gradient.to + place, sums);
#pragma unroll 4
    for (int s = 0; s < parts; s++) {
      float part[kCount];
      load(gradient.parts + s * gradient.size + place, part);
#pragma unroll
      for (int k = 0; k < kCount; k++) sums[k] += part[k];
    }
    store(gradient.to + place, sums);
  };
  if (i < dw.size) {
    float sums[V] = {};
    sum(dw, used, i, sums);
  } else if (dbias.to) {
    for (int64_t place = i - dw.size; place < i - dw.size + V && place < dbias.size; place++) {
      float sums[1] = {};
      sum(dbias, used * shares, place, sums);
    }
  }
}

/**
 * How many splits of the rows: where dw has few tiles, more give every multiprocessor its share, but each is written and read once more.
 * `weight` of that: what moving a float32 costs, in multiply-adds of the product.
 */
template <class Shape>
int choose_splits(const Launch& launch, int rows, int N, int K) {
  const double tiles = (double)ceil_div(N, Shape::kRows) * ceil_div(K, Shape::kColumns);
  const double moved = sizeof(typename Shape::T) == 2 ? 512 : 96;
  int best = 1;
  double least = 1e300;
  for (int splits = 1; splits <= 32 && (splits == 1 || splits * 4 * Shape::kDepth <= rows); splits++) {
    const double rounds = (double)ceil_div((int64_t)tiles * splits, launch.multiprocessors) / splits;
    const double cost = rounds + (splits == 1 ? 0 : splits * tiles / launch.multiprocessors * moved / rows);
    if (cost < least) least = cost, best = splits;
  }
  return best;
}

/** The same for products by warp groups, in microseconds of an H100; a kernel that adds splits takes 8 and the time of its traffic. */
inline int choose_hopper_splits(const Launch& launch, int rows, int N, int K) {
  int best = 1;
  double least = 1e300;
  for (int splits = 1; splits <= 32 && (splits == 1 || splits * 4 * HopperWide::kDepth <= rows); splits++)
    with_hopper_shape(launch, N, K, rows, splits, ParameterGradients<true>::kAround, [&](auto, double cost) {
      cost = 0.7 * cost + (splits == 1 ? 0 : 8 + splits * 8.0 * N * K / 2.4e6);
      if (cost < least) least = cost, best = splits;
    });
  return best;
}

template <class T>
void weight_gradients(Launch& launch, const Matrix& dy, const Matrix& x, const Rows& rows, float* dw, float* dbias, bool accumulate) {
  const int N = dy.columns, K = x.columns;
  // a product of bfloat16 multiplies dy by ones too, which sums its columns as they are stored
  constexpr bool kFuses = sizeof(T) == 2;
  const bool fused = dbias && kFuses && dy.type == kBfloat16;
  if (dbias && !fused) column_sums(launch, dy, rows, dbias, accumulate);
  if (!dw && !fused) return;
  const Operand<T> a = operand<T>(launch, dy), b = dw ? operand<T>(launch, x) : Operand<T>{a.data, a.pitch};
  const auto run = [&](auto shape) {
    typedef decltype(shape) Shape;
    static_assert(sizeof(T) == 4 || Shape::kDepth == HopperWide::kDepth, "splits are multiples of it");
    const int splits = kFuses && chooses_hopper(launch) ? choose_hopper_splits(launch, rows.capacity, N, K) : choose_splits<Shape>(launch, rows.capacity, N, K);
    const Product<T> p = {a.data, b.data, a.pitch, b.pitch, N, dw ? K : 0, rows.capacity, nullptr, rows.count, splits};
    Gradient of_w = {dw, nullptr, dw ? (int64_t)N * K : 0}, of_bias = {fused ? dbias : nullptr, nullptr, N};
    // warp groups sum a stretch of dy's rows in each of the parts beside each other
    int shares = 1;
    if constexpr (kFuses)
      if (takes_hopper(launch, p) && p.N)
        with_hopper_shape(launch, N, p.N, rows.capacity, splits, ParameterGradients<true>::kAround,
                          [&](auto hopper, double) { shares = ceil_div(p.N, decltype(hopper)::kColumns); });
    if (splits > 1 && dw) of_w.parts = launch.reserve<float>(splits * of_w.size);
    if (splits * shares > 1 && fused) of_bias.parts = launch.reserve<float>((int64_t)splits * shares * of_bias.size);
    launch_gemm<Shape, false, false>(launch, p, ParameterGradients<kFuses>{of_w, of_bias, launch.state, accumulate});
    if (!of_w.parts) of_w.size = 0;
    if (!of_w.parts && !of_bias.parts) return;
    const int64_t places = of_w.size + (of_bias.parts ? N : 0);
    const bool fours = of_w.parts && of_w.size % 4 == 0;
    launch.early(fours ? sum_splits_kernel<4> : sum_splits_kernel<1>, dim3(ceil_div(places, fours ? 1024 : 256)), dim3(256), 0, of_w, of_bias, rows.count,
                 splits, Shape::kDepth, shares, launch.state, accumulate);
  };
  // as many splits whether there is dw or not
  if (cost_of<typename Shapes<T>::Small>(launch, N, K, 0.6) < cost_of<typename Shapes<T>::Medium>(launch, N, K, 0.9))
    run(typename Shapes<T>::Small());
  else
    run(typename Shapes<T>::Medium());
}

Status linear_backward_weight(Launch& launch, Operands c) {
  const void *dy = c.any(), *x = c.any();
  float *dw = c.f32(), *dbias = c.f32();
  const Rows rows = c.rows();
  const int K = c.dim(), N = c.dim(), T = c.dim(), first = c.integer();
  const bool accumulate = c.flag();
  const ElementType type = c.type(), to = c.type();
  if (first < 0 || first > T - N) return {"first", 0, first, 0, T - N + 1};
  with_type(type, [&](auto element) {
    weight_gradients<decltype(element)>(launch, {dy, to, T, first, N, rows.capacity, rows.count}, {x, type, K, 0, K, rows.capacity, rows.count}, rows, dw,
                                        dbias, accumulate);
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
