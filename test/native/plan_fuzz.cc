// Mutates a valid plan and runs whatever still validates, on memory of exactly the sizes of the original: a plan is an error or a
// program that stays inside its arenas, whatever its numbers are. Built with BERTKIT_SANITIZE, where pages end at their last byte.
//
//   plan_fuzz [plans = 20000] [seed = 1]
#include "../../native/runtime/cpu.h"
#include "../../native/runtime/pages.h"
#include "all_ops.h"

using namespace all_ops;

#if defined(__SANITIZE_ADDRESS__)
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
#endif

namespace {

const int32_t kInteresting[] = {0,
                                1,
                                2,
                                3,
                                4,
                                5,
                                6,
                                7,
                                8,
                                15,
                                16,
                                17,
                                20,
                                21,
                                22,
                                37,
                                40,
                                63,
                                64,
                                65,
                                127,
                                128,
                                255,
                                256,
                                257,
                                1000,
                                4096,
                                65535,
                                65536,
                                1 << 20,
                                1 << 26,
                                1 << 27,
                                (1 << 28) - 1,
                                1 << 28,
                                1 << 29,
                                1 << 30,
                                INT32_MAX - 1,
                                INT32_MAX,
                                INT32_MIN,
                                INT32_MIN + 1,
                                -1,
                                -2,
                                -100,
                                0x3f800000,
                                0x3f7fffff,
                                0x3dcccccd,
                                0x7f800000,
                                0x7fc00000,
                                0x00000001};

int32_t interesting(Random& random) { return kInteresting[random.below((int64_t)(sizeof kInteresting / sizeof *kInteresting))]; }

void mutate_word(int32_t* word, const std::vector<int32_t>& words, Random& random) {
  switch (random.below(6)) {
    case 0: *word = (int32_t)((uint32_t)*word ^ 1u << random.below(32)); break;
    case 1: *word = interesting(random); break;
    case 2: *word = (int32_t)((uint32_t)*word + (uint32_t)(random.below(9) - 4)); break;
    case 3: *word = words[(size_t)random.below((int64_t)words.size())]; break;
    case 4: *word = (int32_t)random.bits(); break;
    default: *word = (int32_t)random.below(48);
  }
}

/** A few records of the plan, one of them perhaps twice, their words and the header mutated. */
std::vector<int32_t> mutated(const Plan& original, Random& random) {
  Plan plan;
  memcpy(plan.units, original.units, sizeof plan.units);
  const int64_t records = random.below(6);
  for (int64_t i = 0; i <= records; i++) plan.records.push_back(original.records[(size_t)random.below((int64_t)original.records.size())]);
  if (random.below(8) == 0) plan.records.push_back(plan.records[0]);
  std::vector<int32_t> words = plan.words();
  for (int64_t n = random.below(5); n > 0; n--) {
    const int64_t size = (int64_t)words.size();
    switch (random.below(10)) {
      case 0:  // what a run's size depends on: capacities, scalars, arenas
        mutate_word(&words[(size_t)(6 + random.below(bk::kHeader - 6))], words, random);
        break;
      case 1: {  // swap two words
        const size_t a = (size_t)(bk::kHeader + random.below(size - bk::kHeader)), b = (size_t)(bk::kHeader + random.below(size - bk::kHeader));
        std::swap(words[a], words[b]);
        break;
      }
      case 2:
        if (random.below(4)) {
          mutate_word(&words[(size_t)random.below(size)], words, random);
        } else {  // a plan cut short, its header saying so or not
          words.resize((size_t)random.below(size + 1));
          if (words.size() > 5 && random.below(2)) words[5] = (int32_t)words.size();
          return words;
        }
        break;
      case 5: {  // an operand where another one is: what a kernel takes for two may be one
        const size_t at = (size_t)(bk::kHeader + random.below(size - bk::kHeader));
        words[at] = words[std::min((size_t)size - 1, at + 1 + (size_t)random.below(10))];
        break;
      }
      default: mutate_word(&words[(size_t)(bk::kHeader + random.below(size - bk::kHeader))], words, random);
    }
  }
  return words;
}

std::vector<double> mutated_scalars(const std::vector<int32_t>& words, Random& random) {
  std::vector<double> s = scalars();
  const int64_t count = words[6 + kRows];
  if (count >= bk::kFixedScalars && count <= bk::kMaxScalars) s.resize((size_t)count, 0.5);
  for (int i = 0; i < kRows; i++) {
    const double capacity = words[(size_t)(6 + i)];
    if (s[(size_t)i] > capacity || random.below(8) == 0) s[(size_t)i] = capacity < 1 ? 0 : (double)random.below((int64_t)capacity + 1);
    if (random.below(8) == 0) s[(size_t)i] = capacity;
  }
  const double odd[] = {0, 1, -1, 1e300, -1e300, 9007199254740992.0, 4294967296.0, 1e-300, 0.5, 37.5};
  if (random.below(3) == 0) s[(size_t)random.below((int64_t)s.size())] = odd[random.below(10)];
  return s;
}

/** Arenas of exactly the sizes that the original plan asks for. */
struct Arenas {
  char* base[kArenas];
  int64_t bytes[kArenas];

