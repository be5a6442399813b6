import { describe, expect, it } from 'vitest'
import { ACTIVATIONS, activation, activationBackward, erf, erfc } from './activation.ts'
import { dot, expectGradient, uniform } from './numerics.ts'

describe('erf and erfc', () => {
  // with mpmath.workdps(30): print(float(mpmath.erf(x)), float(mpmath.erfc(x)))
  it.each([
    [1e-10, 1.1283791670955126e-10, 0.999999999887162],
    [0.01, 0.011283415555849616, 0.9887165844441503],
    [0.3, 0.32862675945912745, 0.6713732405408726],
    [0.5, 0.5204998778130465, 0.4795001221869535],
    [1, 0.8427007929497149, 0.15729920705028513],
    [1.7, 0.9837904585907745, 0.016209541409225436],
    [2.2, 0.998137153702018, 0.0018628462979818914],
    [2.4999, 0.9995928300996666, 0.00040716990033345094],
    [2.5, 0.999593047982555, 0.0004069520174449589],
    [2.5001, 0.9995932657565293, 0.0004067342434706802],
    [3, 0.9999779095030014, 2.209049699858544e-5],
    [4, 0.9999999845827421, 1.541725790028002e-8],
    [5.5, 0.9999999999999927, 7.357847917974398e-15],
    [12, 1.0, 1.3562611692059042e-64],
  ])('at %f and its negative', (x, wantErf, wantErfc) => {
    expect(Math.abs(erf(x) - wantErf)).toBeLessThanOrEqual(1e-15 * wantErf)
    expect(erf(-x)).toBe(-erf(x))
    // Below 2.5 erfc is 1 - erf and has its absolute error.
    expect(Math.abs(erfc(x) - wantErfc)).toBeLessThanOrEqual(x < 2.5 ? 1e-15 : 1e-13 * wantErfc)
    expect(Math.abs(erfc(-x) - (1 + wantErf))).toBeLessThanOrEqual(1e-15)
  })
})

describe('activations', () => {
  // torch 2.13, transformers 5.18: z = torch.tensor([-3., -0.5, 0.25, 2.], dtype=torch.float64); ACT2FN[name](z)
  it.each([
    ['linear', [-3.0, -0.5, 0.25, 2.0]],
    ['gelu', [-0.00404969409489031, -0.15426876936299344, 0.14967658142073093, 1.9544997361036416]],
    ['gelu_new', [-0.0036373920817729943, -0.15428599017485606, 0.149675350701685, 1.954597694087775]],
    ['gelu_fast', [-0.003637392081860591, -0.15428599017516514, 0.1496753507015987, 1.9545976940871754]],
    ['quick_gelu', [-0.01807130970778597, -0.1496115633936199, 0.1511996499001942, 1.9356586231442083]],
    ['relu', [0.0, 0.0, 0.25, 2.0]],
    ['silu', [-0.14227761953270035, -0.1887703343990727, 0.14054412522144952, 1.7615941559557646]],
    ['tanh', [-0.9950547536867305, -0.46211715726000974, 0.24491866240370913, 0.9640275800758169]],
    ['sigmoid', [0.04742587317756678, 0.3775406687981454, 0.5621765008857981, 0.8807970779778823]],
    ['gelu_10', [-0.00404969409489031, -0.15426876936299344, 0.14967658142073093, 1.9544997361036416]],
    ['hardswish', [0.0, -0.20833333333333334, 0.13541666666666666, 1.6666666666666667]],
    ['laplace', [0.0, 9.383381167682447e-6, 0.052573090251858634, 0.9999977102450648]],
    ['leaky_relu', [-0.03, -0.005, 0.25, 2.0]],
    ['mish', [-0.1456474612756246, -0.22074377465173, 0.1695724096638176, 1.9439589595339946]],
    ['relu2', [0.0, 0.0, 0.0625, 4.0]],
    ['relu6', [0.0, 0.0, 0.25, 2.0]],
    ['sqrtsoftplus', [0.2204253877704246, 0.6885324859293908, 0.9088120927226065, 1.4583991261115636]],
  ] as const)('%s gives the values of ACT2FN', (act, want) => {
    const got = activation(act, Float64Array.of(-3, -0.5, 0.25, 2))
    for (const [i, value] of want.entries()) expect(got[i]).toBeCloseTo(value, 14)
  })

  // torch 2.13, transformers 5.18: ACT2FN[name](z).backward() at the points where the slope jumps, and beyond
  it.each([
    ['gelu_10', [10, 10.5], [1, 0]],
    ['hardswish', [-3, 0, 3, 6], [0, 0.5, 1, 1]],
    ['leaky_relu', [-1e4, 0, 3], [0.01, 0.01, 1]],
    ['relu', [0, 3], [0, 1]],
    ['relu2', [0, 3], [0, 6]],
    ['relu6', [0, 3, 6, 10], [0, 1, 0, 0]],
    ['mish', [-3, 0, 6], [-0.09339311453232084, 0.6, 1.00013414050621]],
    ['laplace', [-3, 0, 3], [4.469898130710365e-38, 0.06111382879472588, 6.375366174527704e-15]],
    ['sqrtsoftplus', [-3, 0, 10.5], [0.10757806452621814, 0.30028060219661246, 0.1542988987897319]],
  ] as const)('%s has the slopes of PyTorch at %j', (act, z, want) => {
    const { dz } = activationBackward({ dy: Float64Array.from(z, () => 1), z: Float64Array.from(z), act })
    for (const [i, value] of want.entries())
      expect(Math.abs(dz[i] - value)).toBeLessThanOrEqual(1e-12 * Math.abs(value))
  })

  it.each(ACTIVATIONS)("backward of %s is its forward's slope", (act) => {
    const z = uniform(37, 1).map((x) => 4 * x)
    const dy = uniform(37, 2)
    expectGradient(activationBackward({ dy, z, act }).dz, z, () => dot(dy, activation(act, z)))
  })

  it.each(ACTIVATIONS)('%s stays finite far from zero', (act) => {
    const z = Float64Array.of(-1e4, -40, 0, 40, 1e4)
    const dy = z.map(() => 1)
    expect([...activation(act, z), ...activationBackward({ dy, z, act }).dz].every(Number.isFinite)).toBe(true)
  })
})
