// dropout: y = keep ? x / (1 - p) : 0. The backward is the same function of dy.

static Status dropout(Run& run, const Call& call) {
  Cursor c(call);
  const void* from = c.any();
  const int32_t* keep = c.i32();
  void* to = c.any();
  const int64_t rows = c.dim(), H = c.dim();
  const float p = c.real();
  const Dropout drop = Dropout::of(run, p, c.integer(), keep);
  with_type(c.type(), [&](auto element) {
    auto *x = (decltype(element)*)from, *y = (decltype(element)*)to;
    parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; r++) drop.apply(x + r * H, y + r * H, r, H);
    });
  });
  return kOk;
}
static constexpr Scratch (*dropout_scratch)(const Call&) = nullptr;
