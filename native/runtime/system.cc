#include "system.h"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "pool.h"

namespace bk {
namespace {

struct Threads {
  std::mutex mutex;
  std::condition_variable wake;
  std::thread workers[kMaxThreads];
};

// Never destroyed: a worker may outlive the static destructors of a process that exits in the middle of a run.
Threads& threads() {
  static Threads* t = new Threads;
  return *t;
}

}  // namespace

double clock_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void yield_cpu() { std::this_thread::yield(); }

void sleep_while(Atomic<uint32_t>& word, uint32_t seen) {
  Threads& t = threads();
  std::unique_lock<std::mutex> lock(t.mutex);
  t.wake.wait(lock, [&] { return word.load() != seen; });
}

void wake_all(Atomic<uint32_t>&) {
  Threads& t = threads();
  std::lock_guard<std::mutex> lock(t.mutex);
  t.wake.notify_all();
}

bool thread_start(int index) {
  try {
    threads().workers[index] = std::thread(pool_work, index);
    return true;
  } catch (const std::exception&) {  // std::system_error, or std::bad_alloc for the thread's own state
    return false;
  }
}

void threads_join(int count) {
  for (int i = 1; i < count; i++) threads().workers[i].join();
}

}  // namespace bk
