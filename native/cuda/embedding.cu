// embedding: y = word[ids] + type[type_ids] + position[position_ids], in that order of addition (Transformers' BertEmbeddings).
#include "linear_int8.cuh"
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kEmbeddingRows = 8, kEmbeddingBatch = 3;

/** Indices into the three tables. One that is outside fails the run, and row 0 is read for it. */
struct EmbeddingIds {
  const int32_t *ids, *type_ids, *position_ids;
  int V, Y, P;
  Checked checked, checked_type, checked_position;

  static EmbeddingIds of(Launch& launch, const int32_t* ids, const int32_t* type_ids, const int32_t* position_ids, int V, int Y, int P) {
    return {ids,
            type_ids,
            position_ids,
            V,
            Y,
            P,
            launch.check("ids", ids, 0, V),
            launch.check("type_ids", type_ids, 0, Y),
            launch.check("position_ids", position_ids, 0, P)};
  }

  struct Row {
    int64_t word, type, position;
  };
  __device__ Row at(int row) const {
    const int id = ids[row], type_id = type_ids[row], position_id = position_ids[row];
    return {checked(id, 0, V, row) ? id : 0, checked_type(type_id, 0, Y, row) ? type_id : 0, checked_position(position_id, 0, P, row) ? position_id : 0};
  }
};

/** A warp takes a row, a lane W columns of it at a time. */
template <class T, int W>
__global__ void __launch_bounds__(kEmbeddingRows* kWarp, 4)
    embedding_kernel(EmbeddingIds index, const float* __restrict__ word, const float* __restrict__ type, const float* __restrict__ position, T* __restrict__ y,
                     const int32_t* rows, int H) {
  const int row = blockIdx.x * kEmbeddingRows + threadIdx.x / kWarp;
  if (row >= *rows) return;
  const auto at = index.at(row);
  const float *w = word + at.word * H, *t = type + at.type * H, *p = position + at.position * H;
  for (int first = threadIdx.x % kWarp * W; first < H; first += kEmbeddingBatch * kWarp * W) {
    float v[kEmbeddingBatch][W], more[kEmbeddingBatch][W], last[kEmbeddingBatch][W];
#pragma unroll
    for (int i = 0; i < kEmbeddingBatch; i++) {
      const int column = first + i * kWarp * W;
      if (column >= H) continue;
      load(w + column, v[i]);
      load(t + column, more[i]);
      load(p + column, last[i]);
    }
#pragma unroll
    for (int i = 0; i < kEmbeddingBatch; i++) {
      const int column = first + i * kWarp * W;
      if (column >= H) continue;
#pragma unroll
      for (int j = 0; j < W; j++) v[i][j] = v[i][j] + more[i][j] + last[i][j];
      store(y + (int64_t)row * H + column, v[i]);
    }
  }
}

Status embedding(Launch& launch, Operands c) {
  const int32_t *ids = c.i32(), *type_ids = c.i32(), *position_ids = c.i32();
  const float *word = c.f32(), *type = c.f32(), *position = c.f32();
  void* y = c.any();
  const Rows rows = c.rows();
  const int H = c.dim(), V = c.dim(), Y = c.dim(), P = c.dim();
  const EmbeddingIds index = EmbeddingIds::of(launch, ids, type_ids, position_ids, V, Y, P);
  with_type(c.type(), [&](auto element) {
    typedef decltype(element) T;
    launch(H % 4 == 0 ? embedding_kernel<T, 4> : embedding_kernel<T, 1>, dim3(ceil_div(rows.capacity, kEmbeddingRows)), dim3(kEmbeddingRows * kWarp), 0, index,
           word, type, position, (T*)y, rows.count, H);
  });
  return kOk;
}

/** A warp takes a row, a lane the four columns of a word at a time. */
template <bool kFours>
__global__ void __launch_bounds__(kEmbeddingRows* kWarp)
    embedding_int8_kernel(EmbeddingIds index, const int32_t* __restrict__ word, const float* __restrict__ scale, const float* __restrict__ type,
                          const float* __restrict__ position, float* __restrict__ y, const int32_t* rows, int H) {
  const int row = blockIdx.x * kEmbeddingRows + threadIdx.x / kWarp;
  if (row >= *rows) return;
  const auto at = index.at(row);
  const float *t = type + at.type * H, *p = position + at.position * H, s = scale[at.word];
  const int32_t* words = word + int8_word((int)at.word, 0, H);
#pragma unroll 4
  for (int column = threadIdx.x % kWarp * 4; column < H; column += kWarp * 4) {
    const uint32_t four = (uint32_t)words[(int64_t)(column / 4) * kInt8Panel];
    float* to = y + (int64_t)row * H + column;
    float v[4];
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = (float)(int8_t)(four >> 8 * j) * s;
    if (kFours) {
      float more[4], last[4];
      load(t + column, more);
      load(p + column, last);
#pragma unroll
      for (int j = 0; j < 4; j++) v[j] = v[j] + more[j] + last[j];
      store(to, v);
    } else {
#pragma unroll
      for (int j = 0; j < 4; j++)
        if (column + j < H) to[j] = v[j] + t[column + j] + p[column + j];
    }
  }
}

Status embedding_int8(Launch& launch, Operands c) {
  const int32_t *ids = c.i32(), *type_ids = c.i32(), *position_ids = c.i32(), *word = c.i32();
  const float *scale = c.f32(), *type = c.f32(), *position = c.f32();
  float* y = c.f32();
  const Rows rows = c.rows();
  const int H = c.dim(), V = c.dim(), Y = c.dim(), P = c.dim(), words = c.dim();
  const Status s = check_int8("word", V, H, words);
  if (s.where) return s;
  const EmbeddingIds index = EmbeddingIds::of(launch, ids, type_ids, position_ids, V, Y, P);
  launch(H % 4 == 0 ? embedding_int8_kernel<true> : embedding_int8_kernel<false>, dim3(ceil_div(rows.capacity, kEmbeddingRows)), dim3(kEmbeddingRows * kWarp),
         0, index, word, scale, type, position, y, rows.count, H);
  return kOk;
}

}  // namespace cuda
}  // namespace bk
