#include "fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

namespace cuda_emulation {
namespace {

char* stacks = nullptr;
bool guarded[kMaxFibers];
constexpr size_t kGuard = 4096;

/** The end of a stack. Stacks begin at different places of a page: at the same, all threads' variables would share a few lines of a cache. */
char* stack_end(int index) {
  if (!stacks) {
    void* memory = mmap(nullptr, kMaxFibers * kFiberStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      perror("stacks of the emulated threads");
      abort();
    }
    madvise(memory, kMaxFibers * kFiberStack, MADV_NOHUGEPAGE);
    stacks = (char*)memory;
  }
  char* begin = stacks + index * kFiberStack;
  if (!guarded[index]) {
    mprotect(begin, kGuard, PROT_NONE);
    guarded[index] = true;
  }
  return begin + kFiberStack - (size_t)index * 29 % 61 * 64;
}

}  // namespace
}  // namespace cuda_emulation

#if defined(__x86_64__)

// What a function has to keep: six registers, and where it returns to.
asm(R"(
.text
.globl bk_fiber_switch
.hidden bk_fiber_switch
.type bk_fiber_switch, @function
bk_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size bk_fiber_switch, . - bk_fiber_switch
)");

void* cuda_emulation::fiber_prepare(int index, void (*start)()) {
  void** top = (void**)stack_end(index);
  *--top = nullptr;  // where `start` would return to; it begins as if called, 8 bytes beside a multiple of 16
  *--top = (void*)start;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  return top;
}

#elif defined(__aarch64__)

asm(R"(
.text
.globl bk_fiber_switch
.hidden bk_fiber_switch
.type bk_fiber_switch, %function
bk_fiber_switch:
  stp x19, x20, [sp, #-160]!
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  ldp x19, x20, [sp], #160
  ret
.size bk_fiber_switch, . - bk_fiber_switch
)");

void* cuda_emulation::fiber_prepare(int index, void (*start)()) {
  uint64_t* frame = (uint64_t*)stack_end(index) - 20;
  memset(frame, 0, 160);
  frame[11] = (uint64_t)start;  // x30
  return frame;
}

#else

#include <ucontext.h>

// Slow, as it asks the system for its signal mask each time, but it works on any processor.
namespace {
ucontext_t contexts[cuda_emulation::kMaxFibers];
}

extern "C" void cuda_emulation::bk_fiber_switch(void** save, void* to) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, (ucontext_t*)to);
}

void* cuda_emulation::fiber_prepare(int index, void (*start)()) {
  char* end = stack_end(index);
  ucontext_t* context = &contexts[index];
  getcontext(context);
  context->uc_stack.ss_sp = stacks + index * kFiberStack + kGuard;
  context->uc_stack.ss_size = (size_t)(end - (char*)context->uc_stack.ss_sp);
  context->uc_link = nullptr;
  makecontext(context, start, 0);
  return context;
}

#endif
