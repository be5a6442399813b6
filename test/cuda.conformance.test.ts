import { it } from 'vitest'
import { conformance } from './conformance.ts'
import { missing, openCuda } from './cuda/library.ts'

if (missing) it.skip(`cuda (${missing})`)
else conformance('cuda', openCuda)
