// Rows by index: gather_rows, y = x[index], such as the first token of each sequence for the pooler; and what a decoder does with its
// cache of keys and values.

/** Rows that are only moved: H elements of a type. */
struct Bytes {
  int64_t H;
  ElementType type;

  size_t size() const { return (size_t)H * (type == kBfloat16 ? 2 : 4); }
  char* of(const void* rows, int64_t r) const { return (char*)rows + (size_t)r * size(); }
};

static Status gather_rows(Run& run, const Call& call) {
  Cursor c(call);
  const void* x = c.any();
  const int32_t* index = c.i32();
  void* y = c.any();
  const int64_t from = c.dim(), to = c.dim(), H = c.dim();
  const Bytes row = {H, c.type()};
  const Status s = check_indices("index", index, to, from);
  if (s.where) return s;
  parallel_ranges(run, to, row_grain(H), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) memcpy(row.of(y, r), row.of(x, index[r]), row.size());
  });
  return kOk;
}
static constexpr Scratch (*gather_rows_scratch)(const Call&) = nullptr;

/** dx = 0 unless `add`, then dx[index] += dy, in the order of the index. */
static Status gather_rows_backward(Run& run, const Call& call) {
  Cursor c(call);
  const void* given = c.any();
  const int32_t* index = c.i32();
  void* target = c.any();
  const int64_t from = c.dim(), to = c.dim(), H = c.dim();
  const bool add = c.integer() != 0;
  const Bytes row = {H, c.type()};
  const Status s = check_indices("index", index, to, from);
  if (s.where) return s;
  if (!add)
    parallel_ranges(run, from, row_grain(H), [&](int64_t begin, int64_t end, int) { memset(row.of(target, begin), 0, (size_t)(end - begin) * row.size()); });
  with_type(row.type, [&](auto element) {
    const auto* dy = (const decltype(element)*)given;
    auto* dx = (decltype(element)*)target;
    for (int64_t r = 0; r < to; r++)
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        auto* out = dx + index[r] * H + j;
        store_columns(out, load_columns(out, n) + load_columns(dy + r * H + j, n), n);
      }
  });
  return kOk;
}
static constexpr Scratch (*gather_rows_backward_scratch)(const Call&) = nullptr;

/** Indices that ascend strictly and stay below `high`: no two threads meet in a row. */
static Status check_ascending(const char* where, const int32_t* index, int64_t n, int64_t high) {
  for (int64_t i = 0; i < n; i++) {
    const int64_t low = i ? (int64_t)index[i - 1] + 1 : 0;
    if (index[i] < low || index[i] >= high) return {where, i, index[i], low, high};
  }
  return kOk;
}

/** y[index] = x[:, first .. first + H]; the other rows of y stay. */
static Status store_rows(Run& run, const Call& call) {
  Cursor c(call);
  const void* x = c.any();
  const int32_t* index = c.i32();
  void* y = c.any();
  const int64_t rows = c.dim(), to = c.dim(), T = c.dim(), H = c.dim(), first = c.integer();
  const ElementType type = c.type();
  const Bytes row = {H, type}, whole = {T, type}, before = {first, type};
  if (first < 0 || first > T - H) return {"first", 0, first, 0, T - H + 1};
  const Status s = check_ascending("index", index, rows, to);
  if (s.where) return s;
  parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) memcpy(row.of(y, index[r]), whole.of(x, r) + before.size(), row.size());
  });
  return kOk;
}
static constexpr Scratch (*store_rows_scratch)(const Call&) = nullptr;

/** y[target] = y[from]; no row is both. */
static Status copy_rows(Run& run, const Call& call) {
  Cursor c(call);
  const int32_t *from = c.i32(), *target = c.i32();
  void* y = c.any();
  const int64_t rows = c.dim(), of = c.dim(), H = c.dim();
  const Bytes row = {H, c.type()};
  Status s = check_ascending("target", target, rows, of);
  if (!s.where) s = check_indices("from", from, rows, of);
  if (s.where) return s;
  for (int64_t i = 0; i < rows; i++) {
    int64_t low = 0, high = rows;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (target[middle] < from[i])
        low = middle + 1;
      else
        high = middle;
    }
    if (low < rows && target[low] == from[i]) return {"from", i, from[i], of, of};
  }
  parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) memcpy(row.of(y, target[r]), row.of(y, from[r]), row.size());
  });
  return kOk;
}
static constexpr Scratch (*copy_rows_scratch)(const Call&) = nullptr;
