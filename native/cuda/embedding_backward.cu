// embedding_backward: dtable[ids] += dy. Rows are put in the order of their ids, rows of one id in their own order; then windows of that
// order are summed, and what crosses borders of windows is added up in order. So sums have a fixed order, whatever the ids are: a table of
// two rows that all tokens share is as parallel as one of 30,000.
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kSortRows = 256, kSortSplits = 16;
/** The id of rows that add nothing: it comes after all others. */
constexpr int32_t kNoId = 0x7fffffff;

/** Rows in the order of their ids, by way of chunks that are each in order. All have room for the capacity, rounded up to whole chunks. */
struct SortedRows {
  int32_t *chunk_ids, *chunk_rows, *places;  // of each chunk: ids and rows in order, and where they come among all
  int32_t *ids, *rows;                       // of all
};

/** Puts each chunk in order: an element comes after those of its chunk that are less. */
__global__ void __launch_bounds__(kSortRows)
    sort_chunks_kernel(const int32_t* __restrict__ ids, const int32_t* count, int V, int padding_idx, Checked checked, SortedRows sorted) {
  __shared__ __align__(16) int32_t all[kSortRows];
  const int n = *count, begin = blockIdx.x * kSortRows, row = begin + threadIdx.x;
  if (begin >= n) return;
  int32_t id = kNoId;
  if (row < n && checked(ids[row], 0, V, row) && ids[row] != padding_idx) id = ids[row];
  all[threadIdx.x] = id;
  __syncthreads();
  int place = 0;
#pragma unroll 4
  for (int i = 0; i < kSortRows; i += 4) {
    const int4 others = *(const int4*)(all + i);
    const int t = threadIdx.x;
    place += (others.x < id || (others.x == id && i < t)) + (others.y < id || (others.y == id && i + 1 < t)) +
             (others.z < id || (others.z == id && i + 2 < t)) + (others.w < id || (others.w == id && i + 3 < t));
  }
  sorted.chunk_ids[begin + place] = id;
  sorted.chunk_rows[begin + place] = row;
  sorted.places[row] = threadIdx.x;  // that of element threadIdx.x of the chunk: how many of its own chunk come before
}

/** Block (c, s) adds to the places of chunk c how many elements of every kSortSplits-th other chunk come before. */
__global__ void __launch_bounds__(kSortRows) count_before_kernel(const int32_t* count, SortedRows sorted) {
  __shared__ int32_t other[kSortRows];
  const int n = *count, chunk = blockIdx.x;
  if (chunk * kSortRows >= n) return;
  const int32_t id = sorted.chunk_ids[chunk * kSortRows + threadIdx.x];
  int before = 0;
  for (int c = blockIdx.y; c * kSortRows < n; c += kSortSplits) {
    if (c == chunk) continue;
    __syncthreads();
    other[threadIdx.x] = sorted.chunk_ids[c * kSortRows + threadIdx.x];
    __syncthreads();
    if (c < chunk && id == kNoId) {
      before += kSortRows;
      continue;
    }
    const int32_t limit = c < chunk ? id + 1 : id;  // of an earlier chunk, equal ids come before too
    int low = 0;
#pragma unroll
    for (int half = kSortRows / 2; half > 0; half /= 2)
      if (other[low + half - 1] < limit) low += half;
    before += low + (other[low] < limit);
  }
  if (before) atomicAdd(sorted.places + chunk * kSortRows + threadIdx.x, before);
}

__global__ void __launch_bounds__(kSortRows) put_in_order_kernel(const int32_t* count, SortedRows sorted) {
  const int begin = blockIdx.x * kSortRows, i = begin + threadIdx.x;
  if (begin >= *count) return;
  sorted.ids[sorted.places[i]] = sorted.chunk_ids[i];
  sorted.rows[sorted.places[i]] = sorted.chunk_rows[i];
}

/** dtable = 0, unless it is added to. */
__global__ void __launch_bounds__(256) zero_table_kernel(float* table, int64_t n, const RunState* state) {
  if (accumulates(state, false)) return;
  const float zeros[4] = {};
  const int64_t step = (int64_t)gridDim.x * blockDim.x * 4;
  for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 4; i < n; i += step) {
    if (i + 4 <= n)
      store(table + i, zeros);
    else
      for (int64_t j = i; j < n; j++) table[j] = 0.0f;
  }
}

constexpr int kWindow = 32, kWindowThreads = 64, kBatch = 4;

/**
 * Block (w, t) sums the rows of window w of the order, of the kWindowThreads W columns of tile t. The sum of an id whose rows all lie in
 * the window goes to the table; that of one that began before the window to parts[2 w], that of one that only goes on to parts[2 w + 1].
 */
