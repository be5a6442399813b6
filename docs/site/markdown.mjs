// What the site and the tests read of Markdown: its fences, its links, and the names of its headings.

/** The name of a heading's anchor, as GitHub makes it, so that a link works there and on the site. */
export const slugOf = (heading) =>
  heading
    .trim()
    .toLowerCase()
    .replace(/<[^>]*>|[^\p{L}\p{N}\p{M}\s_-]/gu, '')
    .replace(/\s/g, '-')

/** Lines outside of fences and whole fences, in their order: { text } or { fence, info, code }, each with the number of its first line. */
export function partsOf(markdown) {
  const parts = []
  let open
  for (const [i, line] of markdown.split('\n').entries()) {
    const [, indent, marks, info] = /^( *)(`{3,}|~{3,})(.*)$/.exec(line) ?? []
    if (open) {
      if (marks?.startsWith(open.marks) && info.trim() === '') open = undefined
      else open.lines.push(line.slice(Math.min(open.indent, line.search(/\S|$/))))
    } else if (marks) {
      open = { line: i + 1, marks, indent: indent.length, info: info.trim(), lines: [] }
      parts.push(open)
    } else parts.push({ line: i + 1, text: line })
  }
  if (open) throw new Error(`The fence of line ${open.line} is never closed`)
  return parts
}

/** Anchors that a page has: those of its headings. */
export function anchorsOf(markdown) {
  const anchors = new Set()
  for (const { text } of partsOf(markdown)) {
    const [, heading] = /^#{1,6} +(.*?)(?: +#+)?$/.exec(text ?? '') ?? []
    if (heading === undefined) continue
    // a link in a heading is its words
    const slug = slugOf(heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1'))
    let name = slug
    for (let count = 1; anchors.has(name); count++) name = `${slug}-${count}`
    anchors.add(name)
  }
  return anchors
}

/** Calls `replace(target, line)` for the target of every link and image that is not in code, and puts its answer there. */
export function mapLinks(markdown, replace) {
  const lines = markdown.split('\n')
  for (const { line, text } of partsOf(markdown)) {
    if (text === undefined) continue
    // pieces of code stay what they are
    lines[line - 1] = text.replace(/(`+)[^`].*?\1(?!`)|(\]\()([^)\s]+)(\))/g, (all, _, before, target, after) =>
      target === undefined ? all : `${before}${replace(target, line)}${after}`,
    )
  }
  return lines.join('\n')
}

/** Targets of the links and images of a page, with their lines. */
export function linksOf(markdown) {
  const links = []
  mapLinks(markdown, (target, line) => {
    links.push({ target, line })
    return target
  })
  return links
}

export const isExternal = (target) => /^[a-z][a-z0-9+.-]*:/i.test(target)
