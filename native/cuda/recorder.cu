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

bool Recorder::updates(int index) const { return kLaunchers[program_.plan.record[index].kernel - kernels_cuda.kernels] == adamw; }

bool Recorder::record(int index) {
  const Record& record = program_.plan.record[index];
  Call call;
  int32_t symbols[kMaxAttributes];
  for (int i = 0; i < record.op->operands; i++) {
    const int32_t word = record.operands[i];
    char* const base = memory_ ? memory_->base[(uint32_t)word >> 28 & (kArenas - 1)] : nullptr;
    // while only scratch is measured there is no memory, and an operand is there or not
    call.operands[i] = word == -1 ? nullptr : memory_ ? base + (word & 0x0fffffff) * kUnit : (char*)this;
  }
  for (int i = 0; i < record.op->attributes; i++) {
    const bool is_row = record.op->attribute[i].kind == 'r';
    symbols[i] = record.attributes[i];
    call.attributes[i] = is_row ? program_.plan.capacity[record.attributes[i]] : record.attributes[i];
  }
  launch.record = index;
  launch.scratch_used = 0;
  const int opcode = (int)(record.kernel - kernels_cuda.kernels);
  status = kLaunchers[opcode](launch, Operands(launch, call, symbols));
  return !status.where && launch.error == cudaSuccess;
}

}  // namespace cuda
}  // namespace bk
