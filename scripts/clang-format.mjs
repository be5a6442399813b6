// Formats the C++ and CUDA of native/ and test/native/ with clang-format and the rules of .clang-format.
//   node scripts/clang-format.mjs [--check]     --check changes nothing and fails when a file is not formatted
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
// ops.def is a table whose lines are read by scripts/ops-table.mjs too.
const isSource = (file) => /\.(cc|cu|cuh|h|inl)$/.test(file)
const sources = ['native', path.join('test', 'native')]
  .filter((folder) => fs.existsSync(path.join(root, folder)))
  .flatMap((folder) =>
    fs.readdirSync(path.join(root, folder), { recursive: true }).map((file) => path.join(folder, file)),
  )
  .filter(isSource)
  .sort()

const check = process.argv.includes('--check')
const mode = check ? ['--dry-run', '--Werror'] : ['-i']
const { status, error } = spawnSync('clang-format', [...mode, '--style=file', ...sources], {
  cwd: root,
  stdio: 'inherit',
})
if (error) {
  console.error(`clang-format is needed (sudo apt-get install clang-format): ${error.message}`)
  process.exit(1)
}
if (status !== 0 && check) console.error('Some C++ is not formatted: npm run format')
else if (check) console.log(`clang-format: ${sources.length} files are formatted`)
process.exitCode = status === 0 ? 0 : 1
