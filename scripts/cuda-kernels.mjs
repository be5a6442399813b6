// What ptxas says of kernels (-Xptxas -v): registers, shared memory, and what did not fit into registers.

/**
 * By a kernel's name, which report.txt has, the bytes that it may store and load for want of registers, on the architecture where they are
 * most. Half of those of attention's backward with dropout are of warps that draw masks, which have 32 registers, and time.
 */
const ALLOWED_SPILLS = new Map([
  ['attend_kernel<bf16, 64, 2>', 56],
  ['attend_kernel<bf16, 32, 2>', 200],
  ['heads::attend_hopper_kernel<heads::HopperHeads<true> >', 144],
  ['heads::backward::hopper::attend_backward_hopper<true>', 272],
  ['attend_backward_kernel<float, 128, 1>', 48],
  ['layer_norm_kernel<float, RowLayout<1, 2> >', 16],
  ['layer_norm_any_kernel<bf16, RowLayout<1, 0> >', 8],
  ['layer_norm_any_kernel<bf16, RowLayout<4, 0> >', 8],
  ['layer_norm_any_kernel<float, RowLayout<1, 0> >', 8],
  ['layer_norm_any_kernel<float, RowLayout<4, 0> >', 8],
  ['gemm_kernel<BlockShape<bf16, 128, 128, 64, 64, 3, 2>, false, false, ParameterGradients<true> >', 120],
  ['segment_gradients_kernel', 40],
])

/** The kernels of one source's log. `demangle` makes C++ names of a list of symbols. */
export function kernelsOf(source, log, demangle) {
  const kernels = []
  let kernel
  for (const line of log.split('\n')) {
    const [, symbol, architecture] = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line) ?? []
    if (symbol) {
      kernel = { source, symbol, architecture, registers: 0, shared: 0, stack: 0, stores: 0, loads: 0 }
      kernels.push(kernel)
    }
    const [, stack, stores, loads] =
      /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line) ?? []
    // a function that was not inlined has properties of its own; it counts for the kernel that it is compiled for
    if (stack && kernel) {
      kernel.stack += Number(stack)
      kernel.stores += Number(stores)
      kernel.loads += Number(loads)
    }
    const [, registers] = /Used (\d+) registers/.exec(line) ?? []
    if (registers && kernel) {
      kernel.registers = Number(registers)
      kernel.shared = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0)
    }
  }
  if (kernels.length === 0) return []
  const names = demangle(kernels.map(({ symbol }) => symbol))
  return kernels.map((found, index) => ({ ...found, name: shortened(names[index]) }))
}

/** Without namespaces, the return type and parameters. */
function shortened(name) {
  const plain = name
    .replace(/\(anonymous namespace\)::|\(anonymous namespace\)/g, '')
    .replace(/_GLOBAL__N__\w+::/g, '')
    .replace(/bk::cuda::|bk::/g, '')
    .replace(/\((int|bool|unsigned int)\)/g, '')
    .replace(/^void /, '')
  let depth = 0
  for (let i = 0; i < plain.length; i++) {
    if (plain[i] === '<') depth++
    if (plain[i] === '>') depth--
    if (plain[i] === '(' && depth === 0) return plain.slice(0, i)
  }
  return plain
}

/** A table in text, the kernels with the most registers first in each source. */
export function reportOf(kernels) {
  const columns = ['architecture', 'registers', 'shared', 'stack', 'stores', 'loads']
  const width = Object.fromEntries(columns.map((column) => [column, Math.max(column.length, 6)]))
  const row = (cells, rest) =>
    `${columns.map((column) => String(cells[column]).padStart(width[column])).join('  ')}  ${rest}`
  const sorted = kernels.toSorted(
    (a, b) =>
      a.source.localeCompare(b.source) ||
      a.architecture.localeCompare(b.architecture) ||
      b.registers - a.registers ||
      a.name.localeCompare(b.name),
  )
  const head = row(Object.fromEntries(columns.map((column) => [column, column])), 'source: kernel')
  return `Bytes of shared memory without the dynamic one; stores and loads are bytes of spills.\n${[head, ...sorted.map((kernel) => row(kernel, `${kernel.source}: ${kernel.name}`))].join('\n')}\n`
}

/** Complaints about kernels that, more than they may, keep variables in memory for want of registers. */
export const spillsOf = (kernels) =>
  kernels
    .filter(({ name, stores, loads }) => stores + loads > (ALLOWED_SPILLS.get(name) ?? 0))
    .map(
      ({ source, name, architecture, stores, loads }) =>
        `${source}: ${name} for ${architecture} spills ${stores} bytes and loads ${loads}`,
    )
