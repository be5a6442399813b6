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

bool Recorder::updates(int index) const { return launcher(program_.plan.record[index]) == adamw; }

char* Recorder::place(int32_t word) const {
  if (word == -1) return nullptr;
  return memory_ ? memory_->base[(uint32_t)word >> 28 & (kArenas - 1)] + (word & 0x0fffffff) * kUnit : (char*)this;
}

/** z of a gelu whose backward goes over the result of this linear_backward_data, which no other record has seen before; else null. */
const void* Recorder::gelu_beside(int index) const {
  const Plan& plan = program_.plan;
  if (!launch.overlaps || index + 1 >= plan.records) return nullptr;
  const Record &product = plan.record[index], &slope = plan.record[index + 1];
  if (launcher(product) != linear_backward_data || launcher(slope) != activation_backward) return nullptr;
  const int32_t dx = product.operands[3], dy = slope.operands[0], z = slope.operands[1], dz = slope.operands[2];
  // rows, K, N, words, add, type, to; and rows, N, act, type
  const int32_t *of_product = product.attributes, *of_slope = slope.attributes;
  const bool same = dx == dy && dy == dz && of_product[0] == of_slope[0] && of_product[1] == of_slope[1] && of_product[5] == of_slope[3];
  return same && of_slope[2] == kGelu ? place(z) : nullptr;
}

bool Recorder::record(int index) {
  if (launch.next_done) {  // with the record before
    launch.next_done = false;
    return true;
  }
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
  launch.next_gelu_z = gelu_beside(index);
  status = launcher(record)(launch, Operands(launch, call, symbols));
  return !status.where && launch.error == cudaSuccess;
}

}  // namespace cuda
}  // namespace bk
