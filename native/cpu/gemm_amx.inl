// A product of bfloat16 on Intel's tiles (AMX): a tile is 16 rows of 64 bytes; TDPBF16PS adds to 16 x 16 sums the products of a tile of
// A, 16 rows of 32 k's, and one of B, 16 pairs of k's by 16 columns. Intel, "Architectures Software Developer's Manual", volume 1,
// chapter 18, and volume 2, TDPBF16PS.
//
// Two tiles of A and two of B make four of sums: four loads from the L1 for four products of 16 cycles, and four chains of sums hide
// their latency of 52. KC: a panel of B (KC x 32, 32 KiB) stays in the 48 KiB L1 while strips of A stream from the L2 (MC x KC,
// 128 KiB of 2 MiB); longer blocks of K would read and write the tiles of sums less often, and push B out.
#if defined(BK_TILES)

#if !defined(BK_ISA_AMX)
/** The same in plain C, for tests on CPUs without tiles. */
struct PlainTiles {
  float sums[4][16][16];

  void start(int tile, const float* from, int64_t stride) {
    for (int i = 0; i < 16; i++)
      for (int j = 0; j < 16; j++) sums[tile][i][j] = from ? from[i * stride + j] : 0;
  }
  void multiply(int tile, const bf16* a, int64_t row, const bf16* b, int64_t pair_stride) {
    for (int i = 0; i < 16; i++)
      for (int k = 0; k < 32; k++)
        for (int j = 0; j < 16; j++) sums[tile][i][j] += to_float(a[i * row + k]) * to_float(b[k / 2 * pair_stride + 2 * j + k % 2]);
  }
  void stop(int tile, float* to, int64_t stride) const {
    for (int i = 0; i < 16; i++) memcpy(to + i * stride, sums[tile][i], 64);
  }
};
#endif

struct Tiles {
  static constexpr int MR = 32, NR = 32, KU = 32;
  static constexpr int64_t KC = 512, MC = 128;
  static constexpr int TALL = MR, PAIRED = 0;
  static constexpr bool tall() { return false; }
  static constexpr bool shares(int64_t) { return false; }
  static constexpr int64_t packed_rows(int64_t) { return MR; }
  typedef bf16 Packed;
  /** MR rows of A, `row` elements apart, whose blocks of 32 k's are `block` apart. A tile is loaded row by row: rows need no packing. */
  struct Strip {
    const bf16* data;
    int64_t row, block;
  };
  static Strip strip(const bf16* packed) { return {packed, KU, MR * KU}; }
  static Strip rows(const bf16* first, int64_t row) { return {first, row, KU}; }

  /** Blocks of 32 k's: 32 rows of 32 k's each, two tiles. */
  template <class Source>
  static void pack_strip(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, bf16* out) {
    typedef typename Source::T T;
    for (int64_t k = 0; k < kc; k += KU, out += MR * KU) {
      const int64_t count = smaller(KU, kc - k);
      const T* block = from + k * step;
      if (n == MR && stride == 1 && count == KU) {
        // lines side by side: pairs of k's first, then those as 32-bit elements of lines
        word pairs[KU / 2 * MR];
        pack_pairs<MR, Source>(block, stride, step, n, KU, pairs);
        for (int i = 0; i < MR; i += 4)
          for (int p = 0; p < KU / 2; p += 4) {
            const Words::T* lines[4];
            for (int q = 0; q < 4; q++) lines[q] = (const Words::T*)pairs + (p + q) * MR + i;
            float turned[16];
            interleave<Words, 4>(lines, 4, 4, turned);
            for (int q = 0; q < 4; q++) memcpy(out + (i + q) * KU + 2 * p, turned + 4 * q, 16);
          }
        continue;
      }
      for (int i = 0; i < MR; i++) {
        bf16* row = out + i * KU;
        const T* line = block + i * stride;
        const int64_t held = i < n ? count : 0;
        if (held == KU && step == 1 && sizeof(T) == 2) {
          memcpy(row, line, 64);
        } else if (held == KU && step == 1) {
          for (int j = 0; j < KU; j += 4) *(u16x4_unaligned*)(row + j) = Source::four_halves(line + j);
        } else {
          for (int j = 0; j < KU; j++) put(row + j, j < held ? Source::one(line + j * step) : 0.0f);
        }
      }
    }
  }
  /** Pairs of k's, of 32 columns each: 16 of them are two tiles. */
  template <class Source>
  static void pack_panel(const typename Source::T* from, int64_t stride, int64_t step, int64_t n, int64_t kc, bf16* out) {
    pack_pairs<NR, Source>(from, stride, step, n, kc, (word*)out);
    const int64_t pairs = ceil_div(kc, 2);
    memset((word*)out + pairs * NR, 0, (size_t)(round_up(kc, KU) / 2 - pairs) * NR * 4);
  }

  template <int P, bool any>
  static inline void micro_kernel(int64_t, int64_t kc, Strip a, const bf16* b, const float* from, int64_t ldfrom, float* to, int64_t ldto) {
    const int64_t blocks = ceil_div(kc, KU);
#if defined(BK_ISA_AMX)
    // the intrinsics do not say that they read memory: what was stored before must not be moved past them
    __asm__ volatile("" ::: "memory");
    if (from) {
      _tile_loadd(0, from, ldfrom * 4);
      _tile_loadd(1, from + 16, ldfrom * 4);
      _tile_loadd(2, from + 16 * ldfrom, ldfrom * 4);
      _tile_loadd(3, from + 16 * ldfrom + 16, ldfrom * 4);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    const bf16 *upper = a.data, *lower = a.data + 16 * a.row;
    for (int64_t k = 0; k < blocks; k++, upper += a.block, lower += a.block, b += NR * KU) {
      _tile_loadd(4, upper, a.row * 2);
      _tile_loadd(6, b, 4 * NR);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, b + 32, 4 * NR);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, lower, a.row * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, to, ldto * 4);
    _tile_stored(1, to + 16, ldto * 4);
    _tile_stored(2, to + 16 * ldto, ldto * 4);
    _tile_stored(3, to + 16 * ldto + 16, ldto * 4);
#else
    PlainTiles tiles;
    for (int t = 0; t < 4; t++) tiles.start(t, from ? from + t / 2 * 16 * ldfrom + t % 2 * 16 : nullptr, ldfrom);
    for (int64_t k = 0; k < blocks; k++, b += NR * KU)
      for (int t = 0; t < 4; t++) tiles.multiply(t, a.data + k * a.block + t / 2 * 16 * a.row, a.row, b + t % 2 * 32, 2 * NR);
    for (int t = 0; t < 4; t++) tiles.stop(t, to + t / 2 * 16 * ldto + t % 2 * 16, ldto);
#endif
  }
};
#endif

/** The tiles of this thread made ready while it lives, where products use them. */
struct TileState {
#if defined(BK_ISA_AMX)
  explicit TileState(bool wanted) : wanted_(wanted) {
    if (!wanted) return;
    alignas(64) uint8_t configuration[64] = {};  // palette 1: eight tiles of 16 rows (from byte 48) of 64 bytes (16 bits each, from byte 16)
    configuration[0] = 1;
    for (int t = 0; t < 8; t++) {
      configuration[16 + 2 * t] = 64;
      configuration[48 + t] = 16;
    }
    // g++ 12's intrinsic says that 8 bytes are read, and the stores to the others would be left out
    __asm__ volatile("ldtilecfg %0" ::"m"(configuration));
  }
  ~TileState() {
    if (wanted_) _tile_release();
  }

 private:
  bool wanted_;
#else
  explicit TileState(bool) {}
#endif
};
