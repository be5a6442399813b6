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
  bool (*meets)(const Record&, const Record&);  // by where their operands lie, and attributes: while scratch is measured there is no memory
  PairLauncher launch;
};

/** Whether both have the same operands from `at` and `other` on, `count` of them. */
bool same_operands(const Record& a, int at, const Record& b, int other, int count) {
  return memcmp(a.operands + at, b.operands + other, count * sizeof a.operands[0]) == 0;
}

const Pair kPairs[] = {
    // dy, sum, mean and rstd; rows, H and type. What the first writes, gradients of parameters, the second does not read
    {layer_norm_backward_weight, layer_norm_backward,
     [](const Record& weight, const Record& data) {
       return same_operands(weight, 0, data, 0, 4) && weight.attributes[0] == data.attributes[0] && weight.attributes[1] == data.attributes[1] &&
              weight.attributes[3] == data.attributes[5];
     },
     layer_norm_backward_whole},
    // dx, which becomes dz where it is; rows, and K as N
    {linear_backward_data, activation_backward,
     [](const Record& data, const Record& activation) {
       return same_operands(data, 3, activation, 0, 1) && same_operands(data, 3, activation, 2, 1) && data.attributes[0] == activation.attributes[0] &&
              data.attributes[1] == activation.attributes[1];
     },
     linear_backward_data_slopes},
};

const Pair* pair_of(const Record& first, const Record& second) {
  for (const Pair& pair : kPairs)
    if (launcher(first) == pair.first && launcher(second) == pair.second && pair.meets(first, second)) return &pair;
  return nullptr;
}

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
  if (launcher(program_.plan.record[first]) != adamw) return false;
  // of adamw: operands g, norm, w, exp_avg, exp_avg_sq, forward, backward; attributes n, W, G, w_first, g_first
  const Record& mine = program_.plan.record[index];
  if (launcher(mine) != adamw) return false;
  for (int i = first; i < index; i++) {
    const Record& other = program_.plan.record[i];
    const auto meet = [&](int operand, int from) {
      return mine.operands[operand] == other.operands[operand] && mine.attributes[from] < other.attributes[from] + other.attributes[0] &&
             other.attributes[from] < mine.attributes[from] + mine.attributes[0];
    };
    const auto same = [&](int operand) { return mine.operands[operand] != -1 && mine.operands[operand] == other.operands[operand]; };
    if (mine.operands[1] != other.operands[1] || meet(2, 3) || meet(3, 4) || meet(4, 4) || same(5) || same(6)) return false;
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
  const Pair* pair = count == 1 && left > 1 ? pair_of(record[0], record[1]) : nullptr;
  if (pair) {
    resolve();
    if (pair->launch(launch, operands[0], operands[1])) return launch.error == cudaSuccess ? 2 : 0;
  }
  status = launcher(*record)(launch, operands[0]);
  return !status.where && launch.error == cudaSuccess ? 1 : 0;
}

}  // namespace cuda
}  // namespace bk
