// What `npm start`, `npm test`, `npm run build`, `npm run bench` and `npm run test:long` do, from a fresh checkout on. Plain Node
// without a dependency, because it is what installs them. What it says goes to standard error: the output belongs to the programs.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root, Stop } from './command.mjs'

const at = (...parts) => path.join(root, ...parts)
const say = (text) => process.stderr.write(`${text}\n`)

// Ctrl-C reaches the child too, and the child decides what it means; this process only waits for it.
process.on('SIGINT', () => {})

/** Runs a program and returns its exit code; 128 + n after signal n, as a shell says it. */
function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', ...options })
    const terminate = () => child.kill('SIGTERM')
    process.once('SIGTERM', terminate)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      process.removeListener('SIGTERM', terminate)
      resolve(code ?? 128 + os.constants.signals[signal])
    })
  })
}

const node = (...args) => run(process.execPath, args)

/** Runs a program whose output matters only when it fails; then it is shown. */
async function quietly(what, command, args, env = process.env) {
  const started = performance.now()
  const log = []
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => log.push(chunk))
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) {
    process.stderr.write(Buffer.concat(log))
    throw new Stop(`bertkit: ${what} failed (the output is above)`)
  }
  const seconds = (performance.now() - started) / 1000
  if (seconds >= 1) say(`${what}: ${seconds.toFixed(0)} s`)
}

const atLeast = (version, wanted) => version.localeCompare(wanted, 'en', { numeric: true }) >= 0
const succeeds = (command, args, input) => {
  const { status, stdout } = spawnSync(command, args, { input, encoding: 'utf8' })
  return status === 0 ? stdout || 'yes' : undefined
}

