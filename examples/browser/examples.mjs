// Labelled examples from a CSV file. Every mistake is an Error that says what to do.

const DELIMITERS = [',', ';', '\t']

/** The rows of a CSV by RFC 4180, with the line where each begins; the header says what separates the cells. */
function* rowsOf(text) {
  const [header] = text.split(/\r?\n/, 1)
  const count = (delimiter) => header.split(delimiter).length
  const delimiter = DELIMITERS.reduce((best, each) => (count(each) > count(best) ? each : best))
  // a cell, quoted or not, and what ends it
  const cell = new RegExp(`(?:"([^"]*(?:""[^"]*)*)"|([^"${delimiter}\\r\\n]*))(${delimiter}|\\r?\\n|$)`, 'y')
  let cells = []
  let line = 1
  let first = 1
  while (cell.lastIndex < text.length || cells.length > 0) {
    const match = cell.exec(text)
    if (!match)
      throw new Error(
        `Line ${line}: a quote is not closed, or stands within a cell. Quote the whole cell and double the quotes in it.`,
      )
    const [whole, quoted, plain, end] = match
    cells.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'))
    line += whole.split('\n').length - 1
    if (end === delimiter) continue
    if (cells.some((each) => each !== '')) yield { cells, line: first }
    cells = []
    first = line
  }
}

/** The examples `{ text, label }` of a file with the columns text and label. */
export async function readCsv(file) {
  let content
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer())
  } catch {
    throw new Error(`${file.name} is not text in UTF-8. Save it again as “CSV UTF-8” and choose it once more.`)
  }
  const rows = rowsOf(content)
  const header = rows.next().value?.cells.map((name) => name.trim().toLowerCase())
  if (!header) throw new Error(`${file.name} is empty. Its first line should be: text,label`)
  const columns = ['text', 'label'].map((name) => {
    const column = header.indexOf(name)
    if (column >= 0) return column
    throw new Error(
      `${file.name} has no column “${name}”: its first line names ${header.map((each) => `“${each}”`).join(', ')}. Name the column with the ${name}s “${name}” there, and choose the file once more.`,
    )
  })
  const examples = []
  for (const { cells, line } of rows) {
    const [text, label] = columns.map((column) => cells[column]?.trim())
    if (!text || !label)
      throw new Error(`${file.name}, line ${line}: there is no ${text ? 'label' : 'text'}. Add it, or remove the line.`)
    examples.push({ text, label })
  }
  if (examples.length === 0) throw new Error(`${file.name} has a first line and no examples below it.`)
  return examples
}
