// C = A B, packed and blocked (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
//
// A (M x K) is packed into strips of at most MR (or TALL) rows, B (K x N) into panels of NR columns, zero-padded, both K-major, so one micro-kernel
// serves every shape and transposition and an element's sum always runs over k in the same order: first within blocks of KC, then the
// blocks in turn. Nothing about a row depends on the rows beside it. The driver here is one for every format F of packed elements:
// Float32 (gemm_float32.inl), Pairs (gemm_bfloat16.inl), Tiles (gemm_amx.inl).

#if defined(BK_TILES)
typedef Tiles Bfloat16;
constexpr const char* bfloat16_products = "tiles";
#elif defined(BK_PAIRS)
typedef Pairs Bfloat16;
constexpr const char* bfloat16_products = "dot products of pairs";
#else
typedef Float32 Bfloat16;
constexpr const char* bfloat16_products = "multiply-adds of float32";
#endif

/** Calls body with the format that products of these elements have. */
template <class Body>
static inline auto with_format(ElementType type, Body&& body) {
  return type == kBfloat16 ? body(Bfloat16()) : body(Float32());
}
/** How a float32 matrix is read in a product of this type: weights, and gradients of float32 logits. */
BK_INLINE Elements float32_elements(ElementType type) { return type == kBfloat16 ? kRounded : kReal; }
/** A matrix of a type in a product of another one. */
BK_INLINE Elements elements_of(ElementType type, ElementType product) { return type == kBfloat16 ? kHalf : float32_elements(product); }

template <class F>
BK_INLINE int64_t padded(int64_t k) {
  return round_up(k, F::KU);
}

/**
 * Rows of the strip that begins at row i of m: MR or TALL, and what is left in the last one; but few rows would take the time of many, so
 * the last two strips share theirs evenly where the format says so. Blocks of MC rows begin with a strip.
 */
template <class F>
BK_INLINE int64_t strip_rows(int64_t i, int64_t m) {
  static_assert(F::MC % F::MR == 0 && F::MC % F::TALL == 0, "a strip would lie in two blocks");
  const int64_t left = m - i, most = F::tall() ? F::TALL : F::MR;
  const bool last_two = left > most && left < 2 * most && (i + most) % F::MC != 0;
  return last_two && F::shares(left - most) ? ceil_div(left, 2) : smaller(most, left);
}

/** All strips of an m x kc block; the result has at most round_up(m, MR) * padded(kc) elements, that of row i begins at i * padded(kc). */
template <class F>
static void pack_a(const Matrix& a, int64_t m, int64_t kc, typename F::Packed* out) {
  with_elements(a, [&](auto source, const auto* data) {
    typedef decltype(source) Source;
    for (int64_t i = 0, rows; i < m; i += rows) {
      rows = strip_rows<F>(i, m);
      F::template pack_strip<Source>(data + i * a.row, a.row, a.column, rows, kc, out + i * padded<F>(kc));
    }
  });
}

/** All panels of a kc x n block, NR columns each; the result has padded(kc) * round_up(n, NR) elements. */
template <class F>
static void pack_b(const Matrix& b, int64_t kc, int64_t n, typename F::Packed* out) {
  with_elements(b, [&](auto source, const auto* data) {
    typedef decltype(source) Source;
    for (int64_t j = 0; j < n; j += F::NR)
      F::template pack_panel<Source>(data + j * b.column, b.column, b.row, smaller(F::NR, n - j), kc, out + j * padded<F>(kc));
  });
}

/** Where a product goes, or what it starts from: rows `stride` apart, 0 for one row (a bias); null: zeros. */
struct Rows {
  void* data;
  int64_t stride;
  ElementType type;

  void* at(int64_t i, int64_t j) const { return (char*)data + (i * stride + j) * (type == kBfloat16 ? 2 : 4); }
};

/** Calls body with a type's elements as a C++ type. */
template <class Body>
static inline auto with_type(ElementType type, Body&& body) {
  return type == kBfloat16 ? body(bf16()) : body(float());
}

BK_INLINE void load_tile(const Rows& from, int64_t i, int64_t j, int64_t rows, int64_t columns, float* tile, int64_t ldtile) {
  with_type(from.type, [&](auto element) {
    const auto* p = (const decltype(element)*)from.at(i, j);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t k = 0; k < columns; k += W) {
        const int n = (int)smaller(W, columns - k);
        store_columns(tile + r * ldtile + k, load_columns(p + r * from.stride + k, n), n);
      }
  });
}

