// Most rows of a word table are in no batch: their gradients and moments are zeros. What only looks at them reads, on Linux, the one page
// that stands for all memory that nobody has written, from a cache, and they take no memory of their own. Elsewhere it saves the writes.

constexpr int64_t kZerosBlock = 1024;  // floats: 4 KiB, a page

/** Whether all bits of n floats are 0. */
static bool all_zero(const float* p, int64_t n) {
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
    if (any_bit(bits_of(load(p + i)) | bits_of(load(p + i + W)) | bits_of(load(p + i + 2 * W)) | bits_of(load(p + i + 3 * W)))) return false;
  for (; i < n; i += W)
    if (any_bit(bits_of(load_columns(p + i, (int)smaller(W, n - i))))) return false;
  return true;
}

/** Makes n floats zero; writes only where something else is. */
static void clear(float* p, int64_t n) {
  for (int64_t i = 0; i < n; i += kZerosBlock) {
    const int64_t m = smaller(kZerosBlock, n - i);
    if (!all_zero(p + i, m)) memset(p + i, 0, (size_t)m * 4);
  }
}
