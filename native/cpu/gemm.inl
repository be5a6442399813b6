// C = A B, float32, packed and blocked (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
//
// A (M x K) is packed into strips of MR rows, B (K x N) into panels of NR columns, both K-major and zero-padded, so one micro-kernel
// serves every shape and transposition and an element's sum always runs over k in the same order: first within blocks of KC, then the
// blocks in turn. Nothing about a row depends on the rows beside it.
//
// The tile: AVX2 has 16 registers: 6 x 2 vectors of sums + 2 of B + a broadcast; AVX-512 has 32: 14 x 2; NEON has 32: 6 x 4; each has
// at least latency (4) x throughput (2) independent sums. KC: a panel of B (KC x NR) and a strip of A (KC x MR) stay in a 32 KiB L1.
// MC: a block of A (MC x KC) takes at most a third of a 512 KiB L2.
#if defined(BK_ISA_AVX512) || BK_GENERIC_WIDTH == 16  // 16 generic lanes: the same layout where there is no AVX-512
constexpr int MR = 14, NV = 2;
#elif defined(BK_ISA_AVX2)
constexpr int MR = 6, NV = 2;
#elif defined(__aarch64__)
constexpr int MR = 6, NV = 4;
#else
constexpr int MR = 4, NV = 2;
#endif
constexpr int NR = NV * W;
constexpr int64_t KC = 256, MC = (96 / MR) * MR;

/** Element (i, j) is data[i * row + j * column]; one of the strides is usually 1. */
struct Matrix {
  const float* data;
  int64_t row, column;
};

typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

/**
 * out[k * COUNT + i] = lines[i][k]: 4 x 4 transposes. Where COUNT is no multiple of 4, the last store of each k runs into the next
 * k's place, which is written after it; so the very last k is left to the plain loop.
 */
