// api.h for the CPU, as far as it is the same on every system: engines, memories, programs, and how a run goes.
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "pages.h"
#include "pool.h"
#include "system.h"
#include "text.h"

using namespace bk;

/** Activations and io: what they hold does not outlive a run and its outputs. */
constexpr bool is_transient(int arena) { return arena == kArena_activations || arena == kArena_io; }

namespace {

int fail(int error, char* message, size_t capacity, const char* text) {
  write_text(message, capacity, "%s", text);
  return error;
}

/** A handle's structure, zeros; null when memory is refused. */
template <class T>
T* create() {
  return (T*)calloc(1, sizeof(T));
}

/** The kernel's view of a run: bk::Run with what its `parallel` needs. */
struct Execution : Run {
  int threads;
};

void run_parallel(Run* run, int tasks, Task task, void* argument) { pool_run(static_cast<Execution*>(run)->threads, tasks, task, argument); }

// Scratch that the threads of a run share.
char* shared;
int64_t shared_bytes;

}  // namespace

int bk::engine_execute(bk_run* r, char* message, size_t capacity) {
  const Plan& plan = r->program->plan;
  for (int i = 0; i < kArenas; i++)
    if (plan.arena_bytes[i] > r->memory->bytes[i]) {
      write_text(message, capacity, "Arena %d has %lld bytes, the plan needs %lld", i, (long long)r->memory->bytes[i], (long long)plan.arena_bytes[i]);
      return BK_ARGUMENT;
    }
  const int threads = pool_grow(r->program->engine->threads);
  if (!pool_reserve(threads, plan.scratch.local) || !pages_reserve(&shared, &shared_bytes, plan.scratch.shared)) {
    write_text(message, capacity, "No memory for %lld bytes of scratch", (long long)(plan.scratch.local * threads + plan.scratch.shared));
    return BK_MEMORY;
  }
  Execution run;
  run.scalars = r->scalars;
  run.parallel = run_parallel;
  run.shared = shared;
  run.local = pool_scratch();
  run.threads = threads;
  for (int i = 0; i < plan.records; i++) {
    if (runner_cancels(r)) {
      write_text(message, capacity, "Cancelled before record %d of %d", i, plan.records);
      return BK_CANCELLED;
    }
    Call call;
    plan_resolve(plan.record[i], r->memory->base, r->scalars, &call);
    const double start = r->seconds ? clock_seconds() : 0;
    const Status s = plan.record[i].kernel->run(run, call);
    if (r->seconds) r->seconds[i] = clock_seconds() - start;
    if (s.where) {
      write_text(message, capacity, "%s: %s[%lld] is %lld, expected at least %lld and below %lld", plan.record[i].op->name, s.where, (long long)s.row,
                 (long long)s.value, (long long)s.low, (long long)s.high);
      return BK_DATA;
    }
  }
  return BK_OK;
}

void bk::engine_finish(bk_run* r, int error, const char* message) {
  bk_engine* engine = r->program->engine;
  if (r->done) r->done(r->user, error, message);
  free(r);
  engine->runs.fetch_sub(1, __ATOMIC_RELEASE);
}

void bk::engine_release() {
  pool_stop();
  pages_free(shared, shared_bytes);
  shared = nullptr;
  shared_bytes = 0;
}

uint64_t bk_ops_hash(void) { return ops_hash(); }

int bk_open(const char* isa, int threads, bk_engine** out, char* message, size_t capacity) {
  *out = nullptr;
  const KernelTable* tables[kMaxIsas];
  const int n = cpu_tables(tables);
  const KernelTable* chosen = nullptr;
  for (int i = 0; i < n && !chosen; i++)
    if ((!isa || !strcmp(tables[i]->isa, isa)) && cpu_may_use(*tables[i])) chosen = tables[i];
  if (!chosen) {
    int length = write_text(message, capacity, "This machine cannot run instruction set '%.24s'; it has", isa);
    for (int i = 0; i < n; i++) length += write_text(message + length, capacity - (size_t)length, " %s", tables[i]->isa);
    return BK_ARGUMENT;
  }
  if (threads < 0 || threads > kMaxThreads) {
    write_text(message, capacity, "Expected 0 to %d threads but received %d", kMaxThreads, threads);
    return BK_ARGUMENT;
  }
  bk_engine* engine = create<bk_engine>();
  if (!engine) return fail(BK_MEMORY, message, capacity, "No memory for an engine");
  engine->kernels = chosen;
  engine->threads = threads ? threads : cpu_count();
  if (!runner_open()) {
    free(engine);
    return fail(BK_MEMORY, message, capacity, "The system gives no thread for the engine");
  }
  *out = engine;
  return BK_OK;
}

void bk_close(bk_engine* engine) {
  if (engine) runner_close(engine);
}

void bk_describe(bk_engine* engine, char* json, size_t capacity) {
  const KernelTable* tables[kMaxIsas];
  const int n = cpu_tables(tables);
  const KernelTable& k = *engine->kernels;
  char name[64], isas[128] = "";
  cpu_name(name, sizeof name);
  for (int i = 0, at = 0; i < n; i++) at += write_text(isas + at, sizeof isas - (size_t)at, "%s\"%s\"", i ? "," : "", tables[i]->isa);
  for (char* c = name; *c; c++)
    if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = ' ';
  const auto product = [](const char* dtype, const auto& p, char* text, size_t size) {
    write_text(text, size, "\"%s\":{\"kernel\":\"%s\",\"rows\":%d,\"columns\":%d,\"unit\":%d,\"bytes\":%d}", dtype, p.how, p.rows, p.columns, p.unit, p.size);
    return text;
  };
  char float32[128], bfloat16[128];
  write_text(json, capacity, "{\"backend\":\"%s\",\"isa\":\"%s\",\"isas\":[%s],\"cpu\":\"%s\",\"threads\":%d,\"auto\":\"%s\",\"products\":{%s,%s}}",
             cpu_backend(), k.isa, isas, name, engine->threads, cpu_prefers_bfloat16(k) ? "bfloat16" : "float32",
             product("float32", k.float32, float32, sizeof float32), product("bfloat16", k.bfloat16, bfloat16, sizeof bfloat16));
}

