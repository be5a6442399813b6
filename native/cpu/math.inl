// Elementary functions of a vector. Errors are bounds over the whole range, held by test/conformance/activations.ts.

/** e^x / 2^n for n = round(x / log 2): Cody and Waite's reduction, then a minimax polynomial of (e^r - 1 - r) / r^2. */
BK_INLINE f32 exp_fraction(f32 x, i32& n) {
  n = round_i32(x * 1.44269504f);
  const f32 nf = __builtin_convertvector(n, f32);
  const f32 r = fma(nf, set1(2.12194440e-4f), fma(nf, set1(-0.693359375f), x));
  f32 p = set1(0.00138146432f);
  p = fma(p, r, set1(0.0083687171f));
  p = fma(p, r, set1(0.0416683872f));
  p = fma(p, r, set1(0.166665206f));
  p = fma(p, r, set1(0.499999935f));
  return fma(p * r, r, r) + 1.0f;
}

/** e^x, at most 2 ulp; 0 below -87.3, inf above 88.7. */
BK_INLINE f32 exp(f32 x) {
  i32 n;
  const f32 y = exp_fraction(min(max(x, set1(-87.33654f)), set1(88.72283f)), n);
  // 2^n in two factors: n reaches 128, where one factor would overflow before the product does
  const i32 half = n >> 1;
  const f32 scaled = y * of_bits((half + 127) << 23) * of_bits((n - half + 127) << 23);
  const f32 finite = select(x < -87.33654f, f32{}, select(x > 88.72283f, of_bits(set1_i32(0x7f800000)), scaled));
  return select(x == x, finite, x);
}

/** e^x of x < 88, the same bits as exp in fewer steps. */
BK_INLINE f32 exp_below_88(f32 x) {
  i32 n;
  const f32 y = exp_fraction(max(set1(-87.33654f), x), n) * of_bits((n + 127) << 23);
  return of_bits(bits_of(y) & ~(x < -87.33654f));
}

/** e^x - 1 - x for |x| < 1, relative error 3e-7: x^2 times the sum of x^k / (k + 2)!. Any number elsewhere. */
BK_INLINE f32 exp_tail(f32 x) {
  f32 p = set1(1.0f / 39916800);
  p = fma(p, x, set1(1.0f / 3628800));
  p = fma(p, x, set1(1.0f / 362880));
  p = fma(p, x, set1(1.0f / 40320));
  p = fma(p, x, set1(1.0f / 5040));
  p = fma(p, x, set1(1.0f / 720));
  p = fma(p, x, set1(1.0f / 120));
  p = fma(p, x, set1(1.0f / 24));
  p = fma(p, x, set1(1.0f / 6));
  p = fma(p, x, set1(0.5f));
  return p * x * x;
}

/** log(1 + e^x), relative error 3e-7 down to -87.3; there it becomes 0. log(1 + u) is 2 atanh(s) with s = u / (2 + u) <= 1/3. */
BK_INLINE f32 softplus(f32 x) {
  const f32 u = exp(-abs(x)), s = u / (u + 2.0f), q = s * s;
  f32 p = set1(1.0f / 17);
  p = fma(p, q, set1(1.0f / 15));
  p = fma(p, q, set1(1.0f / 13));
  p = fma(p, q, set1(1.0f / 11));
  p = fma(p, q, set1(1.0f / 9));
  p = fma(p, q, set1(1.0f / 7));
  p = fma(p, q, set1(1.0f / 5));
  p = fma(p, q, set1(1.0f / 3));
  return select(x > 0.0f, x, f32{}) + 2.0f * fma(s * q, p, s);
}

/** e^(x^2) erfc(x) for x >= 1 as a polynomial of 1 / (x + 2), fitted on [1, 10]; relative error 6e-9. */
BK_INLINE f32 erfc_scaled(f32 x) {
  const f32 t = 1.0f / (x + 2.0f);
  f32 p = set1(20.7088211f);
  p = fma(p, t, set1(-23.6863044f));
  p = fma(p, t, set1(1.60461877f));
  p = fma(p, t, set1(3.37067325f));
  p = fma(p, t, set1(2.52872961f));
  p = fma(p, t, set1(2.02372921f));
  p = fma(p, t, set1(1.12396394f));
  p = fma(p, t, set1(0.564398772f));
  return fma(p, t, set1(-4.10255896e-06f));
}

/** erf(x) / x for |x| <= 1 as a polynomial of u = x^2; relative error 2e-9. */
BK_INLINE f32 erf_over_x(f32 u) {
  f32 p = set1(7.88909352e-05f);
  p = fma(p, u, set1(-0.00080208335f));
  p = fma(p, u, set1(0.00518953447f));
  p = fma(p, u, set1(-0.0268544441f));
  p = fma(p, u, set1(0.112836002f));
  p = fma(p, u, set1(-0.376126271f));
  return fma(p, u, set1(1.12837917f));
}

/** The standard normal distribution function 0.5 (1 + erf(x / sqrt 2)), also `density` e^(-x^2/2) / sqrt(2 pi). Any numbers where x is NaN. */
BK_INLINE f32 normal_cdf(f32 x, f32& density) {
  const f32 z = x * 0.707106781f, a = abs(z);
  const f32 e = exp_below_88(-0.5f * x * x);
  density = e * 0.398942280f;
  const f32 near = fma(z * 0.5f, erf_over_x(z * z), set1(0.5f));
  const f32 tail = 0.5f * e * erfc_scaled(min(a, set1(10.0f)));
  return select(a < 1.0f, near, select(x < 0.0f, tail, 1.0f - tail));
}

/** tanh(x): a polynomial of x^2 below 0.625, 1 - 2 / (e^2x + 1) above; at most 2 ulp. */
BK_INLINE f32 tanh(f32 x) {
  const f32 a = abs(x), u = x * x;
  f32 p = set1(-0.00549674459f);
  p = fma(p, u, set1(0.020443648f));
  p = fma(p, u, set1(-0.0536752056f));
  p = fma(p, u, set1(0.133305561f));
  p = fma(p, u, set1(-0.333332363f));
  p = fma(p, u, set1(0.999999994f));
  const f32 far = 1.0f - 2.0f / (exp(min(a, set1(20.0f)) * 2.0f) + 1.0f);
  const f32 y = select(a < 0.625f, x * p, select(x < 0.0f, -far, far));
  return select(x == x, y, x);
}

BK_INLINE f32 sigmoid(f32 x) { return 1.0f / (1.0f + exp(-x)); }
