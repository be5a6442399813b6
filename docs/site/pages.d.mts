export const SIDEBAR: readonly { text: string; items: readonly (readonly [title: string, page: string])[] }[]
export const PAGES_OUTSIDE: readonly string[]
export function pageOf(file: string): string | undefined
