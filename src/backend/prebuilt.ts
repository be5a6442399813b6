/** The main package. Its name, and the scope, are those of scripts/platforms.mjs too. */
export const MAIN = 'bertkit'

/** The packages of native kernels are SCOPE/linux-x64 and so on. */
export const SCOPE = '@bertkit'

/** What was released together. `sums`: by platform, the SHA-256 of its addon. */
export interface Release {
  readonly version: string
  readonly sums: Readonly<Record<string, string>>
}

/** Undefined in a checkout; scripts/pack.mjs fills it in, in a module so that it is also in a bundle. */
export const RELEASE = undefined as Release | undefined
