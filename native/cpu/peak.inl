// The machine's own ceiling: fused multiply-adds on registers, enough independent sums to hide the latency.

static double fma_peak(int64_t iterations) {
  f32 sum[10], a = set1(1.0000001f), b = set1(1e-9f);
  for (int i = 0; i < 10; i++) sum[i] = set1((float)i);
  for (int64_t n = 0; n < iterations; n++)
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) sum[i] = fma(sum[i], a, b);
  f32 total = {};
  for (int i = 0; i < 10; i++) total = total + sum[i];
  volatile float sink = reduce_add(total);
  (void)sink;
  return (double)iterations * 10 * W * 2;
}
