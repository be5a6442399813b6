// CUDA's runtime and its language for kernels, as far as native/cuda uses them, on the CPU: what its sources include as <cuda_runtime.h>
// when a C++ compiler builds them with BK_CUDA_EMULATED. It is for tests. It runs one block after another, each thread of a block as a
// fiber until it waits for others, and is stricter than a device: what would hang or corrupt there ends the launch with an error here.
//
// What a test may set in the environment, read when devices are counted:
//   BK_CUDA_EMULATED                  no-driver, no-device, old-driver: what is wrong with this computer
//   BK_CUDA_EMULATED_CAPABILITY       9.0 unless given; says how much shared memory a block may have, and which kernels are taken
//   BK_CUDA_EMULATED_MULTIPROCESSORS  4 unless given
//   BK_CUDA_EMULATED_BYTES            memory of the device, 4 GB unless given
//   BK_CUDA_EMULATED_FAIL             n: the n-th kernel from now on accesses an illegal address, and nothing works from then on
//   BK_CUDA_EMULATED_ORDER            reverse: the last block, warp and lane first, so that what depends on an order shows
//   BK_CUDA_EMULATED_HIDE             1: device memory cannot be touched by the host, at the price of two calls of the system for each
//                                     operation
#pragma once
#include "emulation/runtime.h"
#include "emulation/launch.h"
#include "emulation/threads.h"
#include "emulation/math.h"
#include "emulation/atomics.h"
