#include "pool.h"

#include "pages.h"
#include "system.h"

namespace bk {
namespace {

constexpr int kSpins = 4000;  // some 50 us of pauses: longer than the gap between two records, shorter than anyone would notice

// A section is a ticket: its number in the high half, the tasks still unclaimed in the low half. A thread claims a task by counting
// the low half down while the high half stays the same, so a late thread can never take part in a section that has ended, and
// the fields below are stable from a successful claim until the task is counted as done.
struct Pool {
  Atomic<uint64_t> ticket;
  Atomic<int> done;
  Atomic<int> threads;
  int tasks;
  Task task;
  void* argument;

  Atomic<uint32_t> news;  // changes with every section and when the pool stops: what sleepers look at
  Atomic<int> sleepers;
  Atomic<bool> stopping;
  int count;  // threads, the caller included; 0 before the first grow

  char* scratch[kMaxThreads];
  int64_t scratch_bytes[kMaxThreads];
};

Pool pool;  // plain data, so that it exists before and after everything static

void tell_sleepers(Pool& p) {
  p.news.fetch_add(1);
  if (p.sleepers.load() > 0) wake_all(p.news);
}

/** Takes tasks of the current section until none is left. */
void work(Pool& p, int thread) {
  uint64_t ticket = p.ticket.load(__ATOMIC_ACQUIRE);
  while ((uint32_t)ticket != 0) {
    // asked again for each ticket: a late thread may meet a section of a smaller engine, which has no scratch for it
    if (thread >= p.threads.load(__ATOMIC_RELAXED)) return;
    if (!p.ticket.compare_exchange(ticket, ticket - 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
    const int index = p.tasks - (int)(uint32_t)ticket;
    p.task(p.argument, index, thread);
    p.done.fetch_add(1, __ATOMIC_RELEASE);
    ticket = p.ticket.load(__ATOMIC_ACQUIRE);
  }
}

}  // namespace

void pool_work(int thread) {
  Pool& p = pool;
  uint64_t seen = ~0ull;
  for (;;) {
    int spins = 0;
    for (;;) {
      const uint32_t news = p.news.load();
      const uint64_t ticket = p.ticket.load(__ATOMIC_ACQUIRE);
      if (ticket >> 32 != seen >> 32) {
        if (thread >= p.threads.load(__ATOMIC_RELAXED)) {
          seen = ticket;  // a section of a smaller engine
          spins = kSpins;
        } else if ((uint32_t)ticket != 0) {
          seen = ticket;
          break;
        }
      }
      if (p.stopping.load(__ATOMIC_ACQUIRE)) return;
      if (++spins < kSpins) {
        pause_cpu();
        continue;
      }
      // a section is published before the news, the news before sleepers is read; here sleepers is raised after the news was read and
      // before it is looked at again: one side sees the other
      p.sleepers.fetch_add(1);
      sleep_while(p.news, news);
      p.sleepers.fetch_sub(1);
      spins = 0;
    }
    work(p, thread);
  }
}

int pool_grow(int threads) {
  Pool& p = pool;
  if (threads > kMaxThreads) threads = kMaxThreads;
  p.stopping.store(false);
  if (p.count == 0) p.count = 1;
  while (p.count < threads && thread_start(p.count)) p.count++;  // the system gives no more threads: go on with those there are
  return threads < p.count ? threads : p.count;
}

void pool_run(int threads, int tasks, Task task, void* argument) {
  if (tasks <= 0) return;
  if (threads <= 1 || tasks == 1) {
    for (int i = 0; i < tasks; i++) task(argument, i, 0);
    return;
  }
  Pool& p = pool;
  p.task = task;
  p.argument = argument;
  p.tasks = tasks;
  p.threads.store(threads, __ATOMIC_RELAXED);
  p.done.store(0, __ATOMIC_RELAXED);
  const uint64_t section = (p.ticket.load(__ATOMIC_RELAXED) >> 32) + 1;
  p.ticket.store(section << 32 | (uint32_t)tasks);
  tell_sleepers(p);
  work(p, 0);
  for (int spins = 0; p.done.load(__ATOMIC_ACQUIRE) != tasks; spins++) {
    if (spins < kSpins)
      pause_cpu();
    else
      yield_cpu();
  }
}

void pool_stop() {
  Pool& p = pool;
  p.stopping.store(true);
  tell_sleepers(p);
  threads_join(p.count);
  p.count = 0;
  for (int i = 0; i < kMaxThreads; i++) {
    pages_free(p.scratch[i], p.scratch_bytes[i]);
    p.scratch[i] = nullptr;
    p.scratch_bytes[i] = 0;
  }
}

bool pool_reserve(int threads, int64_t bytes) {
  for (int i = 0; i < threads; i++)
    if (!pages_reserve(&pool.scratch[i], &pool.scratch_bytes[i], bytes)) return false;
  return true;
}

char* const* pool_scratch() { return pool.scratch; }

}  // namespace bk
