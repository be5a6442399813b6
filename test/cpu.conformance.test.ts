import { openNative } from '../src/backend/native.ts'
import { conformance } from './conformance.ts'

const isas = process.env.BERTKIT_ISA ? [process.env.BERTKIT_ISA] : openNative().description.isas
for (const isa of isas) conformance(`cpu ${isa}`, ({ threads = 2 } = {}) => openNative({ isa, threads }))
