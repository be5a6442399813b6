/** A line outside of fences, or a whole fence. */
export interface MarkdownPart {
  /** The number of its first line. */
  line: number
  text?: string
  info?: string
  lines?: string[]
}
export function slugOf(heading: string): string
export function partsOf(markdown: string): MarkdownPart[]
export function anchorsOf(markdown: string): Set<string>
export function mapLinks(markdown: string, replace: (target: string, line: number) => string): string
export function linksOf(markdown: string): { target: string; line: number }[]
export function isExternal(target: string): boolean
