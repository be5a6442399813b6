// Rows by index: gather_rows, y = x[index], such as the first token of each sequence for the pooler; and what a decoder does with its
// cache of keys and values.
#include "vector.cuh"

namespace bk {
namespace cuda {

constexpr int kPoolRows = 8;

/** The row that a warp takes. */
__device__ __forceinline__ int warp_row() { return blockIdx.x * kPoolRows + threadIdx.x / kWarp; }

static dim3 warp_grid(Rows rows) { return dim3(ceil_div(rows.capacity, kPoolRows)); }
constexpr int kPoolThreads = kPoolRows * kWarp;

/** Rows that are only moved, in units of type U. */
template <class U>
__device__ __forceinline__ void copy_row(const U* __restrict__ from, U* __restrict__ to, int units) {
#pragma unroll 4
  for (int i = threadIdx.x % kWarp; i < units; i += kWarp) to[i] = from[i];
}

/** On the host: calls body(U(), units of `bytes` in 16 bytes or an element) where all offsets and lengths are multiples of `bytes`. */
template <class Body>
static void with_unit(ElementType type, int64_t bytes, Body body) {
  if (bytes % 16 == 0)
    body(uint4());
  else if (type == kBfloat16)
    body(uint16_t());
  else
    body(uint32_t());
}

static int64_t size_of(ElementType type) { return type == kBfloat16 ? 2 : 4; }

template <class U>
__global__ void __launch_bounds__(kPoolThreads)
    gather_kernel(const U* __restrict__ x, const int32_t* index, U* __restrict__ y, const int32_t* from, const int32_t* to, int units, Checked checked) {
  const int row = warp_row();
  if (row >= *to) return;
  // an index that is outside fails the run; there is no row 0 either where there are none
  if (checked(index[row], 0, *from, row)) copy_row(x + (int64_t)index[row] * units, y + (int64_t)row * units, units);
}

Status gather_rows(Launch& launch, Operands c) {
  const void* x = c.any();
  const int32_t* index = c.i32();
  void* y = c.any();
  const Rows from = c.rows(), to = c.rows();
  const int H = c.dim();
  const ElementType type = c.type();
  const Checked checked = launch.check("index", index, 0, 0, from.symbol);
  with_unit(type, H * size_of(type), [&](auto unit) {
    typedef decltype(unit) U;
    launch(gather_kernel<U>, warp_grid(to), dim3(kPoolThreads), 0, (const U*)x, index, (U*)y, from.count, to.count, (int)(H * size_of(type) / sizeof(U)),
           checked);
  });
  return kOk;
}

/** Of each row of dx, how often it is met, and `most` less the first time that it is. */
struct Met {
  int32_t *times, *first;
  int most;
};

__global__ void __launch_bounds__(256) meet_rows_kernel(const int32_t* index, const int32_t* from, const int32_t* to, Met met, Checked checked) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= *to || !checked(index[i], 0, *from, i)) return;
  atomicAdd(met.times + index[i], 1);
  atomicMax(met.first + index[i], met.most - i);
}

/** to = before + dy for a row of H columns: each lane always takes the same columns. */
template <class T, int W>
__device__ __forceinline__ void add_row(const T* dy, const T* before, T* to, int H) {
#pragma unroll 2
  for (int column = threadIdx.x % kWarp * W; column < H; column += kWarp * W) {
    float total[W] = {}, v[W] = {};
    if (before) load(before + column, total);
    if (dy) load(dy + column, v);
#pragma unroll
    for (int j = 0; j < W; j++) total[j] += v[j];
    store(to + column, total);
  }
}

/** A warp takes a row of dx, and adds to it in the order of the index, rounding each time. Rows that are met once are written once. */
template <class T, int W>
__global__ void __launch_bounds__(kPoolThreads) gather_backward_kernel(const T* __restrict__ dy, const int32_t* __restrict__ index, T* dx, const int32_t* from,
                                                                       const int32_t* to, int H, bool add, Met met) {
  const int row = warp_row(), lane = threadIdx.x % kWarp;
  if (row >= *from) return;
  const int times = met.times[row], last = *to;
  if (times == 0 && add) return;
  T* const target = dx + (int64_t)row * H;
  int at = met.most - met.first[row];
  add_row<T, W>(times ? dy + (int64_t)at * H : nullptr, add ? target : nullptr, target, H);
  for (int met_again = 1; met_again < times && at < last; at += kWarp) {
    const int i = at + 1 + lane;
    unsigned same = __ballot_sync(0xffffffffu, i < last && index[i] == row);
    for (; same; same &= same - 1, met_again++) add_row<T, W>(dy + (int64_t)(at + __ffs(same)) * H, target, target, H);
  }
}

