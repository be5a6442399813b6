// Stacks and the switch from one to another, which no system call is made for.
#pragma once
#include <stddef.h>

namespace cuda_emulation {

/** Goes on where `to` was saved, and saves where to go on here. */
extern "C" void bk_fiber_switch(void** save, void* to);

constexpr int kMaxFibers = 1024;
constexpr size_t kFiberStack = 256 << 10;

/** Prepares stack `index`: whoever switches to what is returned calls `start`, which does not return. */
void* fiber_prepare(int index, void (*start)());

}  // namespace cuda_emulation
