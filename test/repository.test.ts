// What holds between the files around the code.
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'

const root = path.join(import.meta.dirname, '..')
const read = (file: string) => fs.readFileSync(path.join(root, file), 'utf8')
const words = (text: string) => text.trim().split(/\s+/)

interface Target {
  readonly sources: readonly string[]
  readonly defines: readonly string[]
  readonly flags: readonly string[]
}
type Targets = Readonly<Record<string, Target>>

/** The one match of a pattern's group. */
function only(text: string, pattern: RegExp): string {
  const matches = [...text.matchAll(new RegExp(pattern, 'gm'))]
  if (matches.length !== 1) throw new Error(`${pattern} matches ${matches.length} times`)
  return matches[0][1]
}

/** Targets of CMakeLists.txt for one architecture. */
function cmakeTargets(arch: 'x64' | 'arm64'): Targets {
  const text = read('CMakeLists.txt').replace(/#.*/g, '')
  const variable = (name: string) => words(only(text, new RegExp(`^set\\(${name} ([^)]*)\\)`)))
  const expand = (list: readonly string[]) =>
    list.flatMap((word) => {
      const [, name] = /^\$\{(\w+)\}$/.exec(word) ?? []
      if (name === 'ARGN' || name?.startsWith('CMAKE_')) return []
      return name === undefined ? [word] : name === 'isa_objects' ? [] : variable(name)
    })
  const options = (target: string) =>
    expand(words(only(text, new RegExp(`target_compile_options\\(${target} PRIVATE ([^)]*)\\)`))))
  const targets: Record<string, Target> = {}
  const [, x64, arm64] =
    /^if\(CMAKE_SYSTEM_PROCESSOR[^\n]*\n([\s\S]*?)^elseif\(CMAKE_SYSTEM_PROCESSOR[^\n]*\n([\s\S]*?)^endif/m.exec(
      text,
    ) ?? []
  const everywhere = text
    .replace(x64, '')
    .replace(arm64, '')
    .replace(/^if\(BERTKIT_TESTS\)[\s\S]*?^endif\(\)/gm, '')
  const isaSources = words(only(text, /add_library\(isa_\$\{name\} OBJECT ([^)]*)\)/))
  const common = options('isa_\\$\\{name\\}')
  for (const [, call] of `${everywhere}\n${arch === 'x64' ? x64 : arm64}`.matchAll(/^ *add_isa\(([^)]*)\)/gm)) {
    const [name, ...own] = expand(words(call))
    targets[`isa_${name}`] = {
      sources: isaSources,
      defines: [`BK_ISA=${name}`, ...own.filter((flag) => flag.startsWith('-D')).map((flag) => flag.slice(2))],
      flags: [...common, ...own.filter((flag) => !flag.startsWith('-D'))],
    }
  }
  targets.bertkit_core = {
    sources: expand(words(only(text, /add_library\(bertkit_core STATIC ([^)]*)\)/))),
    defines: [],
    flags: options('bertkit_core'),
  }
  targets.bertkit = {
    sources: expand(words(only(text, /add_library\(bertkit SHARED ([^)]*)\)/))),
    defines: words(only(text, /target_compile_definitions\(bertkit PRIVATE ([^)]*)\)/)),
    flags: options('bertkit'),
  }
  return targets
}