Status gather_rows_backward(Launch& launch, Operands c) {
  const void* dy = c.any();
  const int32_t* index = c.i32();
  void* dx = c.any();
  const Rows from = c.rows(), to = c.rows();
  const int H = c.dim();
  const bool add = c.flag();
  int32_t* times = launch.reserve<int32_t>(2 * (int64_t)from.capacity);
  const Met met = {times, times + from.capacity, to.capacity};
  launch.zero(times, 2 * (size_t)from.capacity * sizeof(int32_t));
  launch(meet_rows_kernel, dim3(ceil_div(to.capacity, 256)), dim3(256), 0, index, from.count, to.count, met, launch.check("index", index, 0, 0, from.symbol));
  with_type(c.type(), [&](auto element) {
    typedef decltype(element) T;
    constexpr int W = kWidth<T>;
    launch(H % W == 0 ? gather_backward_kernel<T, W> : gather_backward_kernel<T, 1>, warp_grid(from), dim3(kPoolThreads), 0, (const T*)dy, index, (T*)dx,
           from.count, to.count, H, add, met);
  });
  return kOk;
}

/** Indices that ascend strictly and stay below a number of rows: no two meet in a row. */
struct Ascending {
  const int32_t* index;
  Checked first, later;

  static Ascending of(Launch& launch, const char* where, const int32_t* index, Rows below) {
    return {index, launch.check(where, index, 0, 0, below.symbol), launch.check(where, index, 1, 0, below.symbol, true)};
  }
  __device__ bool operator()(int i, int below) const {
    return i == 0 ? first(index[0], 0, below, 0) : later(index[i], (int64_t)index[i - 1] + 1, below, i) && index[i] >= 0;
  }
};

template <class U>
__global__ void __launch_bounds__(kPoolThreads) store_rows_kernel(const U* __restrict__ x, U* __restrict__ y, const int32_t* rows, const int32_t* to, int pitch,
                                                                  int first, int units, Ascending ascending) {
  const int row = warp_row();
  if (row >= *rows || !ascending(row, *to)) return;
  copy_row(x + (int64_t)row * pitch + first, y + (int64_t)ascending.index[row] * units, units);
}

/** y[index] = x[:, first .. first + H]; the other rows of y stay. */
Status store_rows(Launch& launch, Operands c) {
  const void* x = c.any();
  const int32_t* index = c.i32();
  void* y = c.any();
  const Rows rows = c.rows(), to = c.rows();
  const int T = c.dim(), H = c.dim(), first = c.integer();
  const ElementType type = c.type();
  if (first < 0 || first > T - H) return {"first", 0, first, 0, T - H + 1};
  const int64_t size = size_of(type);
  const Ascending ascending = Ascending::of(launch, "index", index, to);
  with_unit(type, (T | H | first) * size, [&](auto unit) {
    typedef decltype(unit) U;
    const int elements = (int)(sizeof(U) / size);
    launch(store_rows_kernel<U>, warp_grid(rows), dim3(kPoolThreads), 0, (const U*)x, (U*)y, rows.count, to.count, T / elements, first / elements, H / elements,
           ascending);
  });
  return kOk;
}

/** Whether a sorted list holds a value; any answer where it is not sorted. */
__device__ __forceinline__ bool holds(const int32_t* list, int count, int32_t value) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (list[middle] < value)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && list[low] == value;
}

template <class U>
__global__ void __launch_bounds__(kPoolThreads)
    copy_rows_kernel(const int32_t* from, U* y, const int32_t* rows, const int32_t* of, int units, Ascending ascending, Checked inside, Checked apart) {
  const int row = warp_row(), count = *rows;
  if (row >= count || !ascending(row, *of) || !inside(from[row], 0, *of, row)) return;
  // a source that is a target too is never within 0 .. 0
  if (holds(ascending.index, count, from[row]) && !apart(from[row], 0, 0, row)) return;
  copy_row((const U*)y + (int64_t)from[row] * units, y + (int64_t)ascending.index[row] * units, units);
}

/** y[target] = y[from]; no row is both. */
Status copy_rows(Launch& launch, Operands c) {
  const int32_t *from = c.i32(), *target = c.i32();
  void* y = c.any();
  const Rows rows = c.rows(), of = c.rows();
  const int H = c.dim();
  const ElementType type = c.type();
  const Ascending ascending = Ascending::of(launch, "target", target, of);
  const Checked inside = launch.check("from", from, 0, 0, of.symbol), apart = launch.check("from", from, 0, 0);
  with_unit(type, H * size_of(type), [&](auto unit) {
    typedef decltype(unit) U;
    launch(copy_rows_kernel<U>, warp_grid(rows), dim3(kPoolThreads), 0, from, (U*)y, rows.count, of.count, (int)(H * size_of(type) / sizeof(U)), ascending,
           inside, apart);
  });
  return kOk;
}

}  // namespace cuda
}  // namespace bk