/** Writes a finished tile as it is: columns j .. j + columns of rows i .. i + rows. The plainest epilogue of a product. */
struct Store {
  Rows to;

  /** Where a whole tile may be written without an epilogue. */
  float* place(int64_t i, int64_t j) const { return to.type == kFloat32 ? (float*)to.at(i, j) : nullptr; }
  void operator()(const float* tile, int64_t ldtile, int64_t i, int64_t rows, int64_t j, int64_t columns) const {
    with_type(to.type, [&](auto element) {
      auto* p = (decltype(element)*)to.at(i, j);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < columns; k += W) {
          const int n = (int)smaller(W, columns - k);
          store_columns(p + r * to.stride + k, load_columns(tile + r * ldtile + k, n), n);
        }
    });
  }
};

/**
 * Where a block of C is between two blocks of K: in `tiles`, a tile in each of its slots, because rows of C, whose distance is often a
 * multiple of 4 KiB, would compete for the same places of the L1. `first` and `last` say which block of K this is.
 */
struct Partial {
  float* tiles;
  bool first, last;
};

/** multiply_block's strips of rows first .. last of m, P panels at a time, of columns begin .. n. `any`: of any height, else mostly MR. */
template <class F, int P, bool any, class StripAt, class Epilogue>
static inline __attribute__((always_inline)) void multiply_strips(int64_t first, int64_t last, int64_t begin, int64_t i0, int64_t j0, int64_t m, int64_t n,
                                                                  int64_t kc, const StripAt& strip, const typename F::Packed* b, const Rows& start,
                                                                  Partial partial, const Epilogue& epilogue) {
  constexpr int NR = F::NR, TALL = F::TALL;
  constexpr int64_t width = P * NR;
  constexpr bool filled = !any && F::PAIRED > 0;  // strips of MR rows, the last one filled up with zeros
  static_assert(P * F::PAIRED <= F::TALL, "a tile of a pair would be larger than its slot");
  for (int64_t j = begin; j < n; j += width) {
    const int64_t columns = smaller(width, n - j);
    for (int64_t i = first, rows; i < last; i += rows) {
      rows = filled ? smaller(F::MR, m - i) : strip_rows<F>(i, m);
      float* tile = partial.first && partial.last ? nullptr : partial.tiles + (j * ceil_div(m, F::MR) + ceil_div(i, F::MR) * NR) * TALL;
      const bool whole = columns == width && rows == (filled ? F::MR : F::packed_rows(rows));
      alignas(64) float edge[TALL * NR];
      const float* from = tile;
      int64_t ldfrom = width;
      if (partial.first) {
        from = nullptr;
        if (start.data && whole && start.type == kFloat32) {
          from = (const float*)start.at(i0 + i, j0 + j);
          ldfrom = start.stride;
        } else if (start.data) {
          load_tile(start, i0 + i, j0 + j, rows, columns, edge, width);
          from = edge;
        }
      }
      float* place = whole ? epilogue.place(i0 + i, j0 + j) : nullptr;
      float* to = !partial.last ? tile : place ? place : edge;
      F::template micro_kernel<P, any>(rows, kc, strip(i), b + j * padded<F>(kc), from, ldfrom, to, to == place ? epilogue.to.stride : width);
      if (partial.last && !place) epilogue(edge, width, i0 + i, rows, j0 + j, columns);
    }
  }
}

/**
 * The same for strips of any height, pairs of panels first where they are PAIRED. Not inlined: in a larger function WebAssembly's
 * compilers make the kernel of whole strips slower.
 */
template <class F, class StripAt, class Epilogue>
static __attribute__((noinline)) void multiply_any_strips(int64_t first, int64_t i0, int64_t j0, int64_t m, int64_t n, int64_t kc, const StripAt& strip,
                                                          const typename F::Packed* b, const Rows& start, Partial partial, const Epilogue& epilogue) {
  int64_t done = 0;
  if (m - first <= F::PAIRED) {
    done = round_up(n, F::NR) / (2 * F::NR) * (2 * F::NR);
    multiply_strips<F, 2, true>(first, m, 0, i0, j0, m, smaller(done, n), kc, strip, b, start, partial, epilogue);
  }
  multiply_strips<F, 1, true>(first, m, done, i0, j0, m, n, kc, strip, b, start, partial, epilogue);
}

