// embedding: y = word[ids] + type[type_ids] + position[position_ids], in that order of addition (Transformers' BertEmbeddings).
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kEmbeddingRows = 8;

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
  __device__ int64_t word(int row) const { return checked(ids[row], 0, V, row) ? ids[row] : 0; }
  __device__ int64_t type(int row) const { return checked_type(type_ids[row], 0, Y, row) ? type_ids[row] : 0; }
  __device__ int64_t position(int row) const { return checked_position(position_ids[row], 0, P, row) ? position_ids[row] : 0; }
};

/** A warp takes a row, a lane W columns of it at a time. */
template <class T, int W>
__global__ void __launch_bounds__(kEmbeddingRows* kWarp) embedding_kernel(EmbeddingIds index, const float* __restrict__ word, const float* __restrict__ type,
                                                                          const float* __restrict__ position, T* __restrict__ y, const int32_t* rows, int H) {
  const int row = blockIdx.x * kEmbeddingRows + threadIdx.x / kWarp;
  if (row >= *rows) return;
  const float *w = word + index.word(row) * H, *t = type + index.type(row) * H, *p = position + index.position(row) * H;
#pragma unroll 4
  for (int column = threadIdx.x % kWarp * W; column < H; column += kWarp * W) {
    float v[W], more[W], last[W];
    load(w + column, v);
    load(t + column, more);
    load(p + column, last);
#pragma unroll
    for (int j = 0; j < W; j++) v[j] = v[j] + more[j] + last[j];
    store(y + (int64_t)row * H + column, v);
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

/** Rows of a panel of an int8 weight (linear_int8 in ../ops.def); a word of it holds four columns of a row. */
constexpr int kPanelRows = 16;

/** A warp takes a row, a lane the four columns of a word at a time. */
template <bool kFours>
__global__ void __launch_bounds__(kEmbeddingRows* kWarp)
    embedding_int8_kernel(EmbeddingIds index, const int32_t* __restrict__ word, const float* __restrict__ scale, const float* __restrict__ type,
                          const float* __restrict__ position, float* __restrict__ y, const int32_t* rows, int H) {
  const int row = blockIdx.x * kEmbeddingRows + threadIdx.x / kWarp;
  if (row >= *rows) return;
  const int64_t id = index.word(row);
  const float *t = type + index.type(row) * H, *p = position + index.position(row) * H, s = scale[id];
  const int32_t* words = word + id / kPanelRows * kPanelRows * ceil_div(H, 4) + id % kPanelRows;
#pragma unroll 4
  for (int column = threadIdx.x % kWarp * 4; column < H; column += kWarp * 4) {
    const uint32_t four = (uint32_t)words[(int64_t)(column / 4) * kPanelRows];
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
  const int H = c.dim(), V = c.dim(), Y = c.dim(), P = c.dim();
  const int64_t words = c.dim(), needed = round_up(V, kPanelRows) * ceil_div(H, 4);
  if (words < needed) return {"word", 0, words, needed, INT64_MAX};
  const EmbeddingIds index = EmbeddingIds::of(launch, ids, type_ids, position_ids, V, Y, P);
  launch(H % 4 == 0 ? embedding_int8_kernel<true> : embedding_int8_kernel<false>, dim3(ceil_div(rows.capacity, kEmbeddingRows)), dim3(kEmbeddingRows * kWarp),
         0, index, word, scale, type, position, y, rows.count, H);
  return kOk;
}

}  // namespace cuda
}  // namespace bk
