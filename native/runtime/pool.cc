#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <exception>
#include <thread>

#include "pages.h"

namespace bk {
namespace {

constexpr int kSpins = 4000;  // some 50 us of pauses: longer than the gap between two records, shorter than anyone would notice

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A section is a ticket: its number in the high half, the tasks still unclaimed in the low half. A thread claims a task by counting
// the low half down while the high half stays the same, so a late thread can never take part in a section that has ended, and
// the fields below are stable from a successful claim until the task is counted as done.
struct Pool {
  std::atomic<uint64_t> ticket{0};
  std::atomic<int> done{0};
  std::atomic<int> threads{1};
  int tasks = 0;
  Task task = nullptr;
  void* argument = nullptr;

  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<int> sleepers{0};
  std::atomic<bool> stopping{false};
  std::thread workers[kMaxThreads];
  int count = 1;  // threads, the caller included

  char* scratch[kMaxThreads] = {};
  size_t scratch_bytes[kMaxThreads] = {};
};

// Never destroyed: a worker may outlive the static destructors of a process that exits in the middle of a run.
Pool& pool() {
  static Pool* p = new Pool;
  return *p;
}

/** Takes tasks of the current section until none is left. */
void work(Pool& p, int thread) {
  uint64_t ticket = p.ticket.load(std::memory_order_acquire);
  while ((uint32_t)ticket != 0) {
    // asked again for each ticket: a late thread may meet a section of a smaller engine, which has no scratch for it
    if (thread >= p.threads.load(std::memory_order_relaxed)) return;
    if (!p.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    const int index = p.tasks - (int)(uint32_t)ticket;
    p.task(p.argument, index, thread);
    p.done.fetch_add(1, std::memory_order_release);
    ticket = p.ticket.load(std::memory_order_acquire);
  }
}

void worker(int thread) {
  Pool& p = pool();
  uint64_t seen = ~0ull;
  for (;;) {
    int spins = 0;
    uint64_t ticket;
    while ((ticket = p.ticket.load(std::memory_order_acquire)) >> 32 == seen >> 32 || (uint32_t)ticket == 0) {
      if (p.stopping.load(std::memory_order_acquire)) return;
      if (++spins < kSpins) {
        pause_cpu();
        continue;
      }
      std::unique_lock<std::mutex> lock(p.mutex);
      p.sleepers.fetch_add(1);
      // the section is published before sleepers is read, and sleepers is raised before the ticket is read: one side sees the other
      p.wake.wait(lock, [&] { return p.stopping.load() || ((p.ticket.load() >> 32 != seen >> 32) && (uint32_t)p.ticket.load() != 0); });
      p.sleepers.fetch_sub(1);
      spins = 0;
    }
    seen = ticket;
    work(p, thread);
  }
}

}  // namespace

int pool_grow(int threads) {
  Pool& p = pool();
  if (threads > kMaxThreads) threads = kMaxThreads;
  p.stopping.store(false);
  try {
    for (; p.count < threads; p.count++) {
      const int index = p.count;
      p.workers[index] = std::thread(worker, index);
    }
  } catch (const std::exception&) {  // the system gives no more threads: go on with those there are
  }
  return threads < p.count ? threads : p.count;
}

void pool_run(int threads, int tasks, Task task, void* argument) {
  if (tasks <= 0) return;
  if (threads <= 1 || tasks == 1) {
    for (int i = 0; i < tasks; i++) task(argument, i, 0);
    return;
  }
  Pool& p = pool();
  p.task = task;
  p.argument = argument;
  p.tasks = tasks;
  p.threads.store(threads, std::memory_order_relaxed);
  p.done.store(0, std::memory_order_relaxed);
  const uint64_t section = (p.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  p.ticket.store(section << 32 | (uint32_t)tasks);
  if (p.sleepers.load() > 0) {
    std::lock_guard<std::mutex> lock(p.mutex);
    p.wake.notify_all();
  }
  work(p, 0);
  for (int spins = 0; p.done.load(std::memory_order_acquire) != tasks; spins++) {
    if (spins < kSpins)
      pause_cpu();
    else
      std::this_thread::yield();
  }
}

void pool_stop() {
  Pool& p = pool();
  {
    std::lock_guard<std::mutex> lock(p.mutex);
    p.stopping.store(true);
    p.wake.notify_all();
  }
  for (int i = 1; i < p.count; i++) p.workers[i].join();
  p.count = 1;
  for (int i = 0; i < kMaxThreads; i++) {
    pages_free(p.scratch[i], p.scratch_bytes[i]);
    p.scratch[i] = nullptr;
    p.scratch_bytes[i] = 0;
  }
}

bool pool_reserve(int threads, size_t bytes) {
  Pool& p = pool();
  for (int i = 0; i < threads; i++) {
    if (p.scratch_bytes[i] >= bytes) continue;
    char* larger = (char*)pages_allocate(bytes);
    if (!larger) return false;
    pages_free(p.scratch[i], p.scratch_bytes[i]);
    p.scratch[i] = larger;
    p.scratch_bytes[i] = bytes;
  }
  return true;
}

char* const* pool_scratch() { return pool().scratch; }

}  // namespace bk
