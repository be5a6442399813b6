// What a product reads: float32 or bfloat16, row by row or column by column; and the transposes that packing is made of.

/** How the elements of a matrix are stored and read. */
enum Elements {
  kReal,     // float32
  kHalf,     // bfloat16
  kRounded,  // float32, read as bfloat16: a weight or an intermediate result of a bfloat16 product
};

/** Element (i, j) is data[i * row + j * column]; one of the strides is usually 1. */
struct Matrix {
  const void* data;
  int64_t row, column;
  Elements elements;

  /** The matrix from element (i, j) on. */
  Matrix from(int64_t i, int64_t j) const { return {(const char*)data + (i * row + j * column) * (elements == kHalf ? 2 : 4), row, column, elements}; }
};

/** Two float32 as bfloat16, the halves of a word. */
BK_INLINE uint32_t pair(float low, float high) {
  bf16 halves[2];
  put(halves, low);
  put(halves + 1, high);
  return (uint32_t)halves[0].bits | (uint32_t)halves[1].bits << 16;
}

/** How each kind of element is read: as float32, one or four; or as bfloat16, the bits of four, or of W in the low halves of lanes. */
struct Real {
  typedef float T;
  static float one(const T* p) { return *p; }
  static f32x4 four(const T* p) { return *(const f32x4_unaligned*)p; }
  static u16x4 four_halves(const T* p) { return narrow(four(p)); }
  static u32 halves(const T* p) { return __builtin_convertvector(rounded_halves(load(p)), u32); }
};
struct Half {
  typedef bf16 T;
  static float one(const T* p) { return to_float(*p); }
  static f32x4 four(const T* p) { return (f32x4)(__builtin_convertvector(*(const u16x4_unaligned*)p, u32x4) << 16); }
  static u16x4 four_halves(const T* p) { return *(const u16x4_unaligned*)p; }
  static u32 halves(const T* p) { return __builtin_convertvector(*(const u16_unaligned*)p, u32); }
};
struct Rounded {
  typedef float T;
  static float one(const T* p) {
    bf16 half;
    put(&half, *p);
    return to_float(half);
  }
  static f32x4 four(const T* p) { return (f32x4)(bf16_bits<u32x4>(*(const f32x4_unaligned*)p) << 16); }
  static u16x4 four_halves(const T* p) { return Real::four_halves(p); }
  static u32 halves(const T* p) { return Real::halves(p); }
};

/** Pairs of bfloat16 moved as words, at any even address. */
struct Words {
  typedef float T __attribute__((aligned(2), may_alias));
  typedef float four_words __attribute__((vector_size(16), aligned(2), may_alias));
  static float one(const T* p) { return *p; }
  static f32x4 four(const T* p) { return *(const four_words*)p; }
};

/** Where the four of COUNT elements begin that hold element i: the last four overlap those before them. */
template <int COUNT>
constexpr int four_at(int i) {
  static_assert(COUNT >= 4, "there are no four");
  return i + 4 <= COUNT ? i : COUNT - 4;
}
/** COUNT elements side by side. */
template <class Source, int COUNT>
BK_INLINE void copy_line(const typename Source::T* from, float* out) {
#pragma GCC unroll 8
  for (int i = 0; i < COUNT; i += 4) *(f32x4_unaligned*)(out + four_at<COUNT>(i)) = Source::four(from + four_at<COUNT>(i));
}

/** Calls body(source, data) with what the matrix's elements are as a type. */
template <class Body>
static inline void with_elements(const Matrix& m, Body&& body) {
  if (m.elements == kHalf)
    body(Half(), (const bf16*)m.data);
  else if (m.elements == kReal)
    body(Real(), (const float*)m.data);
  else
    body(Rounded(), (const float*)m.data);
}

/**
 * out[k * width + i] = lines[i][k]: 4 x 4 transposes. Where COUNT is no multiple of 4, width must be COUNT: the last store of each k
 * runs into the next k's place, which is written after it; so the very last k is left to the plain loop.
 */
template <class Source, int COUNT>
BK_INLINE void interleave(const typename Source::T* const (&lines)[COUNT], int64_t kc, int64_t width, float* out) {
  constexpr int groups = (COUNT + 3) / 4;
  int64_t k = 0;
  for (const int64_t end = COUNT % 4 ? kc - 1 : kc; k + 4 <= end; k += 4) {
    f32x4 columns[groups][4];
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++) {
      f32x4 r[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) r[i] = Source::four(lines[4 * g + i < COUNT ? 4 * g + i : 0] + k);
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
      for (int g = 0; g < groups; g++) *(f32x4_unaligned*)(out + (k + j) * width + 4 * g) = columns[g][j];
  }
  for (float* to = out + k * width; k < kc; k++, to += width)
    for (int i = 0; i < COUNT; i++) to[i] = Source::one(lines[i] + k);
}
