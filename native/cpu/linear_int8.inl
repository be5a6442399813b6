// linear_int8: y = act(x w^T + bias) with a weight of int8 and a scale for each of its rows; ops.def has its layout, which is the same on
// every instruction set. Rows of x are rounded to int8 here, with a scale for each block of columns. Sums of a block are of int32 and exact,
// those of blocks are float32 in their order, and nothing is fused: the bits are the same everywhere, but for the activation's.
// quantize_rows writes such a weight, stretch by stretch, while a model is loaded.
//
// The tile: a panel's 16 columns take 16 / W vectors of sums, for each of MR rows. AVX2: 6 x 2 of 16 registers, beside a vector of the weight
// widened twice and a broadcast; AVX-512 14 x 1 and NEON 4 x 4 of 32; SSE2 and WASM 2 x 4 of 16.
struct Int8 {
#if defined(BK_ISA_AVX512) || BK_GENERIC_WIDTH == 16
  static constexpr int MR = 14;
#elif defined(BK_ISA_AVX2)
  static constexpr int MR = 6;
#elif defined(__aarch64__)
  static constexpr int MR = 4;
#else
  static constexpr int MR = 2;
#endif
  static constexpr int NR = 16, NV = NR / W;
  static constexpr int64_t MC = (96 / MR) * MR;
  /** Columns of x that share a scale; a row's few large elements cost only their own block its precision. */
  static constexpr int64_t BLOCK = 64;
  /** Below it 1 / scale would not be finite; a block of x so small counts as zeros. */
  static constexpr float kMinScale = 1.17549435e-38f;

  /**
   * tile[R x NR] = the sum over blocks of the row's scale times the sum of its products with a panel; of `depth` fours of k. Sums of a
   * block are in registers, those of blocks in the tile.
   */
  template <int R>
  static void micro_kernel(int64_t depth, const int32_t* x, const float* scales, const int32_t* w, float* tile) {
    for (int64_t block = 0; block < depth; block += BLOCK / 4, scales += MR) {
      i32 sum[R][NV] = {};
      for (const int32_t* end = w + smaller(BLOCK / 4, depth - block) * NR; w != end; x += MR * FOURS, w += NR)
#pragma GCC unroll 2
        for (int p = 0; p < FOURS; p++) {
          Part b[NV];
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) b[v] = part(w + v * W, p);
#pragma GCC unroll 16
          for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) sum[i][v] = dot_part(sum[i][v], b[v], x[i * FOURS + p]);
        }
#pragma GCC unroll 16
      for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
          float* to = tile + i * NR + v * W;
          const f32 total = __builtin_convertvector(sum[i][v], f32) * scales[i];
          store(to, block == 0 ? total : load(to) + total);
        }
    }
  }

  /** The same of the first `rows` of the strip: all, half of them, or one; so that a single row does not cost as much as MR. */
  static void micro_kernel(int64_t rows, int64_t depth, const int32_t* x, const float* scales, const int32_t* w, float* tile) {
    if (rows > MR / 2)
      micro_kernel<MR>(depth, x, scales, w, tile);
    else if (rows > 1)
      micro_kernel<larger(1, MR / 2)>(depth, x, scales, w, tile);
    else
      micro_kernel<1>(depth, x, scales, w, tile);
  }
};

BK_INLINE int64_t int8_depth(int64_t K) { return ceil_div(K, 4); }

/** That a weight's words are there, and its sums fit. */
static Status check_int8(const char* where, int64_t N, int64_t K, int64_t words) {
  const int64_t needed = round_up(N, Int8::NR) * int8_depth(K);
  if (words < needed) return {where, 0, words, needed, INT64_MAX};
  return kOk;
}

/** Row n of a weight: its word of the first four k's; and element k of a row. */
BK_INLINE const int32_t* int8_row(const int32_t* w, int64_t n, int64_t K) { return w + n / Int8::NR * int8_depth(K) * Int8::NR + n % Int8::NR; }
BK_INLINE int8_t int8_at(const int32_t* row, int64_t k) { return (int8_t)((uint32_t)row[k / 4 * Int8::NR] >> k % 4 * 8); }

/** body(k, n) for the columns of a row, W at a time, then the n < W that are left: two copies of it, so that n is mostly a constant. */
template <class Body>
BK_INLINE void each_columns(int64_t K, Body&& body) {
  int64_t k = 0;
  for (; k + W <= K; k += W) body(k, W);
  if (k < K) body(k, (int)(K - k));
}

/** K elements of x as int8: put(k, q) takes four of them, zeros beyond the last. Returns their scale, NaN where an element is not finite. */
template <class Put>
BK_INLINE float quantize(const float* x, int64_t K, Put put) {
  f32 most = {};
  i32 finite = set1_i32(-1);
  each_columns(
      K, [&](int64_t k, int n) __attribute__((always_inline)) {
        const f32 v = abs(load_columns(x + k, n));
        finite = finite & (v <= 3.40282347e38f);
        most = max(most, v);
      });
  bool all = true;
  for (int i = 0; i < W; i++) all = all && finite[i];
  const float scale = reduce_max(most) / 127;
  const float inverse = all && scale >= Int8::kMinScale ? 1 / scale : 0;
  each_columns(
      K, [&](int64_t k, int n) __attribute__((always_inline)) {
        int32_t q[W];
        // what is not finite gives any number, within int8 too: its product with 0 is NaN, and NaN is not the largest of two
        *(i32_unaligned*)q = round_i32(min(max(load_columns(x + k, n) * inverse, set1(-127)), set1(127)));
#pragma GCC unroll 4
        for (int j = 0; j < n; j += 4) put(k + j, q + j);
      });
  return all ? (inverse != 0 ? scale : 0) : __builtin_nanf("");
}

