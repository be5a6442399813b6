// A packed weight: w [N, K] in the type of the products that read it, its rows a multiple of 16 bytes apart, so that they are copied to
// shared memory as they are. Products for x w^T and for dy w read the same form; N and K are filled up to multiples of 8 with zeros.
#pragma once
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kPackedUnit = 8;

/** Elements from one row of a packed weight to the next. */
__host__ __device__ constexpr int64_t packed_pitch(int64_t K) { return round_up(K, kPackedUnit); }

constexpr int64_t packed_words(ElementType product, int64_t N, int64_t K) {
  return round_up(N, kPackedUnit) * packed_pitch(K) * (product == kBfloat16 ? 2 : 4) / 4;
}

/** That there is room: how many words there are is the caller's number, how many it takes is the kernels'. */
inline Status check_packed(const void* packed, ElementType product, int64_t N, int64_t K, int64_t words) {
  const int64_t needed = packed_words(product, N, K);
  if (packed && words < needed) return {"packed", 0, words, needed, INT64_MAX};
  return kOk;
}

/** Where the elements of w [N, K] are packed: as T, which is the product's type. */
template <class T>
struct PackedTarget {
  T* packed;
  int N, K;

  /** V consecutive elements from index of w on, which are of one row: V divides K. With them the zeros that follow a row and the last one. */
  template <int V>
  __device__ __forceinline__ void store(int64_t index, const float (&values)[V]) const {
    const int64_t pitch = packed_pitch(K);
    int64_t place = index;
    if (pitch != K || N % kPackedUnit != 0) {
      const int n = (int)(index / K), k = (int)(index - (int64_t)n * K), rows = n == N - 1 ? (int)round_up(N, kPackedUnit) : n + 1;
      const int end = k + V == K ? (int)pitch : k + V;
      place = n * pitch + k;
      for (int row = n; row < rows; row++)
        for (int column = row == n ? k + V : k; column < end; column++) packed[row * pitch + column] = from_float<T>(0.0f);
    }
    bk::cuda::store(packed + place, values);
  }
};

}  // namespace cuda
}  // namespace bk
