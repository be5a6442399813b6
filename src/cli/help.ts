// How --help is laid out: no line is longer than the terminal is wide, or than 80 characters where there is none.
import { type Command, Help, type HelpConfiguration } from 'commander'

/** Columns that a description needs beside its term; with fewer it stands below, where commander would not wrap it at all. */
const ROOM = 40
const PIPED_WIDTH = 80
const TERM_INDENT = 2
const INDENT = 6

export const HELP: HelpConfiguration = {
  sortSubcommands: false,
  // what is set below never is so narrow that wrapping makes it worse
  minWidthToWrap: 10,
  formatItem(term, termWidth, description, helper) {
    const width = helper.helpWidth ?? PIPED_WIDTH
    const isWide = width - termWidth - 2 * TERM_INDENT < ROOM
    if (!isWide || description === '')
      return Help.prototype.formatItem.call(helper, term, termWidth, description, helper)
    const [indent, wrapped] = [' '.repeat(INDENT), helper.boxWrap(description, width - INDENT)]
    return `${' '.repeat(TERM_INDENT)}${term}\n${wrapped.replace(/^/gm, indent)}`
  },
}

/** Adds a paragraph after the options of a command. */
export const addHelpParagraph = (command: Command, text: string): Command =>
  command.addHelpText('after', () => {
    const width = command.configureOutput().getOutHelpWidth?.() ?? PIPED_WIDTH
    return `\n${command.createHelp().boxWrap(text, width)}`
  })
