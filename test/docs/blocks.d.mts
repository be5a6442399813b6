export const root: string

export interface Block {
  readonly file: string
  /** Of its fence. */
  readonly line: number
  readonly language: string
  readonly what: 'program' | 'continue' | 'file' | 'output' | 'data'
  /** Of a program: what runs it. */
  readonly where?: 'here' | 'server' | 'ci' | `test/${string}`
  /** The file of examples/ that it is. */
  readonly copyOf?: string
  readonly code: string
}

/** One program: a block and those that go on with it. */
export interface Program {
  readonly name: string
  readonly file: string
  readonly line: number
  readonly language: 'js' | 'sh'
  readonly where: 'here' | 'server' | 'ci' | `test/${string}`
  readonly code: string
  /** Lines that it prints. */
  readonly prints: readonly string[]
}

export function pages(): string[]
export function read(file: string): string
export function blocksOf(file: string): Block[]
export function programsOf(file: string): Program[]
export function programsFor(test: string): { take(file: string, part: string): string; left(): string[] }
