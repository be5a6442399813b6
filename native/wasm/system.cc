// WebAssembly's system: threads are workers of the host that have entered bk_thread_run in instances of their own.
#include "../runtime/system.h"

#include "../api.h"
#include "../runtime/pool.h"

extern "C" __attribute__((import_module("env"), import_name("now"))) double host_now(void);  // milliseconds

namespace bk {

double clock_seconds() { return host_now() / 1000; }

#if defined(__wasm_atomics__)

namespace {

Atomic<int> entered;               // threads that are in bk_thread_run
Atomic<uint32_t> failed;           // not 0: a thread has trapped, and its task will never be done
constexpr int64_t kYield = 50000;  // nanoseconds

}  // namespace

void pause_cpu() {
  for (int i = 0; i < 32; i++) asm volatile("");
}

void yield_cpu() {
  if (__builtin_wasm_memory_atomic_wait32((int*)&failed.value, 0, kYield) == 1) __builtin_trap();  // 1: it is not 0
}

void sleep_while(Atomic<uint32_t>& word, uint32_t seen) { __builtin_wasm_memory_atomic_wait32((int*)&word.value, (int)seen, -1); }

void wake_all(Atomic<uint32_t>& word) { __builtin_wasm_memory_atomic_notify((int*)&word.value, ~0u); }

bool thread_start(int index) { return index <= entered.load(); }

void threads_join(int) {
  while (entered.load() > 0) yield_cpu();
}

#else  // one thread: the pool never has a worker

void pause_cpu() {}
void yield_cpu() {}
void sleep_while(Atomic<uint32_t>&, uint32_t) {}
void wake_all(Atomic<uint32_t>&) {}
bool thread_start(int) { return false; }
void threads_join(int) {}

#endif

}  // namespace bk

void bk_thread_stack(void* top) { asm volatile(".globaltype __stack_pointer, i32\nlocal.get %0\nglobal.set __stack_pointer" ::"r"(top)); }

void bk_thread_failed(void) {
#if defined(__wasm_atomics__)
  bk::failed.store(1);
  bk::wake_all(bk::failed);
#endif
}

void bk_thread_run(void) {
#if defined(__wasm_atomics__)
  const int index = bk::entered.fetch_add(1) + 1;
  if (index < bk::kMaxThreads) bk::pool_work(index);
  bk::entered.fetch_sub(1);
#endif
}
