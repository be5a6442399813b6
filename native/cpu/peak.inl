// The machine's own ceilings: products on registers, enough independent sums to hide the latency; memory updated in place, and read.

static double float32_peak(int64_t iterations) {
  constexpr int SUMS = 12;  // latency times throughput of a multiply-add, and of a product and a sum; with a and b in 16 registers
  f32 sum[SUMS], a = set1(1.0000001f), b = set1(1e-9f);
#pragma GCC unroll 12
  for (int i = 0; i < SUMS; i++) sum[i] = set1((float)i);
  for (int64_t n = 0; n < iterations; n++)
#pragma GCC unroll 12
    for (int i = 0; i < SUMS; i++) sum[i] = fma(sum[i], a, b);
  f32 total = {};
#pragma GCC unroll 12
  for (int i = 0; i < SUMS; i++) total = total + sum[i];
  volatile float sink = reduce_add(total);
  (void)sink;
  return (double)iterations * SUMS * W * 2;
}

/** Flops of products of bfloat16: tiles or pairs that stay in registers; where they are float32 multiply-adds, those. */
static double bfloat16_peak(int64_t iterations) {
#if defined(BK_ISA_AMX)
  const TileState state(true);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  const int64_t rounds = iterations / 16;
  for (int64_t n = 0; n < rounds; n++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return (double)rounds * 4 * 16 * 16 * 32 * 2;
#elif defined(BK_PAIRS)
  f32 sum[10];
  u32 a = set1_u32(0x3f803f80u), b = set1_u32(0x30003000u);
  for (int i = 0; i < 10; i++) sum[i] = set1((float)i);
  for (int64_t n = 0; n < iterations; n++)
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) sum[i] = dot_pairs(sum[i], a, b);
  f32 total = {};
  for (int i = 0; i < 10; i++) total = total + sum[i];
  volatile float sink = reduce_add(total);
  (void)sink;
  return (double)iterations * 10 * W * 4;
#else
  return float32_peak(iterations);
#endif
}

/** Bytes read and written while every float of an array larger than the caches is updated. */
static double memory_peak(float* data, int64_t n) {
  const f32 a = set1(0.999f), b = set1(1e-9f);
  for (int64_t i = 0; i + 4 * W <= n; i += 4 * W)
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) store(data + i + v * W, fma(load(data + i + v * W), a, b));
  return (double)n * 8;
}

/** Bytes read while every float of an array larger than the caches is added up. */
static double read_peak(float* data, int64_t n) {
  f32 sum[8] = {};
  for (int64_t i = 0; i + 8 * W <= n; i += 8 * W)
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) sum[v] = sum[v] + load(data + i + v * W);
  f32 total = {};
#pragma GCC unroll 8
  for (int v = 0; v < 8; v++) total = total + sum[v];
  volatile float sink = reduce_add(total);
  (void)sink;
  return (double)n * 4;
}
