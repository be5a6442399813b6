// On the host: how a product is launched. Operands whose rows cannot be copied in chunks of 16 bytes, and those of float32 in a product of
// bfloat16, are copied first, to scratch; so there is one kernel for all.
#pragma once
#include "gemm_hopper.cuh"
#include "packed_weight.cuh"

namespace bk {
namespace cuda {

/** A matrix in memory: rows `pitch` elements apart, from element `first` of each on; their number may be counted. */
struct Matrix {
  const void* data;
  ElementType type;
  int64_t pitch;
  int first, columns;
  int rows;
  const int32_t* counted;  // null: there are `rows`
};

/** A layer's weight w [N, K], or, where it is given, what pack_weight has made of it. */
inline Matrix weight_matrix(const float* w, const void* packed, ElementType product, int N, int K) {
  if (packed) return {packed, product, packed_pitch(K), 0, K, N, nullptr};
  return {w, kFloat32, K, 0, K, N, nullptr};
}

/** to[row][column] = from[row][column], and zeros up to the pitch; 8 columns a thread. */
template <class From, class To>
__global__ void __launch_bounds__(256)
    align_rows_kernel(const From* __restrict__ from, int64_t pitch, int columns, int rows, const int32_t* counted, bool fours, To* __restrict__ to) {
  const int64_t groups = ceil_div(columns, 8), count = groups * (counted ? *counted : rows), step = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    const int64_t row = i / groups, column = (i - row * groups) * 8;
    const From* source = from + row * pitch + column;
    float values[8];
    if (fours && column + 8 <= columns) {
      float four[4];
#pragma unroll
      for (int j = 0; j < 8; j += 4) {
        load(source + j, four);
#pragma unroll
        for (int k = 0; k < 4; k++) values[j + k] = four[k];
      }
    } else {
#pragma unroll
      for (int j = 0; j < 8; j++) values[j] = column + j < columns ? to_float(source[j]) : 0.0f;
    }
    To* target = to + row * groups * 8 + column;
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      const float four[4] = {values[j], values[j + 1], values[j + 2], values[j + 3]};
      store(target + j, four);
    }
  }
}

/** A matrix as products of T read it. */
template <class T>
struct Operand {
  const T* data;
  int64_t pitch;
};

template <class T>
Operand<T> operand(Launch& launch, const Matrix& m) {
  constexpr ElementType type = sizeof(T) == 2 ? kBfloat16 : kFloat32;
  constexpr int chunk = 16 / sizeof(T);
  if (m.type == type && m.pitch % chunk == 0 && m.first % chunk == 0) return {(const T*)m.data + m.first, m.pitch};
  const int64_t groups = ceil_div(m.columns, 8), blocks = ceil_div(groups * m.rows, 256), most = 16 * launch.multiprocessors;
  T* aligned = launch.reserve<T>(groups * 8 * m.rows);
  with_type(m.type, [&](auto element) {
    typedef decltype(element) From;
    launch(align_rows_kernel<From, T>, dim3(blocks < most ? blocks : most), dim3(256), 0, (const From*)m.data + m.first, m.pitch, m.columns, m.rows, m.counted,
           m.pitch % 4 == 0 && m.first % 4 == 0, aligned);
  });
  return {aligned, groups * 8};
}

/** The shapes of blocks for products of T. `kSpeed` is relative, of a device that is full of them. */
template <class T>
struct Shapes;
template <>
struct Shapes<bf16> {
  typedef BlockShape<bf16, 128, 256, 64, 64, 3, 1> Large;
  typedef BlockShape<bf16, 128, 128, 64, 64, 3, 2> Medium;
  typedef BlockShape<bf16, 64, 64, 32, 32, 4, 3> Small;
  typedef BlockShape<bf16, 32, 32, 16, 16, 6, 4> Tiny;
};
template <>
struct Shapes<float> {
  typedef BlockShape<float, 128, 128, 64, 32, 3, 1> Large;
  typedef Large Medium;
  typedef BlockShape<float, 64, 64, 32, 32, 4, 2> Small;
  typedef BlockShape<float, 32, 32, 16, 16, 6, 4> Tiny;
};

/** Rows of a result, of either type: the branch is the same for all threads. */
struct Result {
  void* data;
  ElementType type;
  int64_t pitch;

  template <int V>
  __device__ __forceinline__ void get(int row, int column, float (&values)[V]) const {
    const int64_t place = row * pitch + column;
    if (type == kBfloat16)
      load((const bf16*)data + place, values);
    else
      load((const float*)data + place, values);
  }
  template <int V>
  __device__ __forceinline__ void put(int row, int column, const float (&values)[V]) const {
    const int64_t place = row * pitch + column;
    if (type == kBfloat16)
      store((bf16*)data + place, values);
    else
      store((float*)data + place, values);
  }
};

/** How long a product of M x N takes in blocks of this shape, in no unit: rounds of all multiprocessors, the speed of a full one given. */
template <class Shape>
double cost_of(const Launch& launch, int64_t M, int64_t N, double speed) {
  if (Shape::kBytes > launch.shared_bytes) return 1e300;
  const int64_t tiles = (int64_t)ceil_div(M, Shape::kRows) * ceil_div(N, Shape::kColumns);
  return (double)ceil_div(tiles, launch.multiprocessors) * Shape::kRows * Shape::kColumns / speed;
}

/** Calls body(shape) with the shape that is best for M x N, of those up to the one that `most` is of. */
template <class T, class Body>
void with_shape(const Launch& launch, int64_t M, int64_t N, Body body) {
  typedef Shapes<T> S;
  const double large = cost_of<typename S::Large>(launch, M, N, 1), medium = cost_of<typename S::Medium>(launch, M, N, 0.9);
  const double small = cost_of<typename S::Small>(launch, M, N, 0.6), tiny = cost_of<typename S::Tiny>(launch, M, N, 0.25);
  if (tiny < small && tiny < medium && tiny < large)
    body(typename S::Tiny());
  else if (small < medium && small < large)
    body(typename S::Small());
  else if (medium < large)
    body(typename S::Medium());
  else
    body(typename S::Large());
}

template <class Shape, bool kAlongA, bool kAlongB, class Epilogue>
void launch_gemm(Launch& launch, const Product<typename Shape::T>& p, const Epilogue& epilogue) {
  if constexpr (sizeof(typename Shape::T) == 2)
    if (p.M > 0 && p.K > 0 && chooses_hopper(launch, "BERTKIT_CUDA_GEMM")) return launch_hopper<kAlongA, kAlongB>(launch, p, epilogue);
  const int64_t tiles = (int64_t)ceil_div(p.M, Shape::kRows) * (p.N ? ceil_div(p.N, Shape::kColumns) : 1) * p.splits;
  const int64_t most = (int64_t)launch.multiprocessors * Shape::kBlocks;
  launch(gemm_kernel<Shape, kAlongA, kAlongB, Epilogue>, dim3((unsigned)(tiles < most ? tiles : most)), dim3(Shape::kThreads), Shape::kBytes, p, epilogue);
}

}  // namespace cuda
}  // namespace bk
