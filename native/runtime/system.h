// What the runtime asks of the system under it: a clock, threads, and a way to sleep. system.cc has the native one, wasm/system.cc that
// of WebAssembly, where threads come from outside.
#pragma once
#include <stdint.h>

#include "atomic.h"

namespace bk {

/** Seconds since some moment; never goes back. */
double clock_seconds();

/** In a loop that waits for another thread: first this, after many rounds `yield_cpu`. */
void pause_cpu();
void yield_cpu();

/** Sleeps while `word` is `seen`; may return early. Nobody sleeps through a `wake_all` that follows a change of the word. */
void sleep_while(Atomic<uint32_t>& word, uint32_t seen);
void wake_all(Atomic<uint32_t>& word);

/** Has thread `index` of the pool (1 ..) call pool_work(index); false when there is no such thread to be had. */
bool thread_start(int index);
/** Waits until threads 1 .. count - 1, which were told to, have returned from pool_work. */
void threads_join(int count);

}  // namespace bk
