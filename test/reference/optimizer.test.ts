import { describe, expect, it } from 'vitest'
import { distance, uniform } from './numerics.ts'
import { type AdamW, adamw, gradientNorm } from './optimizer.ts'

// torch 2.13:
//   w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
//   opt = torch.optim.AdamW([w], lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.2)
//   for g in [[3., -4., 0.], [0.1, 0.2, -0.2], [1., 1., 1.]]:
//     w.grad = torch.tensor(g, dtype=torch.float64); n = torch.nn.utils.clip_grad_norm_([w], 1.0)
//     opt.step(); print(float(n), w.tolist())
//   print(opt.state[w]["exp_avg"].tolist(), opt.state[w]["exp_avg_sq"].tolist())
const GRADIENTS = [
  [3, -4, 0],
  [0.1, 0.2, -0.2],
  [1, 1, 1],
]
const NORMS = [5, 0.30000000000000004, 1.7320508075688772]
const WEIGHTS = [
  [0.880166389384304, -1.8601248439700062, 0.49],
  [0.786900596089667, -1.7805914763648985, 0.5572412004461269],
  [0.6831344287700171, -1.7609645719143503, 0.4988205008294816],
]
const EXP_AVG = [0.20826997181130003, 0.04507000765129288, 0.08346998717129699]
const EXP_AVG_SQ = [0.03338664092367634, 0.04744663586967787, 0.01856664742167438]

// the same with torch.optim.Adam
const L2 = {
  weights: [
    [0.9001248439637719, -1.9000832639578036, 0.400990099009901],
    [0.8141205794540292, -1.8254354923248395, 0.42080415018882583],
    [0.7209849983807879, -1.7841953450803194, 0.35671925270318305],
  ],
  expAvg: [0.29523878999630193, -0.1399500764883504, 0.12593383634716684],
  expAvgSq: [0.05999753687950319, 0.06877204305478773, 0.023012819106519814],
}
const DECOUPLED = { weights: WEIGHTS, expAvg: EXP_AVG, expAvgSq: EXP_AVG_SQ }

const options = { lr: 0.1, beta1: 0.8, beta2: 0.95, eps: 1e-3, weightDecay: 0.2 }

describe('gradientNorm', () => {
  it('clips to the norm, and only what is above it', () => {
    const g = Float64Array.of(3, 0, -4)
    expect(gradientNorm({ g, maxGradNorm: 1 })).toEqual({ norm: 5, coefficient: 1 / (5 + 1e-6) })
    expect(gradientNorm({ g, maxGradNorm: 6 }).coefficient).toBe(1)
    expect(gradientNorm({ g, maxGradNorm: 0 }).coefficient).toBe(1)
  })
})

describe('adamw', () => {
  it.each([
    ['AdamW', false, DECOUPLED],
    ['Adam with an L2 term', true, L2],
  ] as const)("follows PyTorch's %s through three clipped updates", (_name, coupled, want) => {
    const zeros = new Float64Array(3)
    let state: Pick<AdamW, 'w' | 'expAvg' | 'expAvgSq'> = {
      w: Float64Array.of(1, -2, 0.5),
      expAvg: zeros,
      expAvgSq: zeros,
    }
    for (const [i, gradient] of GRADIENTS.entries()) {
      const g = Float64Array.from(gradient)
      const clip = gradientNorm({ g, maxGradNorm: 1 })
      expect(clip.norm).toBeCloseTo(NORMS[i], 14)
      state = adamw({ ...state, ...clip, g, ...options, coupled, step: i + 1 })
      expect(distance(state.w, want.weights[i])).toBeLessThan(1e-14)
    }
    expect(distance(state.expAvg, want.expAvg)).toBeLessThan(1e-14)
    expect(distance(state.expAvgSq, want.expAvgSq)).toBeLessThan(1e-14)
  })

  it('leaves its arguments as they are', () => {
    const [w, g, expAvg, expAvgSq] = [uniform(5, 1), uniform(5, 2), uniform(5, 3), uniform(5, 4).map(Math.abs)]
    const before = [w, g, expAvg, expAvgSq].map((array) => [...array])
    adamw({ w, g, expAvg, expAvgSq, norm: 1, coefficient: 1, ...options, step: 3 })
    expect([w, g, expAvg, expAvgSq].map((array) => [...array])).toEqual(before)
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('changes nothing when the norm is %f', (norm) => {
    const state = { w: uniform(3, 1), expAvg: uniform(3, 2), expAvgSq: uniform(3, 3).map(Math.abs) }
    const g = Float64Array.of(Number.NaN, 1, 2)
    expect(adamw({ ...state, g, norm, coefficient: 1, ...options, step: 1 })).toEqual(state)
  })
})