/** One sentence for each tool that is missing or too old, with how to get it. */
function missingTools() {
  const missing = []
  const install = (apt, brew) =>
    ({ linux: `sudo apt-get install ${apt}`, darwin: brew })[process.platform] ?? `install ${apt}`
  const wantedNode = /\d+[\d.]*/.exec(JSON.parse(fs.readFileSync(at('package.json'), 'utf8')).engines.node)[0]
  if (!atLeast(process.versions.node, wantedNode))
    missing.push(
      `Node.js ${wantedNode} or newer is needed and this is ${process.versions.node}: see https://nodejs.org`,
    )
  if (process.platform !== 'win32') {
    const compilers = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']
    // std::optional came with C++17: a compiler or a library from before it fails here
    const program = '#include <optional>\nint main() { return std::optional<int>(0).value(); }\n'
    const compiles = (name) => {
      const [command, ...flags] = name.trim().split(/\s+/)
      return succeeds(command, [...flags, '-std=c++17', '-fsyntax-only', '-x', 'c++', '-'], program)
    }
    if (!compilers.some(compiles))
      missing.push(
        `A C++17 compiler is needed and ${compilers.join(', ')} cannot compile C++17: ${install('g++', 'xcode-select --install')}`,
      )
    const buildPrograms = ['ninja', 'make']
    if (!buildPrograms.some((name) => succeeds(name, ['--version'])))
      missing.push(`Ninja or Make is needed and neither is there: ${install('ninja-build', 'xcode-select --install')}`)
  }
  const wantedCmake = /cmake_minimum_required\(VERSION ([\d.]+)/.exec(fs.readFileSync(at('CMakeLists.txt'), 'utf8'))[1]
  const foundCmake = /\d+(\.\d+)+/.exec(succeeds('cmake', ['--version']) ?? '')?.[0]
  if (!foundCmake || !atLeast(foundCmake, wantedCmake))
    missing.push(
      `CMake ${wantedCmake} or newer is needed and ${foundCmake ? `this is ${foundCmake}` : 'there is none'}: ${install('cmake', 'brew install cmake')}`,
    )
  return missing
}

const modified = (file) => (fs.existsSync(file) ? fs.statSync(file).mtimeMs : 0)

async function install() {
  // npm writes its own copy of the lock file last
  if (modified(at('node_modules', '.package-lock.json')) >= modified(at('package-lock.json'))) return
  const npm = process.env.npm_execpath
  const [command, args] = npm ? [process.execPath, [npm]] : ['npm', []]
  // the CPU's libraries are in onnxruntime-node; its install script would fetch those of CUDA
  const environment = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' }
  await quietly('npm ci', command, [...args, 'ci', '--include=dev', '--no-audit', '--no-fund'], environment)
}

async function build() {
  const missing = missingTools()
  if (missing.length > 0) throw new Stop(missing.join('\n'))
  await install()
  await quietly('the list of ops', process.execPath, ['scripts/ops-table.mjs', '--check'])
  const threads = String(os.availableParallelism())
  const cmake = at('node_modules', 'cmake-js', 'bin', 'cmake-js')
  await quietly('building the native kernels', process.execPath, [cmake, 'compile', '--parallel', threads])
  await quietly('compiling TypeScript', process.execPath, [at('node_modules', 'typescript', 'bin', 'tsc'), '-p', '.'])
}

/** Counts of vitest's JSON report; a file that could not be loaded is one failure, and so is a report that is not there. */
function countTests(reportFile, code) {
  if (!fs.existsSync(reportFile)) return { passed: 0, failed: 1, skipped: 0 }
  const report = JSON.parse(fs.readFileSync(reportFile, 'utf8'))
  const unloadable = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length
  const failed = report.numFailedTests + unloadable
  return {
    passed: report.numPassedTests,
    // errors outside any test fail the run without failing a test
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}

async function test(args) {
  await build()
  const types = await node(at('node_modules', 'typescript', 'bin', 'tsc'), '--noEmit', '-p', 'test')
  say(types === 0 ? 'type check of the tests: passed' : 'type check of the tests: FAILED')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-report-'))
  try {
    const report = path.join(folder, 'report.json')
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
    const code = await node(at('node_modules', 'vitest', 'vitest.mjs'), 'run', ...reporters, ...args)
    const { passed, failed, skipped } = countTests(report, code)
    if (skipped > 0) say(`${skipped} skipped (the names say why)`)
    const failures = failed + (types === 0 ? 0 : 1)
    console.log(`${passed + (types === 0 ? 1 : 0)} passed, ${failures} failed`)
    return failures === 0 && code === 0 ? 0 : 1
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * The programs of test/long one after another. What has passed on this commit is not run again, so an interrupted campaign
 * continues; `--fresh` forgets it. Other arguments choose programs by name.
 */
async function testLong(args) {
  await build()
  const state = at('out', 'test-long.json')
  const commit = succeeds('git', ['-C', root, 'rev-parse', 'HEAD'])?.trim()
  const stored = !args.includes('--fresh') && fs.existsSync(state) ? JSON.parse(fs.readFileSync(state, 'utf8')) : {}
  const results = stored.commit === commit ? stored.results : {}
  const names = args.filter((arg) => !arg.startsWith('--'))
  const programs = fs
    .readdirSync(at('test', 'long'))
    .filter((file) => file.endsWith('.mjs'))
    .map((file) => file.slice(0, -4))
  const unknown = names.filter((name) => !programs.includes(name))
  if (unknown.length > 0)
    throw new Stop(`Expected names of test/long (${programs.join(', ')}) but received ${unknown.join(', ')}`)
  const chosen = names.length > 0 ? names : programs
  for (const name of chosen) {
    if (results[name]?.code === 0) continue
    say(`\n${name}`)
    const started = performance.now()
    const code = await node(at('test', 'long', `${name}.mjs`))
    results[name] = { code, minutes: Number(((performance.now() - started) / 60_000).toFixed(1)) }
    fs.mkdirSync(path.dirname(state), { recursive: true })
    fs.writeFileSync(state, JSON.stringify({ commit, results }, null, 2))
    if (code >= 128) throw new Stop(`${name} was stopped; the same command continues`)
  }
  console.table(chosen.map((name) => ({ name, passed: results[name].code === 0, minutes: results[name].minutes })))
  const passed = chosen.filter((name) => results[name].code === 0).length
  console.log(`${passed} passed, ${chosen.length - passed} failed`)
  return passed === chosen.length ? 0 : 1
}

const commands = {
  start: async (args) => {
    await build()
    return node(at('dist', 'cli', 'main.js'), 'demo', ...args)
  },
  build: async () => {
    await build()
    return 0
  },
  test,
  'test:long': testLong,
  bench: async (args) => {
    await build()
    return node(at('bench', 'main.mjs'), ...args)
  },
}

const [name, ...args] = process.argv.slice(2)
try {
  const command = commands[name]
  if (!command) throw new Stop(`Expected one of ${Object.keys(commands).join(', ')} but received ${name ?? 'nothing'}`)
  process.exitCode = await command(args)
} catch (error) {
  if (!(error instanceof Stop)) throw error
  say(error.message)
  process.exitCode = 1
}