  explicit Arenas(const Plan& original) {
    for (int i = 0; i < kArenas; i++) {
      bytes[i] = original.units[i] * kUnit;
      base[i] = (char*)bk::pages_allocate((size_t)bytes[i]);
    }
  }
};

void run_in_turn(bk::Run*, int tasks, bk::Task task, void* argument) {
  for (int i = 0; i < tasks; i++) task(argument, i, 0);
}

/** What the engine does with a valid plan, on this thread and with scratch of exactly the size that the plan asks for. */
int run_here(const bk::Plan& plan, const Arenas& arenas, const std::vector<double>& s) {
  char message[256];
  if (const int error = bk::plan_check_scalars(plan, s.data(), s.size(), message, sizeof message)) return error;
  for (int i = 0; i < kArenas; i++)
    if (plan.arena_bytes[i] > arenas.bytes[i]) return BK_ARGUMENT;
  char *shared = (char*)bk::pages_allocate(plan.scratch.shared), *local = (char*)bk::pages_allocate(plan.scratch.local);
  int result = (plan.scratch.shared && !shared) || (plan.scratch.local && !local) ? BK_MEMORY : BK_OK;
  bk::Run run = {s.data(), run_in_turn, shared, &local};
  for (int i = 0; i < plan.records && result == BK_OK; i++) {
    bk::Call call;
    bk::plan_resolve(plan.record[i], arenas.base, s.data(), &call);
    if (plan.record[i].kernel->run(run, call).where) result = BK_DATA;
  }
  bk::pages_free(shared, plan.scratch.shared);
  bk::pages_free(local, plan.scratch.local);
  return result;
}

/** The same through api.h, on three threads. */
int run_engine(const char* isa, const std::vector<int32_t>& words, const Arenas& arenas, const std::vector<double>& s) {
  char message[256];
  bk_engine* engine;
  bk_memory* memory;
  bk_program* program;
  if (bk_open(isa, 3, &engine, message, sizeof message) || bk_memory_create(engine, &memory)) return -1;
  for (int i = 0; i < kArenas; i++)
    if (bk_memory_reserve(memory, i, (uint64_t)arenas.bytes[i], nullptr, 0) ||
        bk_memory_write(memory, i, 0, arenas.base[i], (uint64_t)arenas.bytes[i], nullptr, 0))
      return -1;
  if (bk_program_create(engine, words.data(), words.size(), &program, message, sizeof message)) return -1;
  const int result = bk_run_start(program, memory, s.data(), s.size(), nullptr, nullptr, nullptr, nullptr, message, sizeof message);
  bk_program_free(program);
  bk_memory_free(memory);
  bk_close(engine);
  return result;
}

}  // namespace

/** Where a run of it can no longer be stopped: see bk::Plan::writes_weights_at. */
static int first_that_writes_weights(const bk::Plan& plan) {
  for (int i = 0; i < plan.records; i++)
    for (int k = 0; k < plan.record[i].op->operands; k++) {
      const int32_t word = plan.record[i].operands[k];
      if (plan.record[i].op->operand[k].output && word != -1 && (uint32_t)word >> 28 == 0) return i;
    }
  return plan.records;
}

int main(int argc, char** argv) {
  const int64_t plans = argc > 1 ? atoll(argv[1]) : 20000;
  Random random(argc > 2 ? (uint64_t)atoll(argv[2]) : 1);
  const Plan original = build();
  const bk::KernelTable* tables[bk::kMaxIsas];
  const int isas = bk::cpu_tables(tables);
  const Arenas arenas(original);
  std::vector<std::vector<char>> images[kArenas];  // contents to start from; writing them anew for each run would take most of the time
  for (int seed = 0; seed < 8; seed++)
    for (int i = 0; i < kArenas; i++) {
      images[i].emplace_back((size_t)arenas.bytes[i]);
      fill(original, i, images[i].back().data(), random);
    }

  constexpr int kEngineEvery = 64;  // threads are slow to start
  int64_t valid = 0, ran = 0, refused = 0;
  for (int64_t n = 0; n < plans; n++) {
    const std::vector<int32_t> words = n ? mutated(original, random) : original.words();
    const bk::KernelTable& kernels = *tables[random.below(isas)];
    char message[256] = "";
    bk::Plan plan;
    const int error = bk::plan_validate(words.data(), words.size(), kernels, &plan, message, sizeof message);
    if (error) {
      refused++;
      if (error == BK_PLAN && n > 0) continue;
      fprintf(stderr, "plan %lld: unexpected error %d: %s\n", (long long)n, error, message);
      return 1;
    }
    valid++;
    if (plan.writes_weights_at != first_that_writes_weights(plan)) {
      fprintf(stderr, "plan %lld: writes weights from record %d on, expected %d\n", (long long)n, plan.writes_weights_at, first_that_writes_weights(plan));
      return 1;
    }
    for (int i = 0; i < kArenas; i++) memcpy(arenas.base[i], images[i][(size_t)random.below(8)].data(), (size_t)arenas.bytes[i]);
    const std::vector<double> s = n ? mutated_scalars(words, random) : scalars();
    int result = valid % kEngineEvery == 1 ? run_engine(kernels.isa, words, arenas, s) : run_here(plan, arenas, s);
    bk::plan_free(&plan);
    if (result == BK_OK) ran++;
    if (result != BK_OK && (n == 0 || (result != BK_DATA && result != BK_MEMORY && result != BK_ARGUMENT))) {
      fprintf(stderr, "plan %lld: unexpected result %d\n", (long long)n, result);
      return 1;
    }
  }
  printf("%lld plans, %lld refused, %lld valid, of which %lld ran to their end, 0 reports\n", (long long)plans, (long long)refused, (long long)valid,
         (long long)ran);
  return 0;
}
