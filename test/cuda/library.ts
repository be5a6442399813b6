// The CUDA library that the tests use: that of BERTKIT_CUDA_LIBRARY, else the one whose kernels the CPU emulates (test/native/cuda), since
// a machine for tests rarely has a GPU. build/tests has it after `cmake --build build/tests --target bertkit_cuda_emulated`.
import fs from 'node:fs'
import path from 'node:path'
import type { Backend } from '../../src/backend/backend.ts'
import { openNative } from '../../src/backend/native.ts'

export const library =
  process.env.BERTKIT_CUDA_LIBRARY ?? path.join(import.meta.dirname, '../../build/tests/libbertkit_cuda_emulated.so')

/** Why there is none; undefined where there is. */
export const missing = fs.existsSync(library) ? undefined : `there is no ${library}: BERTKIT_CUDA_LIBRARY`

export const openCuda = (): Backend => openNative({ library })
