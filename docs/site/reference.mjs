// Pages that are made of what the program says of itself: the help of its commands, and the table of training arguments.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const COMMANDS = [
  '',
  'train',
  'pretrain',
  'evaluate',
  'predict',
  'fill-mask',
  'generate',
  'tokenizer train',
  'export',
  'info',
  'demo',
  'build-native',
]

function commandLine(root) {
  const main = path.join(root, 'dist', 'cli', 'main.js')
  const help = (command) =>
    execFileSync(process.execPath, [main, ...command.split(' ').filter(Boolean), '--help'], {
      encoding: 'utf8',
      env: { ...process.env, COLUMNS: '100' },
    })
  const general = help('')
  const missing = [...general.matchAll(/^ {2}([a-z][\w-]*) /gm)]
    .map(([, name]) => name)
    .filter((name) => name !== 'help' && !COMMANDS.some((command) => command.split(' ')[0] === name))
  const sections = [...COMMANDS, ...missing].map(
    (command) => `## ${`bertkit ${command}`.trim()}\n\n\`\`\`text\n${help(command).trim()}\n\`\`\`\n`,
  )
  return `---\noutline: 2\n---\n# Command line\n\nWhat each command says with \`--help\`. [Fine-tuning](../fine-tuning.md) shows them at work.\n\n${sections.join('\n')}`
}

/** The text of a cell of a table, with nothing in it that Markdown or Vue would read. */
const cell = (text) => text.replace(/[|<>]/g, (character) => `&#${character.charCodeAt(0)};`)

async function trainingArguments(root) {
  const url = pathToFileURL(path.join(root, 'dist', 'train', 'argument-rules.js'))
  const { argumentRules } = await import(url.href)
  const rows = Object.entries(argumentRules).map(
    ([name, { expects, fallback, help }]) =>
      `| \`${name}\` | \`${JSON.stringify(fallback)}\` | ${cell(help)} | ${cell(expects)} |`,
  )
  return `# Training arguments

What the option \`args\` of a [Trainer](../api/classes/Trainer.md) may have: names and defaults of Transformers in camelCase. On the
command line they are flags (\`learningRate\` is \`--learning-rate\`), some with other defaults: see [bertkit train](command-line.md#bertkit-train).

| name | default | what it is | expected |
|---|---|---|---|
${rows.join('\n')}
`
}

export async function writeReference(root, pages) {
  const folder = path.join(pages, 'reference')
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(path.join(folder, 'command-line.md'), commandLine(root))
  fs.writeFileSync(path.join(folder, 'training-arguments.md'), await trainingArguments(root))
}
