// Runs the blocks of a kernel: threads are fibers, which take turns where they wait for each other.
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulation.h"
#include "fiber.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulation {
namespace {

constexpr int kMaxThreads = 1024, kLanes = 32, kMaxWarps = kMaxThreads / kLanes;

/** Lanes that wait for others of their mask. */
struct Gathering {
  const char *what, *file;
  int line;
  unsigned mask, arrived;
  Together together;
  void* lanes[kLanes];
};

struct Warp {
  unsigned ready, alive;  // lanes
  int gatherings;
  Gathering gathering[kLanes];
};

/** Threads that wait at a barrier of the block. */
struct Barrier {
  const char *what, *file;
  int line;
  int arrived, predicates;
  int last_arrived, last_predicates;  // of the barrier before, which its threads read when their turn comes
  unsigned waits[kMaxWarps];          // lanes
};

/** A thread that waits for something that others write. */
struct Sleeper {
  int thread;
  const char *what, *file;
  int line;
  Ready ready;
  void* of;
};

KernelOperation* operation;
int threads, alive, current;
unsigned warps_ready;
Warp warp[kMaxWarps];
Barrier barrier;
Sleeper sleeper[kMaxThreads];
int sleepers;
uint3 index_of[kMaxThreads];
int16_t fiber_of[kMaxThreads];  // -1: has not begun
int16_t free_fibers[kMaxFibers];
int free_count;
void* saved[kMaxFibers];
void* host;  // where whoever runs blocks goes on
bool failed, used_shared, reverse;
char failure[1024];
cudaError_t failure_code;

// ------------------------------------------------------------------------------------------------------------------ turns

void make_ready(int w, unsigned lanes) {
  warp[w].ready |= lanes;
  if (warp[w].ready) warps_ready |= 1u << w;
}

int pick(unsigned set) { return reverse ? 31 - __builtin_clz(set) : __builtin_ctz(set); }

/** Makes those ready whose waiting is over. */
void wake_sleepers() {
  int left = 0;
  for (int i = 0; i < sleepers; i++) {
    const Sleeper& s = sleeper[i];
    if (s.ready(s.of))
      make_ready(s.thread / kLanes, 1u << s.thread % kLanes);
    else
      sleeper[left++] = s;
  }
  sleepers = left;
}

/** The thread whose turn is next, of this warp if one of it can go on; -1 where all wait. */
int next_thread() {
  int w = current / kLanes;
  if (!warp[w].ready) {
    // to look may be to carry out what another waits for
    for (long before = -1; !warps_ready && before != carried_out;) {
      before = carried_out;
      wake_sleepers();
    }
    if (!warps_ready) return -1;
    w = pick(warps_ready);
  }
  const int lane = pick(warp[w].ready);
  warp[w].ready &= ~(1u << lane);
  if (!warp[w].ready) warps_ready &= ~(1u << w);
  return w * kLanes + lane;
}

[[noreturn]] void fail_deadlock() {
  char text[700];
  int length = snprintf(text, sizeof(text), "threads wait for each other for ever:");
  const auto say = [&](const char* format, auto... values) {
    if (length < (int)sizeof(text)) length += snprintf(text + length, sizeof(text) - (size_t)length, format, values...);
  };
  if (barrier.arrived) say(" %d of %d at %s (%s:%d);", barrier.arrived, alive, barrier.what, barrier.file, barrier.line);
  for (int i = 0; i < sleepers; i++) say(" thread %d at %s (%s:%d);", sleeper[i].thread, sleeper[i].what, sleeper[i].file, sleeper[i].line);
  for (int w = 0; w < (threads + kLanes - 1) / kLanes; w++)
    for (int i = 0; i < warp[w].gatherings; i++) {
      const Gathering& g = warp[w].gathering[i];
      say(" lanes 0x%08x of warp %d at %s (%s:%d) for 0x%08x;", g.arrived, w, g.what, g.file, g.line, g.mask);
    }
  fail("%s", text);
}

void thread_main();

/** Leaves this fiber, which goes on when it is switched to again, for another thread. */
void switch_to(int thread, void** save) {
  current = thread;
  threadIdx = index_of[thread];
  int fiber = fiber_of[thread];
  if (fiber < 0) {
    fiber = fiber_of[thread] = free_fibers[--free_count];
    saved[fiber] = fiber_prepare(fiber, thread_main);
  }
  bk_fiber_switch(save, saved[fiber]);
}

/** This thread waits; it goes on when it has been made ready. */
void wait() {
  const int next = next_thread();
  if (next < 0) fail_deadlock();
  switch_to(next, &saved[fiber_of[current]]);
}

void complete_barrier() {
  barrier.last_arrived = barrier.arrived;
  barrier.last_predicates = barrier.predicates;
  barrier.arrived = barrier.predicates = 0;
  for (int w = 0; w * kLanes < threads; w++) {
    make_ready(w, barrier.waits[w]);
    barrier.waits[w] = 0;
  }
}

void end_thread() {
  Warp& mine = warp[current / kLanes];
  const unsigned bit = 1u << current % kLanes;
  for (int i = 0; i < mine.gatherings; i++) {
    const Gathering& g = mine.gathering[i];
    if (g.mask & bit) fail("a lane has ended that lanes 0x%08x wait for at %s (%s:%d)", g.arrived, g.what, g.file, g.line);
  }
  mine.alive &= ~bit;
  alive--;
  if (barrier.arrived && barrier.arrived == alive) complete_barrier();
}

/** What a fiber does: threads that have not begun, until it is the turn of one that has. */
void thread_main() {
  for (;;) {
    const int fiber = fiber_of[current];
    operation->thread();
    end_thread();
    void* never;
    const int next = next_thread();
    if (next < 0) {
      if (alive) fail_deadlock();
      free_fibers[free_count++] = (int16_t)fiber;
      bk_fiber_switch(&never, host);
    }
    if (fiber_of[next] < 0) {
      fiber_of[next] = (int16_t)fiber;
      current = next;
      threadIdx = index_of[next];
    } else {
      free_fibers[free_count++] = (int16_t)fiber;
      switch_to(next, &never);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------- blocks

void prepare_kernel(KernelOperation& kernel) {
  gridDim = kernel.grid;
  blockDim = kernel.block;
  threads = (int)(blockDim.x * blockDim.y * blockDim.z);
  for (int t = 0; t < threads; t++) index_of[t] = {(unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y, (unsigned)t / blockDim.x / blockDim.y};
  free_count = kMaxFibers;  // also those of a launch that was given up
  for (int i = 0; i < kMaxFibers; i++) free_fibers[i] = (int16_t)(kMaxFibers - 1 - i);
  used_shared = true;
  reverse = settings().reverse;
}

void run_block(KernelOperation& kernel) {
  if (used_shared) spoil_shared_memory(kernel.shared);
  used_shared = false;
  memset(fiber_of, 0xff, sizeof(*fiber_of) * (size_t)threads);
  memset(barrier.waits, 0, sizeof(barrier.waits));
  barrier.arrived = barrier.predicates = 0;
  sleepers = 0;
  warps_ready = 0;
  alive = threads;
  for (int w = 0; w * kLanes < threads; w++) {
    const int lanes = threads - w * kLanes < kLanes ? threads - w * kLanes : kLanes;
    warp[w].gatherings = 0;
    warp[w].ready = 0;
    warp[w].alive = lanes == kLanes ? ~0u : (1u << lanes) - 1;
    make_ready(w, warp[w].alive);
  }
  current = reverse ? threads - 1 : 0;
  const int first = next_thread();
  switch_to(first, &host);
}

}  // namespace

char* dynamic_shared() {
  used_shared = true;
  return dynamic_shared_memory(operation->shared);
}

int lane() { return current % kLanes; }

bool in_kernel() { return operation != nullptr; }

void give_up(cudaError_t code, const char* text) {
  snprintf(failure, sizeof(failure), "%s; thread (%u, %u, %u) of block (%u, %u, %u)", text, threadIdx.x, threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y,
           blockIdx.z);
  failed = true;
  failure_code = code;
  void* never;
  bk_fiber_switch(&never, host);
  abort();
}

void fail(const char* format, ...) {
  char text[900];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof(text), format, values);
  va_end(values);
  give_up(cudaErrorLaunchFailure, text);
}

void warp_together(const char* what, unsigned mask, void* mine, Together together, const char* file, int line) {
  used_shared = true;
  const int w = current / kLanes, lane = current % kLanes;
  Warp& here = warp[w];
  const unsigned bit = 1u << lane;
  if (!(mask & bit)) fail("lane %d is not in the mask 0x%08x of %s (%s:%d)", lane, mask, what, file, line);
  if (mask & ~here.alive) fail("lanes 0x%08x of the mask of %s (%s:%d) have ended, or were never there", mask & ~here.alive, what, file, line);
  int at = 0;  // of another mask there may be some: a part of the lanes has something to do before it comes here
  while (at < here.gatherings && here.gathering[at].mask != mask) at++;
  Gathering& g = here.gathering[at];
  if (at == here.gatherings) {
    here.gatherings++;
    g.what = what;
    g.file = file;
    g.line = line;
    g.mask = mask;
    g.arrived = 0;
    g.together = together;
    if (mask != ~0u) memset(g.lanes, 0, sizeof(g.lanes));
  } else if (g.line != line || g.together != together || g.file != file) {
    fail("lane %d is at %s (%s:%d), but lanes 0x%08x are at %s (%s:%d)", lane, what, file, line, g.arrived, g.what, g.file, g.line);
  }
  g.arrived |= bit;
  g.lanes[lane] = mine;
  if (g.arrived != mask) return wait();
  together(g.lanes, mask);
  make_ready(w, mask & ~bit);
  here.gatherings--;
  if (at != here.gatherings) g = here.gathering[here.gatherings];
}

void wait_until(const char* what, Ready ready, void* of, const char* file, int line) {
  used_shared = true;
  if (ready(of)) return;
  sleeper[sleepers++] = {current, what, file, line, ready, of};
  wait();
}

int block_together(const char* what, bool predicate, int* count, const char* file, int line) {
  used_shared = true;
  if (!barrier.arrived) {
    barrier.what = what;
    barrier.file = file;
    barrier.line = line;
  } else if (barrier.line != line || barrier.file != file || barrier.what != what) {
    fail("this thread is at %s (%s:%d), but %d others are at %s (%s:%d)", what, file, line, barrier.arrived, barrier.what, barrier.file, barrier.line);
  }
  barrier.arrived++;
  barrier.predicates += predicate;
  if (barrier.arrived == alive) {
    complete_barrier();
  } else {
    barrier.waits[current / kLanes] |= 1u << current % kLanes;
    wait();
  }
  if (count) *count = barrier.last_arrived;
  return barrier.last_predicates;
}

long threads_begun, carried_out;
const char* (*block_ends)();

cudaError_t run_blocks(KernelOperation& kernel) {
  arm_faults();
  prepare_kernel(kernel);
  operation = &kernel;
  failed = false;
  threads_begun = 0;
  const uint64_t blocks = (uint64_t)gridDim.x * gridDim.y * gridDim.z;
  for (uint64_t i = 0; i < blocks && !failed; i++) {
    const uint64_t b = reverse ? blocks - 1 - i : i;
    blockIdx = {(unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y), (unsigned)(b / gridDim.x / gridDim.y)};
    run_block(kernel);
    const char* left = block_ends ? block_ends() : nullptr;
    if (left && !failed) {
      operation = nullptr;
      explain(cudaErrorLaunchFailure, "a block ends with %s", left);
      return break_device(cudaErrorLaunchFailure);
    }
  }
  operation = nullptr;
  const long threads = (long)(blocks * blockDim.x * blockDim.y * blockDim.z);
  if (!failed && kernel.early && threads_begun != threads) {
    explain(cudaErrorLaunchFailure, "%ld of %ld threads have waited for the kernel before this one, once each", threads_begun, threads);
    return break_device(cudaErrorLaunchFailure);
  }
  if (!failed) return cudaSuccess;
  explain(failure_code, "%s", failure);
  return break_device(failure_code);
}

}  // namespace cuda_emulation
