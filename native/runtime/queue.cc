// The native runner: runs go through one queue of the process, served by a thread of its own.
#include <stdlib.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "engine.h"
#include "text.h"

using namespace bk;

namespace {

// Engines come and go; the thread lives while any engine does.
struct Queue {
  std::mutex lifecycle;  // held while the thread is started or joined; never taken by that thread
  std::mutex mutex;
  std::condition_variable changed;
  bk_run *first = nullptr, *last = nullptr;
  std::thread thread;
  int engines = 0;
  bool stopping = false;
};

Queue& queue() {
  static Queue* q = new Queue;  // never destroyed: the thread may outlive the static destructors of a process that exits in a run
  return *q;
}

void serve() {
  Queue& q = queue();
  for (;;) {
    bk_run* r;
    {
      std::unique_lock<std::mutex> lock(q.mutex);
      q.changed.wait(lock, [&] { return q.stopping || q.first; });
      if (!q.first) return;
      r = q.first;
      q.first = r->next;
    }
    char message[256] = "";
    const int error = engine_execute(r, message, sizeof message);
    engine_finish(r, error, message);
  }
}

struct Waiter {
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  int error = 0;
  char* message;
  size_t capacity;
};

void wake_waiter(void* user, int error, const char* message) {
  Waiter* w = (Waiter*)user;
  std::lock_guard<std::mutex> lock(w->mutex);
  w->error = error;
  write_text(w->message, w->capacity, "%s", message);
  w->ended = true;
  w->changed.notify_all();
}

}  // namespace

bool bk::runner_open() {
  try {
    Queue& q = queue();
    std::lock_guard<std::mutex> lifecycle(q.lifecycle);
    if (q.engines == 0) {
      q.stopping = false;
      q.thread = std::thread(serve);
    }
    q.engines++;
    return true;
  } catch (const std::exception&) {  // std::system_error, or std::bad_alloc for the queue or the thread's own state
    return false;
  }
}

void bk::runner_close(bk_engine* engine) {
  while (engine->runs.load(__ATOMIC_ACQUIRE) > 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  free(engine);
  Queue& q = queue();
  std::lock_guard<std::mutex> lifecycle(q.lifecycle);
  if (--q.engines > 0) return;
  {
    std::lock_guard<std::mutex> lock(q.mutex);
    q.stopping = true;
    q.changed.notify_all();
  }
  q.thread.join();
  engine_release();
}

int bk::runner_run(bk_run* r, char* message, size_t capacity) {
  Waiter waiter;
  const bool waits = !r->done;
  if (waits) {
    waiter.message = message;
    waiter.capacity = capacity;
    r->done = wake_waiter;
    r->user = &waiter;
  }
  Queue& q = queue();
  {
    std::lock_guard<std::mutex> lock(q.mutex);
    (q.first ? q.last->next : q.first) = r;
    q.last = r;
    q.changed.notify_all();
  }
  if (!waits) return BK_OK;
  std::unique_lock<std::mutex> lock(waiter.mutex);
  waiter.changed.wait(lock, [&] { return waiter.ended; });
  return waiter.error;
}

bool bk::runner_cancels(const bk_run* run) { return run->cancelled.load(__ATOMIC_RELAXED); }
