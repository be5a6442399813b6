import { it } from 'vitest'
import { conformance } from './conformance.ts'
import { missing, openCuda } from './cuda/library.ts'
import { recorded } from './cuda/recording.ts'

if (missing) it.skip(`cuda (${missing})`)
else conformance('cuda', recorded(openCuda), [1])
