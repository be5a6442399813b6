// embedding: y = word[ids] + type[type_ids] + position[position_ids], in that order of addition (Transformers' BertEmbeddings).

static Status check_indices(const char* where, const int32_t* index, int64_t n, int64_t high) {
  for (int64_t i = 0; i < n; i++)
    if (index[i] < 0 || index[i] >= high) return {where, i, index[i], 0, high};
  return kOk;
}

/** An id outside its table is the status that fails the run. */
static Status check_ids(const int32_t* ids, const int32_t* type_ids, const int32_t* position_ids, int64_t rows, int64_t V, int64_t Y, int64_t P) {
  Status s = check_indices("ids", ids, rows, V);
  if (!s.where) s = check_indices("type_ids", type_ids, rows, Y);
  if (!s.where) s = check_indices("position_ids", position_ids, rows, P);
  return s;
}

static Status embedding(Run& run, const Call& call) {
  Cursor c(call);
  const int32_t *ids = c.i32(), *type_ids = c.i32(), *position_ids = c.i32();
  const float *word = c.f32(), *type = c.f32(), *position = c.f32();
  void* to = c.any();
  const int64_t rows = c.dim(), H = c.dim(), V = c.dim(), Y = c.dim(), P = c.dim();
  const Status s = check_ids(ids, type_ids, position_ids, rows, V, Y, P);
  if (s.where) return s;
  with_type(c.type(), [&](auto element) {
    auto* y = (decltype(element)*)to;
    parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; r++) {
        const float *w = word + ids[r] * H, *t = type + type_ids[r] * H, *p = position + position_ids[r] * H;
        auto* out = y + r * H;
        for (int64_t j = 0; j < H; j += W) {
          const int n = (int)smaller(W, H - j);
          store_columns(out + j, load_columns(w + j, n) + load_columns(t + j, n) + load_columns(p + j, n), n);
        }
      }
    });
  });
  return kOk;
}
static constexpr Scratch (*embedding_scratch)(const Call&) = nullptr;

/** The same with the words' table as linear_int8.inl has weights, so that a tied decoder reads it too. */
static Status embedding_int8(Run& run, const Call& call) {
  Cursor c(call);
  const int32_t *ids = c.i32(), *type_ids = c.i32(), *position_ids = c.i32(), *word = c.i32();
  const float *scale = c.f32(), *type = c.f32(), *position = c.f32();
  float* y = c.f32();
  const int64_t rows = c.dim(), H = c.dim(), V = c.dim(), Y = c.dim(), P = c.dim(), words = c.dim();
  Status s = check_int8("word", V, H, words);
  if (!s.where) s = check_ids(ids, type_ids, position_ids, rows, V, Y, P);
  if (s.where) return s;
  parallel_ranges(run, rows, row_grain(H), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const int32_t* w = int8_row(word, ids[r], H);
      const float *t = type + type_ids[r] * H, *p = position + position_ids[r] * H;
      for (int64_t j = 0; j < H; j += W) {
        const int n = (int)smaller(W, H - j);
        float values[W];
        for (int i = 0; i < n; i++) values[i] = int8_at(w, j + i);
        store_columns(y + r * H + j, load_columns(values, n) * scale[ids[r]] + load_columns(t + j, n) + load_columns(p + j, n), n);
      }
    }
  });
  return kOk;
}
static constexpr Scratch (*embedding_int8_scratch)(const Call&) = nullptr;

/** dtable[ids] += dy. A task takes 64 columns and all rows in turn: no two threads meet, and the order of sums is fixed. */
static Status embedding_backward(Run& run, const Call& call) {
  Cursor c(call);
  const int32_t* ids = c.i32();
  const void* from = c.any();
  float* dtable = c.f32();
  const int64_t rows = c.dim(), H = c.dim(), V = c.dim();
  const int padding_idx = c.integer();
  const bool add = accumulates(run, c.integer());
  const Status s = check_indices("ids", ids, rows, V);
  if (s.where) return s;
  if (!add) parallel_ranges(run, V * H, 1 << 20, [&](int64_t begin, int64_t end, int) { clear(dtable + begin, end - begin); });
  with_type(c.type(), [&](auto element) {
    const auto* dy = (const decltype(element)*)from;
    parallel_ranges(run, H, 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = 0; r < rows; r++) {
        if (ids[r] == padding_idx) continue;
        float* out = dtable + ids[r] * H;
        for (int64_t j = begin; j < end; j += W) {
          const int n = (int)smaller(W, end - j);
          store_columns(out + j, load_columns(out + j, n) + load_columns(dy + r * H + j, n), n);
        }
      }
    });
  });
  return kOk;
}
static constexpr Scratch (*embedding_backward_scratch)(const Call&) = nullptr;
