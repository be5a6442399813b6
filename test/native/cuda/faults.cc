// Accesses that a device would refuse: this computer does, with a signal, and the launch fails.
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "emulation.h"

namespace cuda_emulation {
namespace {

pthread_t runner;  // which runs blocks, or has done so last
struct sigaction before_segv, before_bus, before_ill;

/** An access that a device would refuse, or one of the traps that the compiler has put where the program means nothing. */
void on_signal(int signal, siginfo_t* info, void* context) {
  if (!in_kernel() || !pthread_equal(runner, pthread_self())) {  // not a kernel's: whoever was asked before
    struct sigaction& before = signal == SIGSEGV ? before_segv : signal == SIGBUS ? before_bus : before_ill;
    if (before.sa_flags & SA_SIGINFO)
      before.sa_sigaction(signal, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
      before.sa_handler(signal);
    else
      sigaction(signal, &before, nullptr);  // and the same instruction again
    return;
  }
  uintptr_t code = 0;
#if defined(__x86_64__)
  code = (uintptr_t)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  code = (uintptr_t)((ucontext_t*)context)->uc_mcontext.pc;
#endif
  Dl_info where = {};
  dladdr((void*)code, &where);
  char what[200] = "an access that is not aligned, an index outside an array, or a shift by too much", text[800];
  if (signal != SIGILL) describe_address(info->si_addr, what, sizeof(what));
  snprintf(text, sizeof(text), "%s: addr2line -Cfipe %s 0x%" PRIxPTR, what, where.dli_fname ? where.dli_fname : "?", code - (uintptr_t)where.dli_fbase);
  give_up(signal == SIGILL ? cudaErrorMisalignedAddress : cudaErrorIllegalAddress, text);
}

}  // namespace

void arm_faults() {
  static bool armed = false;
  if (armed && pthread_equal(runner, pthread_self())) return;
  runner = pthread_self();
  if (!armed) {
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // it does not return from a kernel's
    sigaction(SIGSEGV, &action, &before_segv);
    sigaction(SIGBUS, &action, &before_bus);
    sigaction(SIGILL, &action, &before_ill);
    armed = true;
  }
  stack_t stack = {};
  sigaltstack(nullptr, &stack);
  if (!(stack.ss_flags & SS_DISABLE)) return;
  stack.ss_flags = 0;
  stack.ss_size = 64 << 10;
  stack.ss_sp = mmap(nullptr, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack.ss_sp != MAP_FAILED) sigaltstack(&stack, nullptr);
}

}  // namespace cuda_emulation
