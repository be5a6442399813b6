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

namespace {

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
  const auto cancelled = [&](int record) {
    if (!runner_cancels(r)) return false;
    write_text(message, capacity, "Cancelled before record %d of %d", record, plan.records);
    return true;
  };
  if (cancelled(0)) return BK_CANCELLED;  // before it asks for threads and memory
  if (const int error = check_arenas(r->memory, plan, message, capacity)) return error;
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
    if (i <= plan.writes_weights_at && cancelled(i)) return BK_CANCELLED;
    Call call;
    plan_resolve(plan.record[i], r->memory->base, r->scalars, &call);
    const double start = r->seconds ? clock_seconds() : 0;
    const Status s = plan.record[i].kernel->run(run, call);
    if (r->seconds) r->seconds[i] = clock_seconds() - start;
    if (s.where) return fail_data(plan.record[i], s, message, capacity);
  }
  return BK_OK;
}

void bk::engine_release() {
  pool_stop();
  pages_free(shared, shared_bytes);
  shared = nullptr;
  shared_bytes = 0;
}

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
  const int cpus = cpu_count();
  engine->threads = threads ? threads : cpus < kMaxThreads ? cpus : kMaxThreads;
  if (!runner_open()) {
    free(engine);
    return fail(BK_MEMORY, message, capacity, "The system gives no thread for the engine");
  }
  *out = engine;
  return BK_OK;
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
  char products[320];
  write_products(k, products, sizeof products);
  write_text(json, capacity, "{\"backend\":\"%s\",\"isa\":\"%s\",\"isas\":[%s],\"cpu\":\"%s\",\"threads\":%d,\"auto\":\"%s\",\"products\":{%s}}", cpu_backend(),
             k.isa, isas, name, engine->threads, cpu_prefers_bfloat16(k) ? "bfloat16" : "float32", products);
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
  if (arena < 0 || arena >= kArenas || bytes > kMostArenaBytes) {
    write_text(message, capacity, "Expected an arena of at most %lld bytes but received arena %d of %lld", (long long)kMostArenaBytes, arena, (long long)bytes);
    return BK_ARGUMENT;
  }
  if ((int64_t)bytes <= memory->bytes[arena]) return BK_OK;
  char** base = &memory->base[arena];
  int64_t* held = &memory->bytes[arena];
  if (is_transient(arena)) {
    if (pages_reserve(base, held, pages_room((int64_t)bytes)) || pages_reserve(base, held, (int64_t)bytes)) return BK_OK;
  } else if (char* larger = (char*)pages_grow(*base, *held, (int64_t)bytes, is_sparse(arena))) {
    *base = larger;
    *held = (int64_t)bytes;
    return BK_OK;
  }
  write_text(message, capacity, "No memory for an arena of %lld bytes", (long long)bytes);
  return BK_MEMORY;
}

int bk_memory_write(bk_memory* memory, int arena, uint64_t offset, const void* source, uint64_t bytes, char* message, size_t capacity) {
  if (const int error = check_range(memory, arena, offset, bytes, message, capacity)) return error;
  if (!bytes) return BK_OK;  // an empty arena has no base
  char* target = memory->base[arena] + offset;
  if (is_sparse(arena))
    pages_write(target, source, (int64_t)bytes);
  else
    memcpy(target, source, (size_t)bytes);
  return BK_OK;
}

int bk_memory_read(const bk_memory* memory, int arena, uint64_t offset, void* target, uint64_t bytes, char* message, size_t capacity) {
  if (const int error = check_range(memory, arena, offset, bytes, message, capacity)) return error;
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

double bk::engine_peak(const KernelTable& kernels, int peak, double seconds, float* data) {
  if (peak < BK_PEAK_FLOAT32 || peak > BK_PEAK_READ || (peak >= BK_PEAK_MEMORY && !data)) return 0;
  if (data) memset(data, 0, kPeakFloats * 4);  // pages that nobody has written are not in memory
  double done = 0;
  const double start = clock_seconds();
  while (clock_seconds() - start < seconds)
    done += peak >= BK_PEAK_MEMORY ? kernels.memory_peaks[peak - BK_PEAK_MEMORY](data, kPeakFloats) : kernels.product_peaks[peak](200000);
  return done / (clock_seconds() - start);
}
