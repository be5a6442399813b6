// api.h for the CPU: engines, memories, programs, and the one thread that runs what is queued.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <exception>
#include <thread>

#include "../api.h"
#include "cpu.h"
#include "pages.h"
#include "plan.h"
#include "pool.h"

using namespace bk;

struct bk_engine {
  const KernelTable* kernels;
  int threads;
  std::atomic<int> runs{0};  // queued or running
};

/** Activations and io: what they hold does not outlive a run and its outputs. */
constexpr bool is_transient(int arena) { return arena == kArena_activations || arena == kArena_io; }

struct bk_memory {
  char* base[kArenas] = {};
  size_t bytes[kArenas] = {};
};

struct bk_program {
  bk_engine* engine;
  Plan plan;
};

struct bk_run {
  bk_program* program;
  bk_memory* memory;
  double scalars[kMaxScalars];
  double* seconds;  // of each record; null: not wanted
  bk_done done;
  void* user;
  bk_run* next = nullptr;
  std::atomic<bool> cancelled{false};
};

namespace {

int fail(int error, char* message, size_t capacity, const char* text) {
  snprintf(message, capacity, "%s", text);
  return error;
}

/** The kernel's view of a run: bk::Run with what its `parallel` needs. */
struct Execution : Run {
  int threads;
};

void run_parallel(Run* run, int tasks, Task task, void* argument) { pool_run(static_cast<Execution*>(run)->threads, tasks, task, argument); }

// The queue of the process. Engines come and go; the thread lives while any engine does.
struct Queue {
  std::mutex lifecycle;  // held while the thread is started or joined; never taken by that thread
  std::mutex mutex;
  std::condition_variable changed;
  bk_run *first = nullptr, *last = nullptr;
  std::thread thread;
  int engines = 0;
  bool stopping = false;
  char* shared = nullptr;
  size_t shared_bytes = 0;
};

Queue& queue() {
  static Queue* q = new Queue;  // never destroyed, see pool()
  return *q;
}

bool reserve_shared(Queue& q, size_t bytes) {
  if (q.shared_bytes >= bytes) return true;
  char* larger = (char*)pages_allocate(bytes);
  if (!larger) return false;
  pages_free(q.shared, q.shared_bytes);
  q.shared = larger;
  q.shared_bytes = bytes;
  return true;
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int execute(bk_run* r, char* message, size_t capacity) {
  Queue& q = queue();
  const Plan& plan = r->program->plan;
  for (int i = 0; i < kArenas; i++)
    if ((size_t)plan.arena_bytes[i] > r->memory->bytes[i]) {
      snprintf(message, capacity, "Arena %d has %zu bytes, the plan needs %lld", i, r->memory->bytes[i], (long long)plan.arena_bytes[i]);
      return BK_ARGUMENT;
    }
  const int threads = pool_grow(r->program->engine->threads);
  if (!pool_reserve(threads, plan.scratch.local) || !reserve_shared(q, plan.scratch.shared)) {
    snprintf(message, capacity, "No memory for %zu bytes of scratch", plan.scratch.local * (size_t)threads + plan.scratch.shared);
    return BK_MEMORY;
  }
  Execution run;
  run.scalars = r->scalars;
  run.parallel = run_parallel;
  run.shared = q.shared;
  run.local = pool_scratch();
  run.threads = threads;
  for (int i = 0; i < plan.records; i++) {
    if (r->cancelled.load(std::memory_order_relaxed)) {
      snprintf(message, capacity, "Cancelled before record %d of %d", i, plan.records);
      return BK_CANCELLED;
    }
    Call call;
    plan_resolve(plan.record[i], r->memory->base, r->scalars, &call);
    const Clock::time_point start = r->seconds ? Clock::now() : Clock::time_point();
    const Status s = plan.record[i].kernel->run(run, call);
    if (r->seconds) r->seconds[i] = seconds_since(start);
    if (s.where) {
      snprintf(message, capacity, "%s: %s[%lld] is %lld, expected at least %lld and below %lld", plan.record[i].op->name, s.where, (long long)s.row,
               (long long)s.value, (long long)s.low, (long long)s.high);
      return BK_DATA;
    }
  }
  return BK_OK;
}

void finish(bk_run* r, int error, const char* message) {
  bk_engine* engine = r->program->engine;
  r->done(r->user, error, message);  // may free the program and the memory
  delete r;
  engine->runs.fetch_sub(1, std::memory_order_release);
}

void serve() {
  Queue& q = queue();
  for (;;) {
    bk_run* r;
    {
      std::unique_lock<std::mutex> lock(q.mutex);
      q.changed.wait(lock, [&] { return q.stopping || q.first; });
      if (!q.first) return;
      r = q.first;
      q.first = r->next;
    }
    char message[256] = "";
    const int error = execute(r, message, sizeof message);
    finish(r, error, message);
  }
}

}  // namespace

uint64_t bk_ops_hash(void) { return ops_hash(); }

int bk_open(const char* isa, int threads, bk_engine** out, char* message, size_t capacity) {
  *out = nullptr;
  const KernelTable* tables[kMaxIsas];
  const int n = cpu_tables(tables);
  const KernelTable* chosen = nullptr;
  for (int i = 0; i < n && !chosen; i++)
    if ((!isa || !strcmp(tables[i]->isa, isa)) && cpu_may_use(*tables[i])) chosen = tables[i];
  if (!chosen) {
    int length = snprintf(message, capacity, "This machine cannot run instruction set '%.24s'; it has", isa);
    for (int i = 0; i < n && length > 0 && (size_t)length < capacity; i++)
      length += snprintf(message + length, capacity - (size_t)length, " %s", tables[i]->isa);
    return BK_ARGUMENT;
  }
  if (threads < 0 || threads > kMaxThreads) {
    snprintf(message, capacity, "Expected 0 to %d threads but received %d", kMaxThreads, threads);
    return BK_ARGUMENT;
  }
  bk_engine* engine = new (std::nothrow) bk_engine;
  if (!engine) return fail(BK_MEMORY, message, capacity, "No memory for an engine");
  engine->kernels = chosen;
  engine->threads = threads ? threads : cpu_count();
  Queue& q = queue();
  std::lock_guard<std::mutex> lifecycle(q.lifecycle);
  if (q.engines == 0) {
    try {
      q.stopping = false;
      q.thread = std::thread(serve);
    } catch (const std::exception&) {  // std::system_error, or std::bad_alloc for the thread's own state
      delete engine;
      return fail(BK_MEMORY, message, capacity, "The system gives no thread for the engine");
    }
  }
  q.engines++;
  *out = engine;
  return BK_OK;
}

void bk_close(bk_engine* engine) {
  if (!engine) return;
  while (engine->runs.load(std::memory_order_acquire) > 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  delete engine;
  Queue& q = queue();
  std::lock_guard<std::mutex> lifecycle(q.lifecycle);
  if (--q.engines > 0) return;
  {
    std::lock_guard<std::mutex> lock(q.mutex);
    q.stopping = true;
    q.changed.notify_all();
  }
  q.thread.join();
  pool_stop();
  pages_free(q.shared, q.shared_bytes);
  q.shared = nullptr;
  q.shared_bytes = 0;
}

void bk_describe(bk_engine* engine, char* json, size_t capacity) {
  const KernelTable* tables[kMaxIsas];
  const int n = cpu_tables(tables);
  const KernelTable& k = *engine->kernels;
  char name[64], isas[128] = "";
  cpu_name(name, sizeof name);
  for (int i = 0; i < n; i++) snprintf(isas + strlen(isas), sizeof isas - strlen(isas), "%s\"%s\"", i ? "," : "", tables[i]->isa);
  for (char* c = name; *c; c++)
    if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = ' ';
  const auto product = [](const char* dtype, const auto& p, char* text, size_t size) {
    snprintf(text, size, "\"%s\":{\"kernel\":\"%s\",\"rows\":%d,\"columns\":%d,\"unit\":%d,\"bytes\":%d}", dtype, p.how, p.rows, p.columns, p.unit, p.size);
    return text;
  };
  char float32[128], bfloat16[128];
  snprintf(json, capacity, "{\"backend\":\"cpu\",\"isa\":\"%s\",\"isas\":[%s],\"cpu\":\"%s\",\"threads\":%d,\"auto\":\"%s\",\"products\":{%s,%s}}", k.isa, isas,
           name, engine->threads, cpu_prefers_bfloat16(k) ? "bfloat16" : "float32", product("float32", k.float32, float32, sizeof float32),
           product("bfloat16", k.bfloat16, bfloat16, sizeof bfloat16));
}

int bk_memory_create(bk_engine*, bk_memory** memory) {
  *memory = new (std::nothrow) bk_memory;
  return *memory ? BK_OK : BK_MEMORY;
}

void bk_memory_free(bk_memory* memory) {
  if (!memory) return;
  for (int i = 0; i < kArenas; i++) pages_free(memory->base[i], memory->bytes[i]);
  delete memory;
}

int bk_memory_release(bk_memory* memory, int arena) {
  if (arena < 0 || arena >= kArenas) return BK_ARGUMENT;
  pages_free(memory->base[arena], memory->bytes[arena]);
  memory->base[arena] = nullptr;
  memory->bytes[arena] = 0;
  return BK_OK;
}

int bk_memory_reserve(bk_memory* memory, int arena, uint64_t bytes) {
  if (arena < 0 || arena >= kArenas || bytes > (uint64_t)1 << 34) return BK_ARGUMENT;
  if (bytes <= memory->bytes[arena]) return BK_OK;
  if (is_transient(arena)) {  // freed first, so that old and new are never both in memory
    bk_memory_release(memory, arena);
  }
  char* larger = (char*)pages_grow(memory->base[arena], memory->bytes[arena], (size_t)bytes);
  if (!larger) return BK_MEMORY;
  memory->base[arena] = larger;
  memory->bytes[arena] = (size_t)bytes;
  return BK_OK;
}

static bool inside(const bk_memory* memory, int arena, uint64_t offset, uint64_t bytes) {
  return arena >= 0 && arena < kArenas && bytes <= memory->bytes[arena] && offset <= memory->bytes[arena] - bytes;
}

int bk_memory_write(bk_memory* memory, int arena, uint64_t offset, const void* source, uint64_t bytes) {
  if (!inside(memory, arena, offset, bytes)) return BK_ARGUMENT;
  if (bytes) memcpy(memory->base[arena] + offset, source, (size_t)bytes);  // an empty arena has no base
  return BK_OK;
}

int bk_memory_read(const bk_memory* memory, int arena, uint64_t offset, void* target, uint64_t bytes) {
  if (!inside(memory, arena, offset, bytes)) return BK_ARGUMENT;
  if (bytes) memcpy(target, memory->base[arena] + offset, (size_t)bytes);
  return BK_OK;
}

int bk_program_create(bk_engine* engine, const int32_t* words, size_t length, bk_program** out, char* message, size_t capacity) {
  *out = nullptr;
  Plan plan;
  if (const int error = plan_validate(words, length, *engine->kernels, &plan, message, capacity)) return error;
  bk_program* program = new (std::nothrow) bk_program;
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
  delete program;
}

size_t bk_program_records(const bk_program* program) { return (size_t)program->plan.records; }

namespace {
struct Waiter {
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  int error = 0;
  char* message;
  size_t capacity;
};
void wake_waiter(void* user, int error, const char* message) {
  Waiter* w = (Waiter*)user;
  std::lock_guard<std::mutex> lock(w->mutex);
  w->error = error;
  snprintf(w->message, w->capacity, "%s", message);
  w->ended = true;
  w->changed.notify_all();
}
}  // namespace

int bk_run_start(bk_program* program, bk_memory* memory, const double* scalars, size_t count, double* seconds, bk_done done, void* user, bk_run** out,
                 char* message, size_t capacity) {
  if (const int error = plan_check_scalars(program->plan, scalars, count, message, capacity)) return error;
  bk_run* r = new (std::nothrow) bk_run;
  if (!r) return fail(BK_MEMORY, message, capacity, "No memory for a run");
  Waiter waiter;
  waiter.message = message;
  waiter.capacity = capacity;
  r->program = program;
  r->memory = memory;
  memcpy(r->scalars, scalars, count * sizeof(double));
  r->seconds = seconds;
  if (seconds) std::fill_n(seconds, program->plan.records, 0.0);
  r->done = done ? done : wake_waiter;
  r->user = done ? user : &waiter;
  program->engine->runs.fetch_add(1, std::memory_order_relaxed);
  if (out) *out = r;
  Queue& q = queue();
  {
    std::lock_guard<std::mutex> lock(q.mutex);
    (q.first ? q.last->next : q.first) = r;
    q.last = r;
    q.changed.notify_all();
  }
  if (done) return BK_OK;
  std::unique_lock<std::mutex> lock(waiter.mutex);
  waiter.changed.wait(lock, [&] { return waiter.ended; });
  return waiter.error;
}

void bk_run_cancel(bk_run* run) { run->cancelled.store(true, std::memory_order_relaxed); }

double bk_measure_peak(bk_engine* engine, int peak, double seconds) {
  constexpr int64_t kFloats = (int64_t)16 << 20;
  if (peak < BK_PEAK_FLOAT32 || peak > BK_PEAK_READ) return 0;
  const KernelTable& kernels = *engine->kernels;
  const auto measure = [&]() -> double {
    std::unique_ptr<float[]> data;
    if (peak >= BK_PEAK_MEMORY) {
      data.reset(new (std::nothrow) float[kFloats]());
      if (!data) return 0;
    }
    double done = 0;
    const Clock::time_point start = Clock::now();
    while (seconds_since(start) < seconds)
      done += data ? kernels.memory_peaks[peak - BK_PEAK_MEMORY](data.get(), kFloats) : kernels.product_peaks[peak](200000);
    return done / seconds_since(start);
  };
  std::unique_ptr<std::thread[]> others(new (std::nothrow) std::thread[(size_t)engine->threads]);
  std::unique_ptr<double[]> rates(new (std::nothrow) double[(size_t)engine->threads]());
  if (!others || !rates) return 0;
  try {
    for (int i = 1; i < engine->threads; i++) others[(size_t)i] = std::thread([&, i] { rates[(size_t)i] = measure(); });
  } catch (const std::exception&) {  // measured with the threads there are
  }
  rates[0] = measure();
  double total = rates[0];
  for (int i = 1; i < engine->threads; i++) {
    if (others[(size_t)i].joinable()) others[(size_t)i].join();
    total += rates[(size_t)i];
  }
  return total;
}