/**
 * start + A B, m x n, from strips of A (`strip(i)`: that of row i) and packed panels of B, on the calling thread; or, of a `partial`
 * product, the sum up to this block of K. epilogue(tile, stride, i, rows, j, columns) takes each finished tile while it is in the L1; i
 * and j count from (i0, j0), also where `start` is read.
 */
template <class F, class StripAt, class Epilogue>
static inline void multiply_block(int64_t i0, int64_t j0, int64_t m, int64_t n, int64_t kc, const StripAt& strip, const typename F::Packed* b,
                                  const Rows& start, Partial partial, const Epilogue& epilogue) {
  if constexpr (F::PAIRED == 0) {
    multiply_strips<F, 1, false>(0, m, 0, i0, j0, m, n, kc, strip, b, start, partial, epilogue);
  } else {
    const int64_t over = m % F::MR, whole = F::tall() ? 0 : over <= F::PAIRED ? m - over : m;
    if (whole > 0) multiply_strips<F, 1, false>(0, whole, 0, i0, j0, m, n, kc, strip, b, start, partial, epilogue);
    if (whole < m) multiply_any_strips<F>(whole, i0, j0, m, n, kc, strip, b, start, partial, epilogue);
  }
}

/** The whole of a product: C = (add ? C : 0) + A B. */
template <class F>
static inline void multiply_packed(int64_t m, int64_t n, int64_t kc, const typename F::Packed* a, const typename F::Packed* b, const Rows& c, bool add) {
  const auto strip = [&](int64_t i) { return F::strip(a + i * padded<F>(kc)); };
  multiply_block<F>(0, 0, m, n, kc, strip, b, {add ? c.data : nullptr, c.stride, c.type}, {nullptr, true, true}, Store{c});
}

/** Columns of C that a task takes: enough tasks for a fair share each, whole pairs of panels, and a block of C (MC x columns) that stays in the L2. */
template <class F>
static int64_t task_columns(int64_t m, int64_t n) {
  const int64_t wanted = larger(1, 48 / ceil_div(m, F::MC));
  return smaller(round_up(256, F::NR), larger(2 * F::NR, round_up(ceil_div(n, wanted), F::PAIRED ? 2 * F::NR : F::NR)));
}

template <class F>
constexpr int64_t kTaskTiles = round_up(256, F::NR) * (F::MC / F::MR) * F::TALL;

/** Shared: packed A, and B unless it is `packed` before, and the sums of A's rows over each block of K. Per thread: the tiles of a task, and a panel of B. */
static Scratch gemm_scratch(ElementType type, int64_t m, int64_t n, int64_t k, bool packed = false) {
  return with_format(type, [&](auto format) -> Scratch {
    typedef decltype(format) F;
    constexpr int64_t size = sizeof(typename F::Packed);
    const int64_t height = round_up(m, F::MR), width = packed ? 0 : round_up(n, F::NR);
    return {padded<F>(k) * (height + width) * size + ceil_div(k, F::KC) * height * 4, kTaskTiles<F> * 4 + F::KC * F::NR * size};
  });
}

/** Whether strips of A may be its rows as they are. */
template <class F>
BK_INLINE bool reads_rows(const Matrix& a, int64_t K) {
  return sizeof(typename F::Packed) == 2 && F::KU == 32 && a.elements == kHalf && a.column == 1 && K % F::KU == 0;
}

/** Sums of the rows of A, from A while it is packed as Float32: sums[i] = (add ? sums[i] : 0) + the sum over k of a(i, k). */
struct RowSums {
  float* sums;  // null: not wanted
  bool add;
};

/**
 * C (M x N) = start + A B on all threads; epilogue as in multiply_block, with indices of the whole C. First all of A and B
 * is packed, KC rows after KC rows; then a task takes a block of C through the whole of K, so threads wait for each other only twice.
 * When C is one block high, as for the few rows of a decoder, a panel of B has one user, which packs it itself: B is read once and
 * never written, and strips of few rows have no pairs of panels. `packed`: all of B packed before (packed_weight.inl), or null. The sums are the same. Tiles
 * read whole strips of bfloat16 rows where they are, and only the last, shorter one is packed.
 */