template <int COUNT>
BK_INLINE void interleave(const float* const (&lines)[COUNT], int64_t kc, float* out) {
  constexpr int groups = (COUNT + 3) / 4;
  int64_t k = 0;
  for (const int64_t end = COUNT % 4 ? kc - 1 : kc; k + 4 <= end; k += 4) {
    f32x4 columns[groups][4];
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++) {
      f32x4 r[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) r[i] = *(const f32x4_unaligned*)(lines[4 * g + i < COUNT ? 4 * g + i : 0] + k);
      const f32x4 a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
      const f32x4 c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
      columns[g][0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
      columns[g][1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
      columns[g][2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
      columns[g][3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
#pragma GCC unroll 8
      for (int g = 0; g < groups; g++) *(f32x4_unaligned*)(out + (k + j) * COUNT + 4 * g) = columns[g][j];
  }
  for (; k < kc; k++)
    for (int i = 0; i < COUNT; i++) out[k * COUNT + i] = lines[i][k];
}

/** COUNT lines of `from`, line i at from + i * stride, of which `n` exist; the others are zeros. out[k * COUNT + i] = line i [k * step]. */
template <int COUNT>
static void pack_lines(const float* from, int64_t stride, int64_t step, int64_t n, int64_t kc, float* out) {
  if (n == COUNT && step == 1) {
    const float* lines[COUNT];
    for (int i = 0; i < COUNT; i++) lines[i] = from + i * stride;
    interleave<COUNT>(lines, kc, out);
  } else if (n == COUNT && stride == 1) {
    for (int64_t k = 0; k < kc; k++) __builtin_memcpy(out + k * COUNT, from + k * step, COUNT * 4);
  } else {
    for (int64_t k = 0; k < kc; k++)
      for (int i = 0; i < COUNT; i++) out[k * COUNT + i] = i < n ? from[i * stride + k * step] : 0;
  }
}

/** All strips of an m x kc block, out[k * MR + i] = a(i, k); the result has round_up(m, MR) * kc elements. */
static void pack_a(Matrix a, int64_t m, int64_t kc, float* out) {
  for (int64_t i = 0; i < m; i += MR) pack_lines<MR>(a.data + i * a.row, a.row, a.column, smaller(MR, m - i), kc, out + i * kc);
}

/** All panels of a kc x n block, out[k * NR + j] = b(k, j); the result has kc * round_up(n, NR) elements. */
static void pack_b(Matrix b, int64_t kc, int64_t n, float* out) {
  for (int64_t j = 0; j < n; j += NR) pack_lines<NR>(b.data + j * b.column, b.column, b.row, smaller(NR, n - j), kc, out + j * kc);
}

/** to[MR x NR] = (from ? from : 0) + a b over one strip and one panel; leading dimensions follow their pointers. */
BK_INLINE void micro_kernel(int64_t kc, const float* a, const float* b, const float* from, int64_t ldfrom, float* to, int64_t ldto) {
  f32 sum[MR][NV] = {};
#pragma GCC unroll 16
  for (int i = 0; i < MR; i++) __builtin_prefetch(to + i * ldto, 1);
  for (int64_t k = 0; k < kc; k++, a += MR, b += NR) {
    const Multipliers<MR> av(a);
    f32 bv[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) bv[v] = load(b + v * W);
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) sum[i][v] = fma(av[i], bv[v], sum[i][v]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) store(to + i * ldto + v * W, from ? load(from + i * ldfrom + v * W) + sum[i][v] : sum[i][v]);
}

struct NoEpilogue {
  void operator()(int64_t, int64_t, int64_t, int64_t) const {}
};

/** What a product starts from: rows of data `stride` apart; null: zeros. A bias is one row for all: stride 0. */
struct Start {
  const float* data;
  int64_t stride;
};

/**
 * Where a block of C is between two blocks of K: tiles one after another in `tiles`, because rows of C, whose distance is often a
 * multiple of 4 KiB, would compete for the same places of the L1. `first` and `last` say which block of K this is.
 */
struct Partial {
  float* tiles;
  bool first, last;
};

BK_INLINE void copy_tile(const float* from, int64_t ldfrom, float* to, int64_t ldto, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t k = 0; k < columns; k++) to[r * ldto + k] = from[r * ldfrom + k];
}

/**
 * C (m x n, leading dimension ldc) = start + A B from a packed block of A and packed panels of B, on the calling thread; or, of a
 * `partial` product, the sum up to this block of K. epilogue(i, rows, j, columns) is called for each finished tile, still in the L1.
 */
template <class Epilogue>
static inline void multiply_block(int64_t m, int64_t n, int64_t kc, const float* a, const float* b, Start start, float* c, int64_t ldc, Partial partial,
                                  const Epilogue& epilogue) {
  int64_t tiles = 0;
  for (int64_t j = 0; j < n; j += NR) {
    const int64_t columns = smaller(NR, n - j);
    for (int64_t i = 0; i < m; i += MR, tiles++) {
      const int64_t rows = smaller(MR, m - i);
      float* tile = partial.first && partial.last ? nullptr : partial.tiles + tiles * (MR * NR);
      const bool whole = rows == MR && columns == NR;
      float edge[MR * NR];
      Start from = {tile, NR};
      if (partial.first && start.data) {
        from = {start.data + i * start.stride + j, start.stride};
        if (!whole) {
          copy_tile(from.data, from.stride, edge, NR, rows, columns);
          from = {edge, NR};
        }
      } else if (partial.first) {
        from = {nullptr, 0};
      }
      float* place = c + i * ldc + j;
      float* to = !partial.last ? tile : whole ? place : edge;
      micro_kernel(kc, a + i * kc, b + j * kc, from.data, from.stride, to, to == place ? ldc : NR);
      if (!partial.last) continue;
      if (!whole) copy_tile(edge, NR, place, ldc, rows, columns);
      epilogue(i, rows, j, columns);
    }
  }
}

/** The whole of a product: C = (add ? C : 0) + A B. */
template <class Epilogue>
static inline void multiply_packed(int64_t m, int64_t n, int64_t kc, const float* a, const float* b, float* c, int64_t ldc, bool add,
                                   const Epilogue& epilogue) {
  multiply_block(m, n, kc, a, b, {add ? c : nullptr, ldc}, c, ldc, {nullptr, true, true}, epilogue);
}

/** Columns of C that a task takes: enough tasks for a fair share each, and a block of C (MC x columns) that stays in the L2. */
static int64_t task_columns(int64_t m, int64_t n) {
  const int64_t wanted = larger(1, 48 / ceil_div(m, MC));
  return smaller(round_up(256, NR), larger(2 * NR, round_up(ceil_div(n, wanted), NR)));
}

/** Shared: packed A and B, and the sums of A's rows over each block of K. Per thread: the tiles of a task, and a panel of B. */
constexpr int64_t kTaskTiles = (MC + MR - 1) / MR * MR * ((256 + NR - 1) / NR * NR);
static Scratch gemm_scratch(int64_t m, int64_t n, int64_t k) {
  const int64_t height = round_up(m, MR), width = round_up(n, NR);
  return {(size_t)(k * (height + width) + ceil_div(k, KC) * height) * 4, (size_t)(kTaskTiles + KC * NR) * 4};
}

/** Of kc packed k's, those that whole loads can take four at a time: a load may reach beyond row MR, into the next k. */
BK_INLINE int64_t strip_fours(int64_t kc) {
  const int64_t k = kc - ceil_div(W, MR);
  return k > 0 ? k / 4 * 4 : 0;
}

/** out[i] = the sum over k of a packed strip's row i, as four sums of every fourth k, then the last k's one by one. */
static void sum_strip(const float* strip, int64_t kc, float* out) {
  constexpr int vectors = (MR + W - 1) / W;
  f32 sum[4][vectors] = {};
  const int64_t fours = strip_fours(kc);
  for (int64_t k = 0; k < fours; k += 4)
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[c][v] = sum[c][v] + load(strip + (k + c) * MR + v * W);
  float lanes[vectors * W];
  for (int v = 0; v < vectors; v++) store(lanes + v * W, (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]));
  for (int64_t k = fours; k < kc; k++)
    for (int i = 0; i < MR; i++) lanes[i] += strip[k * MR + i];
  for (int i = 0; i < MR; i++) out[i] = lanes[i];
}

/** Sums of the rows of A, from A while it is packed: sums[i] = (add ? sums[i] : 0) + the sum over k of a(i, k). */
struct RowSums {
  float* sums;  // null: not wanted
  bool add;
};

/**
 * C (M x N) = start + A B on all threads; epilogue as in multiply_block, with indices of the whole C. First all of A and B
 * is packed, KC rows after KC rows; then a task takes a block of C through the whole of K, so threads wait for each other only twice.
 * When C is one block high, as for the few rows of a decoder, a panel of B has one user, which packs it itself: B is read once and
 * never written. The sums are the same.
 */
template <class Epilogue>
static void gemm(Run& run, int64_t M, int64_t N, int64_t K, Matrix a, Matrix b, Start start, float* c, int64_t ldc, const Epilogue& epilogue,
                 RowSums row_sums = {nullptr, false}) {
  if (M == 0) return;  // such as a micro-batch without a labelled row
  const int64_t height = round_up(M, MR), width = round_up(N, NR), depth = ceil_div(K, KC);
  float *strips = (float*)run.shared, *panels = strips + K * height, *parts = panels + K * width;
  const bool low = M <= MC;
  const int64_t lines = 8 * MR * NR, slices_a = ceil_div(M, lines), slices = slices_a + (low ? 0 : ceil_div(N, lines));
  parallel(run, depth * slices, [&](int index, int) {
    const int64_t k = (index / slices) * KC, slice = index % slices, kc = smaller(KC, K - k);
    if (slice < slices_a) {
      const int64_t i = slice * lines, m = smaller(lines, M - i);
      float* out = strips + k * height + i * kc;
      pack_a({a.data + i * a.row + k * a.column, a.row, a.column}, m, kc, out);
      if (row_sums.sums)
        for (int64_t s = 0; s < m; s += MR) sum_strip(out + s * kc, kc, parts + k / KC * height + i + s);
    } else {
      const int64_t j = (slice - slices_a) * lines;
      pack_b({b.data + k * b.row + j * b.column, b.row, b.column}, kc, smaller(lines, N - j), panels + k * width + j * kc);
    }
  });
  if (row_sums.sums)
    for (int64_t i = 0; i < M; i++) {
      float total = row_sums.add ? row_sums.sums[i] : 0;
      for (int64_t block = 0; block < depth; block++) total += parts[block * height + i];
      row_sums.sums[i] = total;
    }
  const int64_t columns = task_columns(M, N), across = ceil_div(N, columns), down = ceil_div(M, MC);
  parallel(run, down * across, [&](int index, int thread) {
    const int64_t i = (index / across) * MC, j = (index % across) * columns;
    const int64_t m = smaller(MC, M - i), n = smaller(columns, N - j);
    float *tiles = (float*)run.local[thread], *panel = tiles + kTaskTiles;
    const auto block = [&](int64_t j, int64_t n, int64_t k, const float* packed) {
      const int64_t kc = smaller(KC, K - k);
      const Start from = {start.data ? start.data + i * start.stride + j : nullptr, start.stride};
      multiply_block(m, n, kc, strips + k * height + i * kc, packed, from, c + i * ldc + j, ldc, {tiles, k == 0, k + kc == K},
                     [&](int64_t ti, int64_t r, int64_t tj, int64_t cs) { epilogue(i + ti, r, j + tj, cs); });
    };
    if (!low)
      for (int64_t k = 0; k < K; k += KC) block(j, n, k, panels + k * width + j * smaller(KC, K - k));
    else
      for (int64_t p = j; p < j + n; p += NR)
        for (int64_t k = 0; k < K; k += KC) {
          const int64_t columns = smaller(NR, j + n - p);
          pack_b({b.data + k * b.row + p * b.column, b.row, b.column}, smaller(KC, K - k), columns, panel);
          block(p, columns, k, panel);
        }
  });
}
