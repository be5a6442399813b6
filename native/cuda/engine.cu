// api.h on a CUDA device. A program is a graph: its records' launches are captured when it first runs with a memory, and replayed for every
// run after that. What a run brings, row counts and scalars, is copied to the device before; nothing is waited for in between.
#include "engine.h"
#include "hopper.cuh"

#include <stdlib.h>

#include "../runtime/text.h"

using namespace bk;
using namespace bk::cuda;

const KernelTable bk::cuda::kernels_cuda = {"cuda", {"tensor cores, 3 x TF32", 16, 8, 8, 0}, {"tensor cores", 16, 8, 8, 2}, {}, {}, {}};

namespace {

/** What a check that failed has found: the data is read again, from the device. */
cudaError_t found(const Check& check, int64_t row, const double* scalars, Status* status) {
  if (!check.data) {
    *status = {check.where, 0, (int64_t)scalars[check.high_symbol], row, row + 1};
    return cudaSuccess;
  }
  int32_t value = 0, before = 0;
  cudaError_t e = cudaMemcpy(&value, check.data + row, sizeof value, cudaMemcpyDeviceToHost);
  if (e == cudaSuccess && check.borders && row > 0) e = cudaMemcpy(&before, check.data + row - 1, sizeof before, cudaMemcpyDeviceToHost);
  const int64_t counted = check.high_symbol >= 0 ? (int64_t)scalars[check.high_symbol] : 0;
  *status = {check.where, row, value, check.borders ? before + check.low : check.low, check.high + counted};
  if (check.borders && value >= status->low && value < status->high) status->low = status->high - 1;  // the last one, which is not the end
  return e;
}

void drop_graph(Program& program) {
  if (program.graph) cudaGraphExecDestroy(program.graph);
  program.graph = nullptr;
}

/** A graph of all records for this memory; where attributes cannot be, `status` and no graph. */
cudaError_t capture(Device& device, Program& program, const Memory* memory) {
  drop_graph(program);
  program.status = kOk;
  Recorder recorder(device, program, memory, false);
  recorder.launch.overlaps = chooses_hopper(recorder.launch);
  cudaError_t e = cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal);
  if (e != cudaSuccess) return e;
  int at = 0;
  for (int taken = 1; at < program.plan.records && taken; at += taken) taken = recorder.record(at);
  cudaGraph_t graph = nullptr;
  e = cudaStreamEndCapture(device.stream, &graph);
  if (recorder.launch.error != cudaSuccess) e = recorder.launch.error;
  if (recorder.status.where) {
    program.status = recorder.status;
    program.status_record = at;
  } else if (e == cudaSuccess) {
    e = cudaGraphInstantiate(&program.graph, graph, 0);
  }
  if (graph) cudaGraphDestroy(graph);
  if (e != cudaSuccess) return e;
  program.memory_state = memory->state;
  program.scratch = device.scratch.data;
  return cudaSuccess;
}

bool is_captured(const Device& device, const Program& program, const Memory* memory) {
  return program.graph && program.memory_state == memory->state && program.scratch == device.scratch.data;
}

cudaError_t reserve_scratch(Device& device, int64_t bytes) {
  if (bytes <= device.scratch.bytes) return cudaSuccess;
  char* data = nullptr;
  const cudaError_t e = cudaMalloc((void**)&data, (size_t)bytes);
  if (e != cudaSuccess) return e;
  cudaFree(device.scratch.data);
  device.scratch = {data, bytes};
  return cudaSuccess;
}

/** Launches one record after another with an event between them: `seconds` of each, those of several that go together for the first of them. */
cudaError_t run_timed(Device& device, Program& program, const Memory* memory, double* seconds) {
  Recorder recorder(device, program, memory, false);
  cudaEvent_t before, after;
  cudaError_t e = cudaEventCreate(&before);
  if (e != cudaSuccess) return e;
  e = cudaEventCreate(&after);
  if (e != cudaSuccess) {
    cudaEventDestroy(before);
    return e;
  }
  program.status = kOk;
  for (int i = 0, taken; e == cudaSuccess && i < program.plan.records; i += taken) {
    e = cudaEventRecord(before, device.stream);
    taken = recorder.record(i);
    if (!taken) {
      program.status = recorder.status;
      program.status_record = i;
      e = recorder.launch.error;
      break;
    }
    if (e == cudaSuccess) e = cudaEventRecord(after, device.stream);
    if (e == cudaSuccess) e = cudaEventSynchronize(after);
    float milliseconds = 0;
    if (e == cudaSuccess) e = cudaEventElapsedTime(&milliseconds, before, after);
    for (int k = 0; k < taken; k++) seconds[i + k] = k == 0 ? milliseconds / 1e3 : 0;
  }
  cudaEventDestroy(before);
  cudaEventDestroy(after);
  return e;
}

/** Copies what the run brings to the device, behind what was written before it, and declares that nothing has failed yet. */
cudaError_t begin(Device& device, const bk_run* r) {
  memcpy(device.pinned_state->scalars, r->scalars, sizeof r->scalars);
  for (int i = 0; i < kRows; i++) device.pinned_state->rows[i] = (int32_t)r->scalars[i];
  cudaError_t e = cudaEventRecord(device.written, device.copies);
  if (e == cudaSuccess) e = cudaStreamWaitEvent(device.stream, device.written);
  if (e == cudaSuccess) e = cudaMemcpyAsync(device.state, device.pinned_state, sizeof(RunState), cudaMemcpyHostToDevice, device.stream);
  if (e == cudaSuccess) e = cudaMemsetAsync(device.failure, 0xff, sizeof(Failure), device.stream);
  return e;
}

