// What api.h's handles are, and the border between what every system does the same way (engine.cc) and whose turn it is: natively a
// queue with a thread of its own (queue.cc), in WebAssembly the thread that calls (wasm/runner.cc).
#pragma once
#include "../api.h"
#include "atomic.h"
#include "plan.h"

struct bk_engine {
  const bk::KernelTable* kernels;
  int threads;
  bk::Atomic<int> runs;  // queued or running
};

struct bk_memory {
  char* base[bk::kArenas];
  int64_t bytes[bk::kArenas];
};

struct bk_program {
  bk_engine* engine;
  bk::Plan plan;
};

struct bk_run {
  bk_program* program;
  bk_memory* memory;
  double scalars[bk::kMaxScalars];
  double* seconds;  // of each record; null: not wanted
  bk_done done;     // null: somebody waits
  void* user;
  bk_run* next;
  bk::Atomic<bool> cancelled;
};

namespace bk {

/** Whether this range lies inside the arena. */
bool memory_has(const bk_memory*, int arena, uint64_t offset, uint64_t bytes);

/** Goes through a run's records. One caller at a time in the process. */
int engine_execute(bk_run*, char* message, size_t capacity);
/** Tells how a run has ended, and frees it; `done` may free the program and the memory. */
void engine_finish(bk_run*, int error, const char* message);
/** What the calling thread reaches in a second, see bk_measure_peak; peaks of memory are those of `data`, kPeakFloats of them. */
double engine_peak(const KernelTable&, int peak, double seconds, float* data);
constexpr int64_t kPeakFloats = (int64_t)16 << 20;
/** Frees what runs share; no engine is left. */
void engine_release();

/** Another engine is open; false when the system has no thread for it. */
bool runner_open();
/** This engine is closed: waits for its runs, frees it, and after the last one calls engine_release. */
void runner_close(bk_engine*);
/** Runs it in its turn. Where `done` is null, returns when it has ended, with its error and message; elsewhere BK_OK. */
int runner_run(bk_run*, char* message, size_t capacity);
/** Asked between two records. */
bool runner_cancels(const bk_run*);

}  // namespace bk
