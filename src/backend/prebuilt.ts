/** The packages of native kernels are SCOPE/linux-x64 and so on. */
export const SCOPE = '@bertkit'

/**
 * By platform: the SHA-256 of the addon that was released with this version. Empty in a checkout; scripts/pack.mjs writes the module anew, a
 * module so that it is also in a bundle.
 */
export const SUMS: Readonly<Record<string, string>> = {}