int bk_memory_create(bk_engine*, bk_memory** memory) {
  *memory = create<bk_memory>();
  return *memory ? BK_OK : BK_MEMORY;
}

void bk_memory_free(bk_memory* memory) {
  if (!memory) return;
  for (int i = 0; i < kArenas; i++) pages_free(memory->base[i], memory->bytes[i]);
  free(memory);
}

int bk_memory_release(bk_memory* memory, int arena) {
  if (arena < 0 || arena >= kArenas) return BK_ARGUMENT;
  pages_free(memory->base[arena], memory->bytes[arena]);
  memory->base[arena] = nullptr;
  memory->bytes[arena] = 0;
  return BK_OK;
}

int bk_memory_reserve(bk_memory* memory, int arena, uint64_t bytes, char* message, size_t capacity) {
  if (arena < 0 || arena >= kArenas || bytes > (uint64_t)1 << 34) return fail(BK_ARGUMENT, message, capacity, "There is no such arena");
  if ((int64_t)bytes <= memory->bytes[arena]) return BK_OK;
  if (is_transient(arena)) {  // freed first, so that old and new are never both in memory
    bk_memory_release(memory, arena);
  }
  char* larger = (char*)pages_grow(memory->base[arena], memory->bytes[arena], (int64_t)bytes);
  if (!larger) {
    write_text(message, capacity, "No memory for an arena of %lld bytes", (long long)bytes);
    return BK_MEMORY;
  }
  memory->base[arena] = larger;
  memory->bytes[arena] = (int64_t)bytes;
  return BK_OK;
}

bool bk::memory_has(const bk_memory* memory, int arena, uint64_t offset, uint64_t bytes) {
  return arena >= 0 && arena < kArenas && bytes <= (uint64_t)memory->bytes[arena] && offset <= (uint64_t)memory->bytes[arena] - bytes;
}

int bk_memory_write(bk_memory* memory, int arena, uint64_t offset, const void* source, uint64_t bytes, char* message, size_t capacity) {
  if (!memory_has(memory, arena, offset, bytes)) return fail(BK_ARGUMENT, message, capacity, "The range lies outside the arena");
  if (bytes) memcpy(memory->base[arena] + offset, source, (size_t)bytes);  // an empty arena has no base
  return BK_OK;
}

int bk_memory_read(const bk_memory* memory, int arena, uint64_t offset, void* target, uint64_t bytes, char* message, size_t capacity) {
  if (!memory_has(memory, arena, offset, bytes)) return fail(BK_ARGUMENT, message, capacity, "The range lies outside the arena");
  if (bytes) memcpy(target, memory->base[arena] + offset, (size_t)bytes);
  return BK_OK;
}

int bk_program_create(bk_engine* engine, const int32_t* words, size_t length, bk_program** out, char* message, size_t capacity) {
  *out = nullptr;
  Plan plan;
  if (const int error = plan_validate(words, length, *engine->kernels, &plan, message, capacity)) return error;
  bk_program* program = create<bk_program>();
  if (!program) {
    plan_free(&plan);
    return fail(BK_MEMORY, message, capacity, "No memory for a program");
  }
  program->engine = engine;
  program->plan = plan;
  *out = program;
  return BK_OK;
}

void bk_program_free(bk_program* program) {
  if (!program) return;
  plan_free(&program->plan);
  free(program);
}

size_t bk_program_records(const bk_program* program) { return (size_t)program->plan.records; }

int bk_run_start(bk_program* program, bk_memory* memory, const double* scalars, size_t count, double* seconds, bk_done done, void* user, bk_run** out,
                 char* message, size_t capacity) {
  if (const int error = plan_check_scalars(program->plan, scalars, count, message, capacity)) return error;
  bk_run* r = create<bk_run>();
  if (!r) return fail(BK_MEMORY, message, capacity, "No memory for a run");
  r->program = program;
  r->memory = memory;
  memcpy(r->scalars, scalars, count * sizeof(double));
  r->seconds = seconds;
  if (seconds) memset(seconds, 0, (size_t)program->plan.records * sizeof(double));
  r->done = done;
  r->user = user;
  program->engine->runs.fetch_add(1, __ATOMIC_RELAXED);
  if (out) *out = r;
  return runner_run(r, message, capacity);
}

void bk_run_cancel(bk_run* run) { run->cancelled.store(true, __ATOMIC_RELAXED); }

double bk::engine_peak(const KernelTable& kernels, int peak, double seconds, float* data) {
  if (peak < BK_PEAK_FLOAT32 || peak > BK_PEAK_READ || (peak >= BK_PEAK_MEMORY && !data)) return 0;
  if (data) memset(data, 0, kPeakFloats * 4);  // pages that nobody has written are not in memory
  double done = 0;
  const double start = clock_seconds();
  while (clock_seconds() - start < seconds)
    done += peak >= BK_PEAK_MEMORY ? kernels.memory_peaks[peak - BK_PEAK_MEMORY](data, kPeakFloats) : kernels.product_peaks[peak](200000);
  return done / (clock_seconds() - start);
}
