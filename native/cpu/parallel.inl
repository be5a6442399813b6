// Cutting work into tasks. Borders depend on shapes only, never on the number of threads, so that bits do not either.

BK_INLINE constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
BK_INLINE constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
BK_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
BK_INLINE constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/** Calls body(index, thread) for each index below `tasks`. */
template <class Body>
static inline void parallel(Run& run, int64_t tasks, Body&& body) {
  typedef typename Unqualified<Body>::type B;
  run.parallel(
      &run, (int)tasks, [](void* argument, int index, int thread) { (*(B*)argument)(index, thread); }, (void*)&body);
}

/** Calls body(begin, end, thread) for consecutive ranges of at most `grain` of n items. */
template <class Body>
static inline void parallel_ranges(Run& run, int64_t n, int64_t grain, Body&& body) {
  parallel(run, ceil_div(n, grain), [&](int index, int thread) {
    const int64_t begin = index * grain;
    body(begin, smaller(begin + grain, n), thread);
  });
}

/** Rows a task takes, when a row costs about `width` elements of work. */
BK_INLINE int64_t row_grain(int64_t width) { return larger(1, 16384 / larger(1, width)); }
