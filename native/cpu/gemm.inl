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

/** c[MR x NR] = (add ? c : 0) + a b over one strip and one panel. */
BK_INLINE void micro_kernel(int64_t kc, const float* a, const float* b, float* c, int64_t ldc, bool add) {
  f32 sum[MR][NV] = {};
#pragma GCC unroll 16
  for (int i = 0; i < MR; i++) __builtin_prefetch(c + i * ldc, 1);
  for (int64_t k = 0; k < kc; k++, a += MR, b += NR) {
    f32 bv[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) bv[v] = load(b + v * W);
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
      const f32 av = set1(a[i]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) sum[i][v] = fma(av, bv[v], sum[i][v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) {
      float* p = c + i * ldc + v * W;
      store(p, add ? load(p) + sum[i][v] : sum[i][v]);
    }
}

struct NoEpilogue {
  void operator()(int64_t, int64_t, int64_t, int64_t) const {}
};

/**
 * C (m x n, leading dimension ldc) from a packed block of A and packed panels of B, on the calling thread.
 * epilogue(i, rows, j, columns) is called for each finished tile, which is still in the L1.
 */
template <class Epilogue>
static inline void multiply_packed(int64_t m, int64_t n, int64_t kc, const float* a, const float* b, float* c, int64_t ldc, bool add,
                                   const Epilogue& epilogue) {
  for (int64_t j = 0; j < n; j += NR) {
    const int64_t columns = smaller(NR, n - j);
    for (int64_t i = 0; i < m; i += MR) {
      const int64_t rows = smaller(MR, m - i);
      float* tile = c + i * ldc + j;
      if (rows == MR && columns == NR) {
        micro_kernel(kc, a + i * kc, b + j * kc, tile, ldc, add);
      } else {
        float edge[MR * NR];
        micro_kernel(kc, a + i * kc, b + j * kc, edge, NR, false);
        for (int64_t r = 0; r < rows; r++)
          for (int64_t k = 0; k < columns; k++) tile[r * ldc + k] = add ? tile[r * ldc + k] + edge[r * NR + k] : edge[r * NR + k];
      }
      epilogue(i, rows, j, columns);
    }
  }
}

/** Columns of C that a task takes: enough tasks for a fair share each, and a block of C (MC x columns) that stays in the L2. */
static int64_t task_columns(int64_t m, int64_t n) {
  const int64_t wanted = larger(1, 48 / ceil_div(m, MC));
  return smaller(round_up(256, NR), larger(2 * NR, round_up(ceil_div(n, wanted), NR)));
}

static Scratch gemm_scratch(int64_t m, int64_t n, int64_t k) { return {(size_t)(k * (round_up(m, MR) + round_up(n, NR))) * 4, 0}; }

/**
 * C (M x N) = (add ? C : 0) + A B on all threads; epilogue as in multiply_packed, with indices of the whole C. First all of A and B
 * is packed, KC rows after KC rows; then a task takes a block of C through the whole of K, so threads wait for each other only twice.
 */
template <class Epilogue>
static void gemm(Run& run, int64_t M, int64_t N, int64_t K, Matrix a, Matrix b, float* c, int64_t ldc, bool add, const Epilogue& epilogue) {
  if (M == 0) return;  // such as a micro-batch without a labelled row
  const int64_t height = round_up(M, MR), width = round_up(N, NR), depth = ceil_div(K, KC);
  float *strips = (float*)run.shared, *panels = strips + K * height;
  const int64_t lines = 8 * MR * NR, slices_a = ceil_div(M, lines), slices = slices_a + ceil_div(N, lines);
  parallel(run, depth * slices, [&](int index, int) {
    const int64_t k = (index / slices) * KC, slice = index % slices, kc = smaller(KC, K - k);
    if (slice < slices_a) {
      const int64_t i = slice * lines;
      pack_a({a.data + i * a.row + k * a.column, a.row, a.column}, smaller(lines, M - i), kc, strips + k * height + i * kc);
    } else {
      const int64_t j = (slice - slices_a) * lines;
      pack_b({b.data + k * b.row + j * b.column, b.row, b.column}, kc, smaller(lines, N - j), panels + k * width + j * kc);
    }
  });
  const int64_t columns = task_columns(M, N), across = ceil_div(N, columns), down = ceil_div(M, MC);
  parallel(run, down * across, [&](int index, int) {
    const int64_t i = (index / across) * MC, j = (index % across) * columns;
    const int64_t m = smaller(MC, M - i), n = smaller(columns, N - j);
    float* tile = c + i * ldc + j;
    for (int64_t k = 0; k < K; k += KC) {
      const int64_t kc = smaller(KC, K - k);
      const float *block = strips + k * height + i * kc, *panel = panels + k * width + j * kc;
      if (k + kc == K)
        multiply_packed(m, n, kc, block, panel, tile, ldc, add || k > 0,
                        [&](int64_t ti, int64_t r, int64_t tj, int64_t cs) { epilogue(i + ti, r, j + tj, cs); });
      else
        multiply_packed(m, n, kc, block, panel, tile, ldc, add || k > 0, NoEpilogue());
    }
  });
}