interface GypTarget {
  readonly target_name: string
  readonly sources: string[]
  readonly defines?: string[]
  readonly cflags_cc: string[]
  /** Of targets that macOS has too. */
  readonly xcode_settings?: { readonly OTHER_CPLUSPLUSFLAGS: string[] }
  readonly dependencies?: string[]
  readonly conditions?: [string, Partial<GypTarget>][]
}
interface Gyp {
  readonly variables: Record<string, string[]>
  readonly targets: GypTarget[]
  readonly conditions: [string, { readonly targets: GypTarget[] }][]
}
const gyp = (): Gyp => JSON.parse(read('binding.gyp').replace(/^#.*/gm, ''))

function gypTargets(arch: 'x64' | 'arm64'): Targets {
  const { variables, targets, conditions } = gyp()
  const expand = (flags: readonly string[]): string[] =>
    flags.flatMap((flag) => {
      const list = variables[/^<@\((\w+)\)$/.exec(flag)?.[1] ?? '']
      return list ? expand(list) : [flag]
    })
  const all = [
    ...targets,
    ...conditions.filter(([when]) => when.includes(`'${arch}'`)).flatMap(([, then]) => then.targets),
  ]
  return Object.fromEntries(
    all.map(({ target_name, sources, defines = [], cflags_cc }) => [
      target_name,
      // warnings are in target_defaults
      { sources, defines, flags: [...variables.warnings, ...expand(cflags_cc)] },
    ]),
  )
}

/** Lists that mean the same are equal; -frtti undoes what node-gyp adds, and CMake has it by default. */
const sorted = (targets: Targets) =>
  Object.fromEntries(
    Object.entries(targets).map(([name, { sources, defines, flags }]) => {
      const effective = flags.filter((flag) => flag !== '-frtti' && flag !== '-fexceptions')
      return [
        name,
        { sources: [...sources].sort(), defines: [...defines].sort(), flags: [...new Set(effective)].sort() },
      ]
    }),
  )

describe('CMakeLists.txt and binding.gyp', () => {
  test.each(['x64', 'arm64'] as const)(
    'build the same targets from the same sources with the same flags on %s',
    (arch) => {
      const cmake = sorted(cmakeTargets(arch))
      expect(Object.keys(cmake).length).toBeGreaterThanOrEqual(4)
      expect(sorted(gypTargets(arch))).toEqual(cmake)
    },
  )

  test('name files that exist, and every native source is named or included', () => {
    const wasm = words(only(read('CMakeLists.txt'), /^set\(wasm_runtime ([^)]*)\)/))
    const windows = words(only(read('CMakeLists.txt'), /target_sources\(bertkit PRIVATE ([^)]*)\)/))
    const named = [...Object.values(cmakeTargets('x64')).flatMap(({ sources }) => sources), ...wasm, ...windows]
    expect(named.filter((file) => !fs.existsSync(path.join(root, file)))).toEqual([])
    const sources = fs.readdirSync(path.join(root, 'native'), { recursive: true, encoding: 'utf8' })
    expect(
      sources.filter((file) => file.endsWith('.cc') && !named.includes(`native/${file.replaceAll(path.sep, '/')}`)),
    ).toEqual([])
    const included = [...read('native/cpu/isa.cc').matchAll(/^#include "(\w+\.inl)"/gm)].map(([, name]) => name)
    expect(
      sources
        .filter((file) => file.endsWith('.inl'))
        .map((file) => path.basename(file))
        .sort(),
    ).toEqual(included.sort())
  })

  test('the gyp targets of an architecture are those that the addon links', () => {
    const { targets, conditions } = gyp()
    const addon = targets.find(({ target_name }) => target_name === 'bertkit')
    for (const arch of ['x64', 'arm64']) {
      const linked = (addon?.conditions ?? [])
        .filter(([when]) => when.includes(`'${arch}'`))
        .flatMap(([, then]) => then.dependencies ?? [])
      const built = conditions
        .filter(([when]) => when.includes(`'${arch}'`))
        .flatMap(([, then]) => then.targets.map((target) => target.target_name))
      expect(linked.sort()).toEqual(built.sort())
    }
    const elsewhere = conditions.filter(([when]) => !when.includes("OS=='linux'"))
    for (const { cflags_cc, xcode_settings } of elsewhere.flatMap(([, then]) => then.targets))
      expect(xcode_settings?.OTHER_CPLUSPLUSFLAGS).toEqual(cflags_cc)
  })

  test('never relax floating point for the whole process', () => {
    for (const file of ['CMakeLists.txt', 'binding.gyp'])
      expect(read(file).replace(/#.*/g, '')).not.toMatch(/-ffast-math|-Ofast/)
  })
})

describe('package.json', () => {
  const manifest = JSON.parse(read('package.json'))
  const lock = JSON.parse(read('package-lock.json'))

  test('has no install script, and npm builds nothing by itself', () => {
    expect(Object.keys(manifest.scripts).filter((name) => /^(pre|post)?install$|^prepare$/.test(name))).toEqual([])
    expect(manifest.gypfile).toBe(false)
    // npm runs a script preX before X by itself
    const names = Object.keys(manifest.scripts)
    expect(names.filter((name) => names.includes(name.replace(/^(pre|post)/, '')) && /^(pre|post)/.test(name))).toEqual(
      [],
    )
  })

  test.each(['.', 'docs/site', 'test/runtimes'])(
    'the lock file in %s knows every platform and no particular registry',
    (folder) => {
      interface Entry {
        readonly resolved?: string
        readonly optionalDependencies?: Record<string, string>
      }
      const { packages } = JSON.parse(read(path.join(folder, 'package-lock.json')))
      const entries: [string, Entry][] = Object.entries(packages)
      const missing = entries.flatMap(([place, { optionalDependencies = {} }]) =>
        Object.keys(optionalDependencies).filter(
          (name) => !packages[`node_modules/${name}`] && !packages[`${place}/node_modules/${name}`],
        ),
      )
      expect(missing).toEqual([])
      expect(entries.filter(([, { resolved }]) => resolved !== undefined).map(([place]) => place)).toEqual([])
    },
  )

  test('the lock file belongs to this package.json', () => {
    const { name, version, engines, devDependencies } = lock.packages['']
    expect({ name, version, engines, devDependencies }).toEqual({
      name: manifest.name,
      version: manifest.version,
      engines: manifest.engines,
      devDependencies: manifest.devDependencies,
    })
  })
})
