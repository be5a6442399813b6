/** HTML that may stand in a page as it is. */
export class Markup {
  constructor(readonly text: string) {}
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Text for an element or a quoted attribute. */
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character])

type Inserted = string | number | Markup | readonly Markup[]

function textOf(value: Inserted): string {
  if (value instanceof Markup) return value.text
  if (typeof value === 'string' || typeof value === 'number') return escaped(String(value))
  return value.map(({ text }) => text).join('')
}

/** A template of HTML; what is inserted is text and gets escaped, unless it is markup itself. */
export const html = (strings: TemplateStringsArray, ...values: readonly Inserted[]): Markup =>
  new Markup(strings.reduce((page, text, i) => page + textOf(values[i - 1]) + text))

/** A value as JSON inside a script element: no text in it can end the element or begin a comment. NaN and infinities are null. */
export const jsonScript = (value: unknown): Markup => new Markup(JSON.stringify(value).replaceAll('<', '\\u003c'))