template <class F, class Epilogue>
static void gemm(Run& run, int64_t M, int64_t N, int64_t K, const Matrix& a, const Matrix& b, const Rows& start, const Epilogue& epilogue,
                 const void* packed = nullptr, RowSums row_sums = {nullptr, false}) {
  if (M == 0) return;  // such as a micro-batch without a labelled row
  typedef typename F::Packed Packed;
  constexpr int64_t KC = F::KC, MC = F::MC, MR = F::MR, NR = F::NR;
  const int64_t height = round_up(M, MR), width = round_up(N, NR), depth = ceil_div(K, KC);
  Packed *strips = (Packed*)run.shared, *panels = strips + padded<F>(K) * height;
  float* parts = (float*)(panels + (packed ? 0 : padded<F>(K) * width));
  const bool low = M <= MC && !packed, packs = !low && !packed;
  if (packed) panels = (Packed*)packed;
  const bool rows_are_strips = reads_rows<F>(a, K);
  const int64_t strips_from = rows_are_strips ? M / MR * MR : 0;  // the first row that is packed
  constexpr int64_t lines = 8 * MR * NR, lines_a = round_up(lines, MC);
  const int64_t slices_a = ceil_div(M - strips_from, lines_a), slices = slices_a + (packs ? ceil_div(N, lines) : 0);
  parallel(run, depth * slices, [&](int index, int) {
    const int64_t k = (index / slices) * KC, slice = index % slices, kc = smaller(KC, K - k);
    if (slice < slices_a) {
      const int64_t i = strips_from + slice * lines_a, m = smaller(lines_a, M - i);
      Packed* out = strips + k * height + i * padded<F>(kc);
      pack_a<F>(a.from(i, k), m, kc, out);
      if constexpr (sizeof(Packed) == 4)
        if (row_sums.sums)
          for (int64_t s = 0, rows; s < m; s += rows) F::sum_strip(rows = strip_rows<F>(s, m), out + s * kc, kc, parts + k / KC * height + i + s);
    } else {
      const int64_t j = (slice - slices_a) * lines;
      pack_b<F>(b.from(k, j), kc, smaller(lines, N - j), panels + k * width + j * padded<F>(kc));
    }
  });
  if (row_sums.sums)
    for (int64_t i = 0; i < M; i++) {
      float total = row_sums.add ? row_sums.sums[i] : 0;
      for (int64_t block = 0; block < depth; block++) total += parts[block * height + i];
      row_sums.sums[i] = total;
    }
  const int64_t columns = task_columns<F>(M, N), across = ceil_div(N, columns), down = ceil_div(M, MC);
  parallel(run, down * across, [&](int index, int thread) {
    const TileState state(sizeof(Packed) == 2);
    const int64_t i = (index / across) * MC, j = (index % across) * columns;
    const int64_t m = smaller(MC, M - i), n = smaller(columns, N - j);
    float* tiles = (float*)run.local[thread];
    Packed* panel = (Packed*)(tiles + kTaskTiles<F>);
    const auto block = [&](int64_t j, int64_t n, int64_t k, const Packed* b) {
      const int64_t kc = smaller(KC, K - k);
      const auto strip = [&](int64_t row) -> typename F::Strip {
        if constexpr (sizeof(Packed) == 2 && F::KU == 32)
          if (rows_are_strips && i + row < strips_from) return F::rows((const bf16*)a.from(i + row, k).data, a.row);
        return F::strip(strips + k * height + (i + row) * padded<F>(kc));
      };
      multiply_block<F>(i, j, m, n, kc, strip, b, start, {tiles, k == 0, k + kc == K}, epilogue);
    };
    if (!low)
      for (int64_t k = 0; k < K; k += KC) block(j, n, k, panels + k * width + j * padded<F>(smaller(KC, K - k)));
    else
      for (int64_t p = j; p < j + n; p += NR)
        for (int64_t k = 0; k < K; k += KC) {
          const int64_t columns = smaller(NR, j + n - p);
          pack_b<F>(b.from(k, p), smaller(KC, K - k), columns, panel);
          block(p, columns, k, panel);
        }
  });
}
