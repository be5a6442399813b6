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
    if (meet(2, 3) || meet(3, 4) || meet(4, 4) || same(5) || same(6)) return false;
  }
  return true;
}

char* Recorder::place(int32_t word) const {
  if (word == -1) return nullptr;
  return memory_ ? memory_->base[(uint32_t)word >> 28 & (kArenas - 1)] + (word & 0x0fffffff) * kUnit : (char*)this;
}

bool Recorder::record(int index) {
  const Record& record = program_.plan.record[index];
  Call call;
  int32_t symbols[kMaxAttributes];
  for (int i = 0; i < record.op->operands; i++) call.operands[i] = place(record.operands[i]);
  for (int i = 0; i < record.op->attributes; i++) {
    const bool is_row = record.op->attribute[i].kind == 'r';
    symbols[i] = record.attributes[i];
    call.attributes[i] = is_row ? program_.plan.capacity[record.attributes[i]] : record.attributes[i];
  }
  launch.record = index;
  launch.scratch_used = 0;
  status = launcher(record)(launch, Operands(launch, call, symbols));
  return !status.where && launch.error == cudaSuccess;
}

}  // namespace cuda
}  // namespace bk