/** At most BLOCK elements of a row of x, in their place in a strip. Not inlined: a runtime of WebAssembly optimizes what is called often. */
static __attribute__((noinline)) float quantize_block(const float* x, int64_t K, int32_t* out) {
  return quantize(
      x, K, [&](int64_t k, const int32_t* q) __attribute__((always_inline)) { fours(q, out + (uint64_t)k / 4 * Int8::MR * FOURS); });
}

/** A row of a weight, in its place in a panel. */
static __attribute__((noinline)) float quantize_row(const float* x, int64_t K, int32_t* out) {
  return quantize(
      x, K, [&](int64_t k, const int32_t* q) __attribute__((always_inline)) {
        out[(uint64_t)k / 4 * Int8::NR] = (q[0] & 0xff) | (q[1] & 0xff) << 8 | (q[2] & 0xff) << 16 | (int32_t)((uint32_t)q[3] << 24);
      });
}

/** Rows first .. first + rows of a weight of N rows, rounded: w, and scale. */
static Status quantize_rows(Run& run, const Call& call) {
  Cursor c(call);
  const float* x = c.f32();
  int32_t* w = c.i32();
  float* scale = c.f32();
  const int64_t rows = c.dim(), N = c.dim(), K = c.dim(), words = c.dim(), first = c.integer();
  Status s = check_int8("w", N, K, words);
  if (!s.where && (first < 0 || first > N - rows)) s = {"first", 0, first, 0, N - rows + 1};
  if (s.where) return s;
  const int64_t panel = first / Int8::NR;
  parallel_ranges(run, ceil_div(first + rows, Int8::NR) - panel, row_grain(Int8::NR * K), [&](int64_t begin, int64_t end, int) {
    const int64_t from = larger(first, (panel + begin) * Int8::NR), to = smaller(first + rows, (panel + end) * Int8::NR);
    for (int64_t n = from; n < to; n++) scale[n] = quantize_row(x + (n - first) * K, K, w + n / Int8::NR * int8_depth(K) * Int8::NR + n % Int8::NR);
  });
  return kOk;
}
static constexpr Scratch (*quantize_rows_scratch)(const Call&) = nullptr;

static Scratch linear_int8_scratch(const Call& call) {
  const int64_t height = round_up(call.attributes[BK_PLACE(linear_int8, rows)], Int8::MR), depth = int8_depth(call.attributes[BK_PLACE(linear_int8, K)]);
  return {height * (depth * FOURS + ceil_div(depth * 4, Int8::BLOCK)) * 4, 0};
}

static Status linear_int8(Run& run, const Call& call) {
  constexpr int64_t MR = Int8::MR, NR = Int8::NR, MC = Int8::MC, BLOCK = Int8::BLOCK;
  Cursor c(call);
  const float* x = c.f32();
  const int32_t* w = c.i32();
  const float *scale = c.f32(), *bias = c.f32();
  float* y = c.f32();
  const int64_t M = c.dim(), K = c.dim(), N = c.dim(), words = c.dim(), depth = int8_depth(K), blocks = ceil_div(K, BLOCK);
  const int act = c.integer();
  const Status s = check_int8("w", N, K, words);
  if (s.where || M == 0) return s;
  int32_t* strips = (int32_t*)run.shared;
  float* scales = (float*)(strips + round_up(M, MR) * depth * FOURS);  // of a strip: of each block, those of its rows
  parallel_ranges(run, ceil_div(M, MR), row_grain(MR * K), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * MR; i < end * MR; i++) {
      int32_t* out = strips + (i / MR * MR * depth + i % MR) * FOURS;
      float* scale = scales + i / MR * MR * blocks + i % MR;
      for (int64_t k = 0; k < K; k += BLOCK, out += BLOCK / 4 * MR * FOURS, scale += MR)
        *scale = i < M ? quantize_block(x + i * K + k, smaller(BLOCK, K - k), out) : 0;
    }
  });
  const Activated epilogue = {{y, N, kFloat32}, {nullptr, 0, kFloat32}, act};
  const int64_t down = ceil_div(M, MC), wanted = larger(1, 48 / down), columns = smaller(256, larger(2 * NR, round_up(ceil_div(N, wanted), NR)));
  const int64_t across = ceil_div(N, columns);
  parallel(run, down * across, [&](int index, int) {
    const int64_t i0 = index / across * MC, j0 = index % across * columns, i1 = smaller(i0 + MC, M), j1 = smaller(j0 + columns, N);
    for (int64_t j = j0; j < j1; j += NR) {
      const int64_t width = smaller(NR, j1 - j);
      for (int64_t i = i0; i < i1; i += MR) {
        const int64_t rows = smaller(MR, i1 - i);
        alignas(64) float tile[MR * NR];
        Int8::micro_kernel(rows, depth, strips + i * depth * FOURS, scales + i * blocks, w + j * depth, tile);
        float* to = act == 0 ? y + i * N + j : tile;
        const int64_t ldto = act == 0 ? N : NR;
        for (int64_t v = 0; v < width; v += W) {
          const int n = (int)smaller(W, width - v);
          const f32 s = load_columns(scale + j + v, n), start = bias ? load_columns(bias + j + v, n) : f32{};
          for (int64_t r = 0; r < rows; r++) store_columns(to + r * ldto + v, load(tile + r * NR + v) * s + start, n);
        }
        if (act != 0) epilogue(tile, NR, i, rows, j, width);
      }
    }
  });
  return kOk;
}