cudaError_t end(Device& device) {
  cudaError_t e = cudaMemcpyAsync(device.pinned_failure, device.failure, sizeof(Failure), cudaMemcpyDeviceToHost, device.stream);
  if (e == cudaSuccess) e = cudaStreamSynchronize(device.stream);
  return e;
}

}  // namespace

int bk::engine_execute(bk_run* r, char* message, size_t capacity) {
  const Calling calling;
  Program& program = *static_cast<Program*>(r->program);
  Memory* memory = static_cast<Memory*>(r->memory);
  Device& device = *static_cast<Engine*>(program.engine)->device;
  if (const int error = device_alive(device, message, capacity)) return error;
  if (runner_cancels(r)) return fail(BK_CANCELLED, message, capacity, "Cancelled before it began");
  if (const int error = check_arenas(memory, program.plan, message, capacity)) return error;
  char what[64];
  write_text(what, sizeof what, "Scratch of %lld bytes", (long long)program.scratch_bytes);
  if (const int error = device_check(device, reserve_scratch(device, program.scratch_bytes), what, message, capacity)) return error;
  cudaError_t e = begin(device, r);
  if (e == cudaSuccess && r->seconds) {
    e = run_timed(device, program, memory, r->seconds);
  } else if (e == cudaSuccess) {
    if (!is_captured(device, program, memory)) e = capture(device, program, memory);
    if (e == cudaSuccess && program.graph) e = cudaGraphLaunch(program.graph, device.stream);
  }
  if (e == cudaSuccess) e = end(device);
  if (const int error = device_check(device, e, "A run", message, capacity)) {
    drop_graph(program);
    return error;
  }
  memory->staged_used = 0;  // the run waited for all of it
  if (program.status.where) return fail_data(program.plan.record[program.status_record], program.status, message, capacity);
  const Failure failure = *device.pinned_failure;
  if (failure == kNoFailure) return BK_OK;
  const Check& check = program.checks[failure >> 32];
  Status status;
  if (const int error = device_check(device, found(check, (int64_t)(failure & 0xffffffffu), r->scalars, &status), "A run", message, capacity)) return error;
  return fail_data(program.plan.record[check.record], status, message, capacity);
}

void bk::engine_release() {}

int bk_open(const char*, int, bk_engine** out, char* message, size_t capacity) {
  *out = nullptr;
  int error;
  Device* device = device_open(&error, message, capacity);
  if (!device) return error;
  Engine* engine = create<Engine>();
  if (!engine) return fail(BK_MEMORY, message, capacity, "No memory for an engine");
  engine->kernels = &kernels_cuda;
  engine->threads = 1;
  engine->device = device;
  if (!runner_open()) {
    free(engine);
    return fail(BK_MEMORY, message, capacity, "The system gives no thread for the engine");
  }
  *out = engine;
  return BK_OK;
}

void bk_describe(bk_engine* engine, char* json, size_t capacity) {
  const Device& d = *static_cast<Engine*>(engine)->device;
  char name[64], products[320];
  write_text(name, sizeof name, "%s", d.properties.name);
  for (char* c = name; *c; c++)
    if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = ' ';
  write_products(kernels_cuda, products, sizeof products);
  write_text(json, capacity,
             "{\"backend\":\"cuda\",\"isa\":\"sm_%d%d\",\"isas\":[\"sm_%d%d\"],\"cpu\":\"%s\",\"threads\":1,\"auto\":\"bfloat16\",\"products\":{%s}}",
             d.properties.major, d.properties.minor, d.properties.major, d.properties.minor, name, products);
}

int bk_program_create(bk_engine* engine, const int32_t* words, size_t length, bk_program** out, char* message, size_t capacity) {
  *out = nullptr;
  Device& device = *static_cast<Engine*>(engine)->device;
  if (const int error = device_alive(device, message, capacity)) return error;
  Plan plan;
  if (const int error = plan_validate(words, length, kernels_cuda, &plan, message, capacity)) return error;
  Program* program = create<Program>();
  Check* checks = (Check*)calloc(kMaxChecks, sizeof(Check));
  if (!program || !checks) {
    plan_free(&plan);
    free(program);
    free(checks);
    return fail(BK_MEMORY, message, capacity, "No memory for a program");
  }
  program->engine = engine;
  program->plan = plan;
  program->checks = checks;
  Recorder recorder(device, *program, nullptr, true);
  for (int i = 0, taken; i < plan.records; i += taken ? taken : 1) taken = recorder.record(i);  // what is wrong with attributes is told when it runs
  program->scratch_bytes = recorder.launch.scratch_most;
  *out = program;
  return BK_OK;
}

void bk_program_free(bk_program* handle) {
  if (!handle) return;
  Program* program = static_cast<Program*>(handle);
  drop_graph(*program);
  plan_free(&program->plan);
  free(program->checks);
  free(program);
}
