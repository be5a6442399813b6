// Runs the plan of all_ops.h on every instruction set of this CPU and holds each operand's contents to those of `wide`, which shares
// neither the lanes, nor the blocks, nor fused products with any other: shows that kernels run and compute the same, also under an
// emulator where Node does not run.
//
//   isa_agree            prints one line per instruction set; exits with 1 when one differs
#include <math.h>

#include "all_ops.h"

using namespace all_ops;

namespace {

// Relative L2 distance per operand. Instruction sets differ in the order of sums and in fused products only: some 1e-7 each.
// Of bfloat16, an element that lies between two may be rounded to either, which is 2^-8 of it.
constexpr double kTolerance = 1e-5, kBfloat16Tolerance = 4e-3;

bool failed(int error, const char* message) {
  if (error) fprintf(stderr, "error %d: %s\n", error, message);
  return error != 0;
}

/** Every operand's contents after a run on `isa`, inputs and outputs alike. */
bool run(const Plan& plan, const char* isa, int threads, std::vector<std::vector<int32_t>>* contents) {
  char message[256] = "";
  bk_engine* engine;
  bk_memory* memory;
  bk_program* program;
  if (failed(bk_open(isa, threads, &engine, message, sizeof message), message)) return false;
  if (failed(bk_memory_create(engine, &memory), "memory")) return false;
  Random random(7);
  for (int i = 0; i < kArenas; i++) {
    std::vector<char> contents((size_t)(plan.units[i] * kUnit));
    fill(plan, i, contents.data(), random);
    if (failed(bk_memory_reserve(memory, i, contents.size(), nullptr, 0), "reserve")) return false;
    if (failed(bk_memory_write(memory, i, 0, contents.data(), contents.size(), nullptr, 0), "write")) return false;
  }
  const std::vector<int32_t> words = plan.words();
  if (failed(bk_program_create(engine, words.data(), words.size(), &program, message, sizeof message), message)) return false;
  const std::vector<double> s = scalars();
  if (failed(bk_run_start(program, memory, s.data(), s.size(), nullptr, nullptr, nullptr, nullptr, message, sizeof message), message)) return false;
  for (const Operand& o : plan.operands) {
    std::vector<int32_t> got((size_t)o.elements);
    std::vector<uint16_t> halves(o.size == 2 ? got.size() : 0);
    void* target = o.size == 2 ? (void*)halves.data() : (void*)got.data();
    if (failed(bk_memory_read(memory, o.arena, (uint64_t)o.offset, target, got.size() * (size_t)o.size, nullptr, 0), "read")) return false;
    for (size_t i = 0; i < halves.size(); i++) got[i] = (int32_t)((uint32_t)halves[i] << 16);
    contents->push_back(got);
  }
  bk_program_free(program);
  bk_memory_free(memory);
  bk_close(engine);
  return true;
}

float real(int32_t word) {
  float f;
  memcpy(&f, &word, 4);
  return f;
}

double distance(const std::vector<int32_t>& got, const std::vector<int32_t>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); i++) {
    if (got[i] == want[i]) {
      if (isfinite(real(want[i]))) norm += (double)real(want[i]) * real(want[i]);
      continue;
    }
    const double d = (double)real(got[i]) - real(want[i]);
    if (!isfinite(d)) return INFINITY;
    error += d * d;
    norm += (double)real(want[i]) * real(want[i]);
  }
  if (got.size() == 1 && norm < 1) norm = 1;  // one sum of many terms of about 1, which may cancel
  return error == 0 ? 0 : sqrt(error) / (norm > 0 ? sqrt(norm) : 1e-30);
}

}  // namespace

int main() {
  const Plan plan = build();
  std::vector<std::vector<int32_t>> want;
  if (!run(plan, "wide", 1, &want)) return 1;
  char message[256], json[512];
  bk_engine* engine;
  if (failed(bk_open(nullptr, 1, &engine, message, sizeof message), message)) return 1;
  bk_describe(engine, json, sizeof json);
  bk_close(engine);
  int differ = 0;
  for (const char* isa : {"amx", "avx512bf16", "avx512", "avx2", "neonbf16", "neon", "scalar", "tiles", "wide"}) {
    if (!strstr(json, (std::string("\"") + isa + "\"").c_str())) continue;
    std::vector<std::vector<int32_t>> got;
    if (!run(plan, isa, 3, &got)) return 1;
    double worst = 0;
    for (size_t i = 0; i < got.size(); i++) {
      const Operand& o = plan.operands[i];
      // packed weights are each instruction set's own, and products of ours, which no one has packed, are of nothing
      bool packed = false;
      for (const Operand& other : plan.operands) packed = packed || (other.record == o.record && other.name() == "packed");
      if (packed || o.name() == "forward" || o.name() == "backward") continue;
      const double d = distance(got[i], want[i]);
      bool bfloat16 = false;
      for (const Operand& other : plan.operands) bfloat16 = bfloat16 || (other.record == o.record && other.size == 2);
      if (d > (bfloat16 ? kBfloat16Tolerance : kTolerance)) {
        printf("%s: record %d (%s): %s differs from wide by %g\n", isa, o.record, o.op->name, o.info->name, d);
        differ++;
      }
      if (d > worst) worst = d;
    }
    printf("%s: %zu records, %zu operands, greatest relative difference from wide %.2g\n", isa, plan.records.size(), got.size(), worst);
  }
  return differ ? 1 : 0;
}
