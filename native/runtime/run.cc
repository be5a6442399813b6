// api.h as far as it is the same for the CPU and for CUDA: runs, ranges of memories, and words for what is wrong with either.
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "text.h"

using namespace bk;

int bk::fail(int error, char* message, size_t capacity, const char* text) {
  write_text(message, capacity, "%s", text);
  return error;
}

int bk::fail_data(const Record& record, const Status& s, char* message, size_t capacity) {
  write_text(message, capacity, "%s: %s[%lld] is %lld, expected at least %lld and below %lld", record.op->name, s.where, (long long)s.row, (long long)s.value,
             (long long)s.low, (long long)s.high);
  return BK_DATA;
}

bool bk::memory_has(const bk_memory* memory, int arena, uint64_t offset, uint64_t bytes) {
  return arena >= 0 && arena < kArenas && bytes <= (uint64_t)memory->bytes[arena] && offset <= (uint64_t)memory->bytes[arena] - bytes;
}

int bk::check_range(const bk_memory* memory, int arena, uint64_t offset, uint64_t bytes, char* message, size_t capacity) {
  return memory_has(memory, arena, offset, bytes) ? BK_OK : fail(BK_ARGUMENT, message, capacity, "The range lies outside the arena");
}

int bk::check_arenas(const bk_memory* memory, const Plan& plan, char* message, size_t capacity) {
  for (int i = 0; i < kArenas; i++)
    if (plan.arena_bytes[i] > memory->bytes[i]) {
      write_text(message, capacity, "Arena %d has %lld bytes, the plan needs %lld", i, (long long)memory->bytes[i], (long long)plan.arena_bytes[i]);
      return BK_ARGUMENT;
    }
  return BK_OK;
}

void bk::write_products(const KernelTable& kernels, char* json, size_t capacity) {
  int at = 0;
  const auto write = [&](const char* dtype, const auto& p) {
    at += write_text(json + at, capacity - (size_t)at, "\"%s\":{\"kernel\":\"%s\",\"rows\":%d,\"columns\":%d,\"unit\":%d,\"bytes\":%d}", dtype, p.how, p.rows,
                     p.columns, p.unit, p.size);
  };
  write("float32", kernels.float32);
  at += write_text(json + at, capacity - (size_t)at, ",");
  write("bfloat16", kernels.bfloat16);
}

void bk::engine_finish(bk_run* r, int error, const char* message) {
  bk_engine* engine = r->program->engine;
  if (r->done) r->done(r->user, error, message);
  free(r);
  engine->runs.fetch_sub(1, __ATOMIC_RELEASE);
}

uint64_t bk_ops_hash(void) { return ops_hash(); }

void bk_close(bk_engine* engine) {
  if (engine) runner_close(engine);
}

size_t bk_program_records(const bk_program* program) { return (size_t)program->plan.records; }

int bk_run_start(bk_program* program, bk_memory* memory, const double* scalars, size_t count, double* seconds, bk_done done, void* user, bk_run** out,
                 char* message, size_t capacity) {
  bk_run* r = create<bk_run>();
  if (!r) return fail(BK_MEMORY, message, capacity, "No memory for a run");
  // copied before they are checked: others may write into the caller's meanwhile
  if (count <= kMaxScalars) memcpy(r->scalars, scalars, count * sizeof(double));
  if (const int error = plan_check_scalars(program->plan, r->scalars, count, message, capacity)) {
    free(r);
    return error;
  }
  r->program = program;
  r->memory = memory;
  r->seconds = seconds;
  if (seconds) memset(seconds, 0, (size_t)program->plan.records * sizeof(double));
  r->done = done;
  r->user = user;
  program->engine->runs.fetch_add(1, __ATOMIC_RELAXED);
  if (out) *out = r;
  return runner_run(r, message, capacity);
}

void bk_run_cancel(bk_run* run) { run->cancelled.store(true, __ATOMIC_RELAXED); }
