// WebAssembly's runner: a run happens at once, in the thread that asks for it.
#include <stdlib.h>

#include "../runtime/engine.h"
#include "../runtime/pages.h"
#include "../runtime/pool.h"

using namespace bk;

namespace {

int engines;
struct {
  Atomic<uint32_t> running, cancelled;
} words;

struct Peaks {
  const KernelTable* kernels;
  int peak;
  double seconds;
  float* data[kMaxThreads];
  double rate[kMaxThreads];
};

}  // namespace

bool bk::runner_open() {
  engines++;
  return true;
}

void bk::runner_close(bk_engine* engine) {
  free(engine);
  if (--engines == 0) engine_release();
}

int bk::runner_run(bk_run* r, char* message, size_t capacity) {
  const bool told = r->done != nullptr;
  const int error = engine_execute(r, message, capacity);
  engine_finish(r, error, message);
  return told ? BK_OK : error;
}

bool bk::runner_cancels(const bk_run* r) {
  const uint32_t running = words.running.load(__ATOMIC_RELAXED);
  return r->cancelled.load(__ATOMIC_RELAXED) || (running && words.cancelled.load(__ATOMIC_RELAXED) == running);
}

uint32_t* bk_cancel_words(void) { return &words.running.value; }

double bk_measure_peak(bk_engine* engine, int peak, double seconds) {
  static Peaks p;
  p.kernels = engine->kernels;
  p.peak = peak;
  p.seconds = seconds;
  const int threads = pool_grow(engine->threads);
  if (peak >= BK_PEAK_MEMORY)
    for (int i = 0; i < threads; i++) p.data[i] = (float*)pages_allocate(kPeakFloats * 4);
  pool_run(
      threads, threads, [](void*, int i, int) { p.rate[i] = engine_peak(*p.kernels, p.peak, p.seconds, p.data[i]); }, nullptr);
  double total = 0;
  for (int i = 0; i < threads; i++) {
    total += p.rate[i];
    pages_free(p.data[i], kPeakFloats * 4);
    p.data[i] = nullptr;
  }
  return total;
}

void* bk_memory_at(const bk_memory* memory, int arena, uint64_t offset, uint64_t bytes) {
  return memory_has(memory, arena, offset, bytes) ? memory->base[arena] + offset : nullptr;
}