template <class T, int W>
__global__ void __launch_bounds__(kWindowThreads)
    sum_windows_kernel(const T* __restrict__ dy, const int32_t* count, SortedRows sorted, float* __restrict__ table, float* __restrict__ parts, int H,
                       const RunState* state, bool accumulate) {
  __shared__ int32_t around[kWindow + 2], rows[kWindow];
  const int n = *count, begin = blockIdx.x * kWindow;
  if (begin >= n) return;
  for (int i = threadIdx.x; i < kWindow + 2; i += kWindowThreads) {
    const int at = begin - 1 + i;
    around[i] = at < 0 || at >= n ? kNoId : sorted.ids[at];
    if (i < kWindow) rows[i] = sorted.rows[begin + i];
  }
  __syncthreads();
  const int column = (blockIdx.y * kWindowThreads + threadIdx.x) * W;
  if (column >= H) return;
  const bool add = accumulates(state, accumulate);
  const int32_t *ids = around + 1, before = around[0];
  float total[W] = {};
  for (int first = 0; first < kWindow && ids[first] != kNoId; first += kBatch) {
    float v[kBatch][W], old[kBatch][W] = {};
#pragma unroll
    for (int b = 0; b < kBatch; b++) {
      const int i = first + b;
      if (ids[i] == kNoId) continue;
      load(dy + (int64_t)rows[i] * H + column, v[b]);
      if (add && ids[i] != ids[i + 1] && ids[i] != before) load(table + (int64_t)ids[i] * H + column, old[b]);
    }
#pragma unroll
    for (int b = 0; b < kBatch; b++) {
      const int i = first + b;
      if (ids[i] == kNoId) continue;
#pragma unroll
      for (int j = 0; j < W; j++) total[j] += v[b][j];
      const bool ends = ids[i] != ids[i + 1];
      if (!ends && i + 1 < kWindow) continue;
      float* to = ids[i] == before ? parts + (int64_t)blockIdx.x * 2 * H : ends ? table + (int64_t)ids[i] * H : parts + ((int64_t)blockIdx.x * 2 + 1) * H;
#pragma unroll
      for (int j = 0; j < W; j++) total[j] = old[b][j] + total[j];
      store(to + column, total);
#pragma unroll
      for (int j = 0; j < W; j++) total[j] = 0;
    }
  }
}

constexpr int kCrossingWarps = 8;

/**
 * Block (w, t) adds the parts of the id that begins in window w and goes on in others, of the 32 W columns of tile t: each warp those of
 * every eighth window, then over warps in order.
 */
template <int W>
__global__ void __launch_bounds__(kCrossingWarps* kWarp) add_crossing_kernel(const int32_t* count, SortedRows sorted, const float* __restrict__ parts,
                                                                             float* __restrict__ table, int H, const RunState* state, bool accumulate) {
  __shared__ float sums[kCrossingWarps][kWarp * W];
  const int window = blockIdx.x, after = (window + 1) * kWindow, windows = ceil_div(*count, kWindow);
  if (window + 1 >= windows) return;
  const int32_t id = sorted.ids[after - 1];
  if (id == kNoId || id != sorted.ids[after]) return;
  if (window > 0 && sorted.ids[window * kWindow - 1] == id) return;
  int low = window + 1, high = windows;  // the last window that the id reaches is in [low, high)
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (sorted.ids[middle * kWindow] == id)
      low = middle;
    else
      high = middle;
  }
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, column = (blockIdx.y * kWarp + lane) * W;
  float total[W] = {};
  if (column < H) {
    if (warp == 0) load(parts + ((int64_t)window * 2 + 1) * H + column, total);
#pragma unroll 4
    for (int w = window + 1 + warp; w <= low; w += kCrossingWarps) {
      float v[W];
      load(parts + (int64_t)w * 2 * H + column, v);
#pragma unroll
      for (int j = 0; j < W; j++) total[j] += v[j];
    }
  }
#pragma unroll
  for (int j = 0; j < W; j++) sums[warp][j * kWarp + lane] = total[j];
  __syncthreads();
  if (warp != 0 || column >= H) return;
  float* to = table + (int64_t)id * H + column;
  float old[W] = {};
  if (accumulates(state, accumulate)) load(to, old);
#pragma unroll
  for (int j = 0; j < W; j++) {
    total[j] = 0;
    for (int w = 0; w < kCrossingWarps; w++) total[j] += sums[w][j * kWarp + lane];
    total[j] = old[j] + total[j];
  }
  store(to, total);
}

Status embedding_backward(Launch& launch, Operands c) {
  const int32_t* ids = c.i32();
  const void* dy = c.any();
  float* table = c.f32();
  const Rows rows = c.rows();
  const int H = c.dim(), V = c.dim(), padding_idx = c.integer();
  const bool accumulate = c.flag();
  const int chunks = ceil_div(rows.capacity, kSortRows), windows = ceil_div(rows.capacity, kWindow);
  SortedRows sorted;
  for (int32_t** list : {&sorted.chunk_ids, &sorted.chunk_rows, &sorted.places, &sorted.ids, &sorted.rows})
    *list = launch.reserve<int32_t>((int64_t)chunks * kSortRows);
  float* parts = launch.reserve<float>((int64_t)windows * 2 * H);
  if (!accumulate) launch(zero_table_kernel, dim3(8 * launch.multiprocessors), dim3(256), 0, table, (int64_t)V * H, launch.state);
  const dim3 sort(kSortRows);
  launch(sort_chunks_kernel, dim3(chunks), sort, 0, ids, rows.count, V, padding_idx, launch.check("ids", ids, 0, V), sorted);
  launch(count_before_kernel, dim3(chunks, chunks < kSortSplits ? chunks : kSortSplits), sort, 0, rows.count, sorted);
  launch(put_in_order_kernel, dim3(chunks), sort, 0, rows.count, sorted);
  with_type(c.type(), [&](auto element) {
    typedef decltype(element) T;
    constexpr int W = kWidth<T>;
    const bool whole = H % W == 0;
    launch(whole ? sum_windows_kernel<T, W> : sum_windows_kernel<T, 1>, dim3(windows, ceil_div(H, kWindowThreads * (whole ? W : 1))), dim3(kWindowThreads), 0,
           (const T*)dy, rows.count, sorted, table, parts, H, launch.state, accumulate);
  });
  const bool fours = H % 4 == 0;
  launch(fours ? add_crossing_kernel<4> : add_crossing_kernel<1>, dim3(windows, ceil_div(H, kWarp * (fours ? 4 : 1))), dim3(kCrossingWarps * kWarp), 0,
         rows.count, sorted, parts, table, H, launch.state, accumulate);
  return kOk;
}

}  // namespace cuda
}  // namespace bk
