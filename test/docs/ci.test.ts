// Commands of a checkout that the pages print and that take minutes, such as `npm test`: .ci/run runs every one of them.
import { describe, expect, test } from 'vitest'
import { pages, programsOf, read } from './blocks.mjs'

interface Command {
  readonly variables: readonly string[]
  readonly words: string
}

/** Commands of a script without comments: `env A=1 npm run --silent x -- y` and `A=1 npm run x -- y` are the same. */
function commandsOf(script: string): Command[] {
  return script
    .replace(/(^|\s)#.*$/gm, '')
    .split(/\n|&&|\|\||;/)
    .map((line) =>
      line
        .trim()
        .replace(/^(?:check '[^']*' )?(?:env )?/, '')
        .replace('npm run --silent ', 'npm run '),
    )
    .filter((line) => line !== '')
    .map((line) => {
      const [variables = ''] = /^(?:\w+=\S* )+/.exec(line) ?? []
      return { variables: variables.trim().split(' ').filter(Boolean), words: line.slice(variables.length) }
    })
}

const run = commandsOf(read('.ci/run'))
const isRun = ({ variables, words }: Command) =>
  run.some((each) => each.words === words && variables.every((variable) => each.variables.includes(variable)))

describe('.ci/run runs', () => {
  const blocks = pages()
    .flatMap(programsOf)
    .filter(({ where }) => where === 'ci')
  test.each(blocks.map(({ name, code }) => [name, code]))('the commands of %s', (_, code) => {
    const commands = commandsOf(code)
    expect(commands.length).toBeGreaterThan(0)
    expect(commands.filter((command) => !isRun(command))).toEqual([])
  })

  test('no command that it does not have', () => {
    const [slower] = commandsOf('npm test -- --slower')
    const [elsewhere] = commandsOf('BERTKIT_ISA=none npm test')
    expect([isRun(slower), isRun(elsewhere), isRun(commandsOf('npm test # all')[0])]).toEqual([false, false, true])
  })
})
