// From a plan's records to launches: the list of launchers, from ops.def, and what they are given.
#include "engine.h"

namespace bk {
namespace cuda {

namespace {

const Launcher kLaunchers[] = {
    nullptr,
#define OP(id, name, inputs, outputs, attributes) name,
#include "../ops.def"
};

Launcher launcher(const Record& record) { return kLaunchers[record.kernel - kernels_cuda.kernels]; }

/** Records that are launched together where they are neighbours in a plan. */
struct Pair {
  Launcher first, second;
  // by where their operands lie, and attributes: while scratch is measured there is no memory
  bool (*meets)(const Plan&, const Record&, const Record&);
  PairLauncher launch;
};

/** Whether both have the same operands from `at` and `other` on, `count` of them. */
bool same_operands(const Record& a, int at, const Record& b, int other, int count) {
  return memcmp(a.operands + at, b.operands + other, count * sizeof a.operands[0]) == 0;
}

const Pair kPairs[] = {
    // dy, sum, mean and rstd; rows, H and type. What the first writes the second neither reads nor writes
    {layer_norm_backward_weight, layer_norm_backward,
     [](const Plan& plan, const Record& weight, const Record& data) {
       for (int of_weight = 4; of_weight < 6; of_weight++)
         for (int of_data = 4; of_data < 8; of_data++)
           if (overlap(plan_range(plan, weight, of_weight), plan_range(plan, data, of_data))) return false;
       return same_operands(weight, 0, data, 0, 4) && weight.attributes[0] == data.attributes[0] && weight.attributes[1] == data.attributes[1] &&
              weight.attributes[3] == data.attributes[5];
     },
     layer_norm_backward_whole},
    // dx, which becomes dz where it is, with no y; rows, and K as N
    {linear_backward_data, activation_backward,
     [](const Plan&, const Record& data, const Record& activation) {
       return activation.operands[3] == -1 && same_operands(data, 3, activation, 0, 1) && same_operands(data, 3, activation, 2, 1) &&
              data.attributes[0] == activation.attributes[0] && data.attributes[1] == activation.attributes[1];
     },
     linear_backward_data_slopes},
};

const Pair* pair_of(const Plan& plan, const Record& first, const Record& second) {
  for (const Pair& pair : kPairs)
    if (launcher(first) == pair.first && launcher(second) == pair.second && pair.meets(plan, first, second)) return &pair;
  return nullptr;
}

/** What a record of adamw touches: its operands, of which it writes the outputs. */
struct Touched {
  const OpInfo* op;
  Range range[kMaxOperands];

  Touched(const Plan& plan, const Record& r) : op(r.op) {
    for (int i = 0; i < op->operands; i++) range[i] = plan_range(plan, r, i);
    // of g, w, exp_avg and exp_avg_sq n elements from a first one on; attributes n, W, G, w_first, g_first
    for (const int i : {0, 2, 3, 4}) {
      range[i].begin += 4 * (int64_t)r.attributes[i == 2 ? 3 : 4];
      range[i].end = range[i].begin + 4 * (int64_t)r.attributes[0];
    }
  }
  bool writes_to(const Touched& other) const {
    for (int mine = 0; mine < op->operands; mine++)
      for (int theirs = 0; theirs < other.op->operands; theirs++)
        if (op->operand[mine].output && overlap(range[mine], other.range[theirs])) return true;
    return false;
  }
};

}  // namespace

Recorder::Recorder(Device& device, Program& program, const Memory* memory, bool measuring) : program_(program), memory_(memory) {
  launch = {};
  launch.stream = device.stream;
  launch.state = device.state;
  launch.failure = device.failure;
  launch.scratch = device.scratch.data;
  launch.measuring = measuring;
  launch.multiprocessors = device.properties.multiProcessorCount;
  launch.shared_bytes = (int)device.properties.sharedMemPerBlockOptin;
  launch.capability = device.properties.major * 10 + device.properties.minor;
  launch.checks = program.checks;
}

bool Recorder::updates(int index, int first) const {
  const Plan& plan = program_.plan;
  if (launcher(plan.record[first]) != adamw || launcher(plan.record[index]) != adamw) return false;
  const Touched mine(plan, plan.record[index]);
  for (int i = first; i < index; i++) {
    const Touched other(plan, plan.record[i]);
    if (plan.record[i].operands[1] != plan.record[index].operands[1] || mine.writes_to(other) || other.writes_to(mine)) return false;
  }
  return true;
}

char* Recorder::place(int32_t word) const {
  if (word == -1) return nullptr;
  return memory_ ? memory_->base[(uint32_t)word >> 28 & (kArenas - 1)] + (word & 0x0fffffff) * kUnit : (char*)this;
}

struct Recorder::Resolved {
  Call call;
  int32_t symbols[kMaxAttributes];

  void resolve(const Recorder& recorder, const Record& record) {
    for (int i = 0; i < record.op->operands; i++) call.operands[i] = recorder.place(record.operands[i]);
    for (int i = 0; i < record.op->attributes; i++) {
      const bool is_row = record.op->attribute[i].kind == 'r';
      symbols[i] = record.attributes[i];
      call.attributes[i] = is_row ? recorder.program_.plan.capacity[record.attributes[i]] : record.attributes[i];
    }
  }
  Operands in(const Launch& launch) const { return Operands(launch, call, symbols); }
};

int Recorder::record(int index) {
  const Record* const record = program_.plan.record + index;
  launch.record = index;
  launch.scratch_used = 0;
  status = kOk;
  Resolved resolved[kMostUpdates];
  Operands operands[kMostUpdates];
  int count = 0;
  const auto resolve = [&] {
    resolved[count].resolve(*this, record[count]);
    operands[count] = resolved[count].in(launch);
    count++;
  };
  resolve();
  const int left = program_.plan.records - index;
  while (count < kMostUpdates && count < left && updates(index + count, index)) resolve();
  if (count > 1 && adamw_together(launch, operands, count)) return launch.error == cudaSuccess ? count : 0;
  const Pair* pair = count == 1 && left > 1 ? pair_of(program_.plan, record[0], record[1]) : nullptr;
  if (pair) {
    resolve();
    if (pair->launch(launch, operands[0], operands[1])) return launch.error == cudaSuccess ? 2 : 0;
  }
  status = launcher(*record)(launch, operands[0]);
  return !status.where && launch.error == cudaSuccess ? 1 : 0;
}

}  // namespace cuda
}  // namespace bk
