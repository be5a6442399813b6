// scripts/cuda-kernels.mjs reads what ptxas says of kernels.
import * as path from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'

interface Kernel {
  readonly name: string
  readonly architecture: string
  readonly registers: number
  readonly shared: number
  readonly stack: number
  readonly stores: number
  readonly loads: number
}
const scripts = path.resolve(import.meta.dirname, '../../scripts/cuda-kernels.mjs')
const { kernelsOf, reportOf, spillsOf } = (await import(pathToFileURL(scripts).href)) as {
  kernelsOf(source: string, log: string, demangle: (names: string[]) => string[]): Kernel[]
  reportOf(kernels: readonly Kernel[]): string
  spillsOf(kernels: readonly Kernel[]): string[]
}

const LOG = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Zsum' for 'sm_80'
ptxas info    : Function properties for _Zsum
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 42 registers, used 1 barriers, 128 bytes smem, 400 bytes cmem[0]
ptxas info    : Compile time = 98.190 ms
ptxas info    : Compiling entry function '_Zproduct' for 'sm_90a'
ptxas info    : Function properties for _Zproduct
    48 bytes stack frame, 40 bytes spill stores, 52 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 48 bytes cumulative stack size, 380 bytes cmem[0]
ptxas info    : Function properties for _Zcalled
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
`
const demangle = (names: string[]) =>
  names.map((name) =>
    name === '_Zsum'
      ? 'bk::cuda::(anonymous namespace)::sum(float const*, int)'
      : 'void bk::cuda::_GLOBAL__N__5a6c3607_7_x_cu_4e99b5b3::product<bk::cuda::bf16, (int)4>(bk::cuda::Rows<(bool)1>)',
  )

test('kernels are read with what they use, functions that were not inlined with them', () => {
  expect(kernelsOf('x.cu', LOG, demangle)).toMatchObject([
    { name: 'sum', architecture: 'sm_80', registers: 42, shared: 128, stack: 0, stores: 0, loads: 0 },
    { name: 'product<bf16, 4>', architecture: 'sm_90a', registers: 255, shared: 0, stack: 56, stores: 44, loads: 56 },
  ])
  expect(kernelsOf('engine.cu', 'ptxas info    : 0 bytes gmem\n', demangle)).toEqual([])
})

test('a kernel that spills is complained of', () => {
  const kernels = kernelsOf('x.cu', LOG, demangle)
  expect(spillsOf(kernels)).toEqual(['x.cu: product<bf16, 4> for sm_90a spills 44 bytes and loads 56'])
  expect(reportOf(kernels).trimEnd().split('\n').slice(2)).toEqual([
    expect.stringMatching(/^ +sm_80 +42 +128 +0 +0 +0 {2}x\.cu: sum$/),
    expect.stringMatching(/^ +sm_90a +255 +0 +56 +44 +56 {2}x\.cu: product<bf16, 4>$/),
  ])
})
