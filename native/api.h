// The whole boundary between bertkit's TypeScript and its kernels. addon.cc, the CUDA library and the WebAssembly exports speak this.
//
// Rules. Handles are opaque and owned by the caller, who frees them. Functions return 0 or a positive error number; the error's
// text is written to `message` (at most `capacity` bytes, always terminated). No C++ exception leaves this interface. Calls on one
// handle come from one thread at a time; different handles may be used from different threads.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Marks the functions for scripts/build-wasm.mjs, which exports them, as a library does that is opened by the addon. The addon has them in
// itself, and exports none.
#if defined(BK_LIBRARY)
#define BK_EXPORT __attribute__((visibility("default")))
#else
#define BK_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum bk_error {
  BK_OK = 0,
  BK_PLAN = 1,       // the plan is malformed
  BK_MEMORY = 2,     // memory could not be had
  BK_DATA = 3,       // an index in the data is out of range: id, label, sequence border
  BK_CANCELLED = 4,  // bk_cancel was called
  BK_ARGUMENT = 5,   // an argument of the call is out of range
  BK_DEVICE = 6,     // there is no device, or it is lost: what the process had on it is gone
};

typedef struct bk_engine bk_engine;    // an instruction set, a number of threads; kernels run on one pool per process
typedef struct bk_memory bk_memory;    // the arenas of one model (ARENA in ops.def)
typedef struct bk_program bk_program;  // a validated plan
typedef struct bk_run bk_run;          // a queued or running execution

/** Hash of ops.def as compiled in; the TypeScript side compares it with the hash of the list it was generated from. */
BK_EXPORT uint64_t bk_ops_hash(void);

/** Opens an engine. isa: a name of `bk_describe`'s isas, or null for the best; threads: 0 for as many CPUs as the process may use. */
BK_EXPORT int bk_open(const char* isa, int threads, bk_engine** engine, char* message, size_t capacity);
/** Waits for the engine's runs to end, then frees it. It must outlive its memories and programs. */
BK_EXPORT void bk_close(bk_engine*);
/** Writes a JSON object: isa, isas (that this CPU has), cpu, threads, auto (the faster dtype), products (by dtype: what makes them, the
 * micro-kernel's rows and columns, and of a packed weight the unit of its depth and the bytes of an element). */
BK_EXPORT void bk_describe(bk_engine*, char* json, size_t capacity);

BK_EXPORT int bk_memory_create(bk_engine*, bk_memory**);
BK_EXPORT void bk_memory_free(bk_memory*);
/**
 * Makes an arena at least `bytes` large, zero-filled where it is new. Contents are kept, but not those of activations and io.
 * Never during a run on this memory.
 */
BK_EXPORT int bk_memory_reserve(bk_memory*, int arena, uint64_t bytes, char* message, size_t capacity);
/** Gives an arena's memory back: it is empty then. Never during a run on this memory. */
BK_EXPORT int bk_memory_release(bk_memory*, int arena);
/** Copies bytes in or out of an arena; BK_ARGUMENT if the range does not lie inside it. Never during a run on this memory. */
BK_EXPORT int bk_memory_write(bk_memory*, int arena, uint64_t offset, const void* source, uint64_t bytes, char* message, size_t capacity);
BK_EXPORT int bk_memory_read(const bk_memory*, int arena, uint64_t offset, void* target, uint64_t bytes, char* message, size_t capacity);

/**
 * Validates a plan (layout in runtime/plan.h) and makes it a program. Whatever the numbers are, the result is an error or a program
 * whose runs touch nothing outside the arenas.
 */
BK_EXPORT int bk_program_create(bk_engine*, const int32_t* plan, size_t length, bk_program**, char* message, size_t capacity);
BK_EXPORT void bk_program_free(bk_program*);
/** Records of the plan. */
BK_EXPORT size_t bk_program_records(const bk_program*);

/** Called on the engine's thread when a run has ended. */
typedef void (*bk_done)(void* user, int error, const char* message);
/**
 * Queues a run: all runs of the process go in order, one at a time. `scalars` (ROW and SCALAR of ops.def) are copied. The program
 * and the memory must outlive the run. With `done` null the call returns when the run has ended, with its error and message.
 * `seconds`, unless null, has room for each record of the program and must outlive the run; it receives the time that each record
 * took, 0 for those that were not reached. Where an engine does several together, the first has their time.
 */
BK_EXPORT int bk_run_start(bk_program*, bk_memory*, const double* scalars, size_t count, double* seconds, bk_done done, void* user, bk_run** run, char* message,
                           size_t capacity);
/**
 * Asks a run to stop before its next record; once one has changed weights, it goes on to its end. `done` is still called. The handle is valid
 * until then.
 */
BK_EXPORT void bk_run_cancel(bk_run*);

enum bk_peak {
  BK_PEAK_FLOAT32 = 0,   // flops of multiply-adds in registers
  BK_PEAK_BFLOAT16 = 1,  // flops of products of bfloat16 in registers
  BK_PEAK_MEMORY = 2,    // bytes read and written by updating arrays in place that no cache holds
  BK_PEAK_READ = 3,      // bytes read of such arrays
};
/** What all threads of the engine reach in a second, measured for about `seconds`; 0 where there is no memory or no such peak. */
BK_EXPORT double bk_measure_peak(bk_engine*, int peak, double seconds);

#if defined(__wasm__)
// What JavaScript needs besides, because it is on the other side of a linear memory. An instance is one engine's: runs happen in the
// thread that calls bk_run_start, whether there is a `done` or not.

/** Bytes of linear memory for what JavaScript passes in and gets out, 64-byte aligned; null when refused. */
BK_EXPORT void* bk_allocate(size_t bytes);
BK_EXPORT void bk_free(void*);
/** From now on linear memory grows to at most this many bytes; what would need more is BK_MEMORY. */
BK_EXPORT void bk_limit_memory(uint64_t bytes);
/**
 * Whether products take strips of more rows, before the engine is opened: faster where WebAssembly is compiled in the order of its code,
 * slower where not. No bit of a result depends on it.
 */
BK_EXPORT void bk_tall_strips(int tall);
/** Where this range of an arena lies, to be read or written in place until the next reserve or release of any arena; null if outside. */
BK_EXPORT void* bk_memory_at(const bk_memory*, int arena, uint64_t offset, uint64_t bytes);
/**
 * Two words that other threads of a shared memory see: the number of the run that goes on, which the caller of bk_run_start writes
 * before, and the number of one that is to be cancelled. A run stops before its next record when they are equal and not 0.
 */
BK_EXPORT uint32_t* bk_cancel_words(void);
/** In the instance of a thread of its own, before anything else: its stack, which ends (begins, growing down) here. */
BK_EXPORT void bk_thread_stack(void* top);
/** Then: is a thread of the engine's pool until bk_close. */
BK_EXPORT void bk_thread_run(void);
/** When bk_thread_run was left by a trap: what the other threads wait for never comes, and the engine's own traps too. */
BK_EXPORT void bk_thread_failed(void);
#endif

#ifdef __cplusplus
}
#endif
