// What the compiler made of the kernels: code that every CPU of the architecture runs outside the objects of one instruction set, and in
// those objects nothing that the linker could pick for all.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import * as path from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'

const OBJECTS = path.resolve(import.meta.dirname, '../../build/CMakeFiles')

function has(tool: string): boolean {
  try {
    execFileSync(tool, ['--version'])
    return true
  } catch {
    return false
  }
}

/** Why the tests cannot run here, or undefined. */
function reason(): string | undefined {
  if (process.arch !== 'x64') return `not on ${process.arch}`
  if (!existsSync(path.join(OBJECTS, 'isa_scalar.dir'))) return 'skipped: no objects in build/, run npm run build'
  return ['objdump', 'nm'].every(has) ? undefined : 'skipped: objdump and nm are missing (binutils)'
}

const objects = (target: string): string[] =>
  readdirSync(path.join(OBJECTS, `${target}.dir`), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.o'))
    .map((file) => path.join(OBJECTS, `${target}.dir`, file))

const output = (tool: string, ...args: string[]): string =>
  execFileSync(tool, args, { encoding: 'utf8', maxBuffer: 1 << 30 })

// the pattern that prebuilt addons are held to
const { AVX } = (await import(pathToFileURL(path.resolve(import.meta.dirname, '../../scripts/binaries.mjs')).href)) as {
  AVX: RegExp
}
const avxInstructions = (object: string): string[] =>
  output('objdump', '-d', '--no-show-raw-insn', object)
    .split('\n')
    .filter((line) => AVX.test(line))

const weakSymbols = (object: string): string[] =>
  output('nm', '--defined-only', object)
    .split('\n')
    .filter((line) => / [VWvwu] /.test(line))

const missing = reason()
describe.skipIf(missing)(`compiled objects${missing ? ` (${missing})` : ''}`, () => {
  const baseline = () => ['isa_scalar', 'bertkit_core', 'bertkit'].flatMap(objects)
  const isas = () =>
    readdirSync(OBJECTS)
      .filter((name) => /^isa_\w+\.dir$/.test(name))
      .flatMap((name) => objects(path.basename(name, '.dir')))

  it('of the baseline have no AVX instruction', () => {
    expect(baseline().length).toBeGreaterThanOrEqual(8)
    for (const object of baseline()) expect(avxInstructions(object).slice(0, 3), object).toEqual([])
  })

  it('of AVX2 have some: the search finds them', () => {
    expect(objects('isa_avx2').flatMap(avxInstructions).length).toBeGreaterThan(1000)
  })

  it('of an instruction set define no weak symbol', () => {
    expect(isas().length).toBeGreaterThanOrEqual(3)
    for (const object of isas()) expect(weakSymbols(object), object).toEqual([])
  })

  it('of C++ with library headers define some: the search finds them', () => {
    expect(objects('bertkit').flatMap(weakSymbols).length).toBeGreaterThan(0)
  })
})
