// What api.h's handles are, and the border between what every system does the same way (engine.cc, run.cc) and whose turn it is: natively a
// queue with a thread of its own (queue.cc), in WebAssembly the thread that calls (wasm/runner.cc).
#pragma once
#include <stdlib.h>

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

/** Activations and io: what they hold does not outlive a run and its outputs. */
constexpr bool is_transient(int arena) { return arena == kArena_activations || arena == kArena_io; }
/** Gradients and moments: zeros for the words of a table that no batch has had. */
constexpr bool is_sparse(int arena) { return arena == kArena_gradients || arena == kArena_exp_avg || arena == kArena_exp_avg_sq; }

/** A handle's structure, zeros; null when memory is refused. */
template <class T>
T* create() {
  return (T*)calloc(1, sizeof(T));
}

/** Writes the text and returns the error. */
int fail(int error, char* message, size_t capacity, const char* text);
/** BK_DATA, and what a record has found in its data. */
int fail_data(const Record&, const Status&, char* message, size_t capacity);

/** Whether this range lies inside the arena. */
bool memory_has(const bk_memory*, int arena, uint64_t offset, uint64_t bytes);
/** The same, as BK_OK or an error with a message. */
int check_range(const bk_memory*, int arena, uint64_t offset, uint64_t bytes, char* message, size_t capacity);
/** BK_OK where the arenas are as large as the plan needs them. */
int check_arenas(const bk_memory*, const Plan&, char* message, size_t capacity);

/** How products of each type are made, as members of a JSON object (bk_describe). */
void write_products(const KernelTable&, char* json, size_t capacity);

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
