// One pool of threads per process. A parallel section hands out numbered tasks; any thread takes any task, so what a task computes
// must not depend on who runs it. Between sections workers spin for a moment, then sleep.
#pragma once
#include <stddef.h>

#include "../cpu/kernel.h"

namespace bk {

constexpr int kMaxThreads = 256;

/** Starts workers until `threads` (the caller included) can take part; returns how many really can, fewer when the system refuses. */
int pool_grow(int threads);
/** Runs task(argument, 0 .. tasks - 1, thread) on at most `threads` threads, the caller being thread 0. One caller at a time. */
void pool_run(int threads, int tasks, Task task, void* argument);
/** What a worker does, until the pool stops. Called by the threads that system.h starts. */
void pool_work(int thread);
/** Stops and joins all workers. */
void pool_stop();

/** Per-thread scratch of at least `bytes` for the first `threads` threads; false when memory is refused. Never inside a section. */
bool pool_reserve(int threads, int64_t bytes);
char* const* pool_scratch();

}  // namespace bk
