// gather_rows: y = x[index], such as the first token of each sequence for the pooler.

static Status gather_rows(Run& run, const Call& call) {
  Cursor c(call);
  const float* x = c.f32();
  const int32_t* index = c.i32();
  float* y = c.f32();
  const int64_t from = c.dim(), to = c.dim(), H = c.dim();
  const Status s = check_indices("index", index, to, from);
  if (s.where) return s;
  parallel_ranges(run, to, row_grain(H), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) memcpy(y + r * H, x + index[r] * H, (size_t)H * 4);
  });
  return kOk;
}
static constexpr Scratch (*gather_rows_scratch)(const Call&) = nullptr;

/** dx = 0 unless `add`, then dx[index] += dy, in the order of the index. */
static Status gather_rows_backward(Run& run, const Call& call) {
  Cursor c(call);
  const float* dy = c.f32();
  const int32_t* index = c.i32();
  float* dx = c.f32();
  const int64_t from = c.dim(), to = c.dim(), H = c.dim();
  const bool add = c.integer() != 0;
  const Status s = check_indices("index", index, to, from);
  if (s.where) return s;
  if (!add) parallel_ranges(run, from, row_grain(H), [&](int64_t begin, int64_t end, int) { memset(dx + begin * H, 0, (size_t)((end - begin) * H) * 4); });
  for (int64_t r = 0; r < to; r++)
    for (int64_t j = 0; j < H; j += W) {
      const int n = (int)smaller(W, H - j);
      float* out = dx + index[r] * H + j;
      store_columns(out, load_columns(out, n) + load_columns(dy + r * H + j, n), n);
    }
  return kOk;
}
static constexpr Scratch (*gather_rows_backward_scratch)(const Call&) = nullptr;
