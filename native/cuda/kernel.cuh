// What an op's launcher sees of a program, and what its kernels see of a run. A launcher is called once for each record, or for
// several that are launched together, while the program's graph is captured; the graph is replayed for every run, so a launcher knows capacities and never
// counts: those, and all scalars, are read by the kernels from device memory. Grids are sized by capacity; blocks without rows end at once.
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>

#include "../runtime/ops.h"

namespace bk {
namespace cuda {

/** What is copied to the device before a run. */
struct RunState {
  double scalars[kMaxScalars];
  int32_t rows[kRows];
};

/** A row symbol: how many rows the operands have room for, and how many there are, which only the device knows. */
struct Rows {
  int capacity;
  const int32_t* count;
  int symbol;
};

/** A check of int32 data on the device. The first that fails (in the order of the checks, then of the rows) is what the run reports. */
struct Check {
  const char* where;  // operand, such as "ids"
  int record;
  const int32_t* data;  // null: of the row count `high_symbol`, which the data says otherwise: as the row that is reported
  bool borders;         // of data[row] - data[row - 1] instead: see check_borders
  int64_t low, high;    // expected low <= value < high
  int high_symbol;      // the row symbol whose count is added to `high`; -1: none
};

/** Where a kernel says that a check failed: the least of (check << 32 | row); all ones while none has. */
typedef unsigned long long Failure;
constexpr Failure kNoFailure = ~0ull;

struct Checked {
  Failure* failure;
  uint32_t check;
  /** Whether `value` is within; where it is not, the run will fail. The caller then goes on with a value that does no harm. */
  __device__ bool operator()(int64_t value, int64_t low, int64_t high, uint32_t row) const {
    if (value >= low && value < high) return true;
    atomicMin(failure, (Failure)check << 32 | row);
    return false;
  }
};

constexpr int kMaxChecks = 4096;

/** What a launcher may use. */
struct Launch {
  cudaStream_t stream;
  const RunState* state;               // on the device
  Failure* failure;                    // on the device
  char* scratch;                       // on the device; shared by all records, used by one after another
  bool measuring;                      // only asks how much scratch the records need: nothing is launched, and operands are only there or not
  int64_t scratch_used, scratch_most;  // of this record, of all records so far
  int record;
  int multiprocessors;
  int shared_bytes;   // that a block may have
  int capability;     // 80, 90, 100
  cudaError_t error;  // the first
  Check* checks;
  int check_count;
  int cluster = 1;            // blocks of the next launch that share their shared memory
  bool overlaps = false;      // whether a kernel may begin before the one before it has ended,
  bool after_kernel = false;  // if what comes before it in the stream is a kernel

  /** kernel<<<grid, block, shared>>>(arguments...). A grid of no blocks is no launch. */
  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
    start(kernel, grid, block, shared, false, arguments...);
  }
  /** The same for kernels that begin with begin_kernel(). */
  template <class... Parameters, class... Arguments>
  void early(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
    start(kernel, grid, block, shared, overlaps && after_kernel, arguments...);
  }

  /** Bytes of device memory for this record alone, 256-byte aligned. What is in them is undefined. */
  template <class T>
  T* reserve(int64_t count) {
    T* place = (T*)(scratch + scratch_used);
    scratch_used += (count * (int64_t)sizeof(T) + 255) / 256 * 256;
    if (scratch_used > scratch_most) scratch_most = scratch_used;
    return place;
  }

  void zero(void* data, size_t bytes) {
    if (!measuring && error == cudaSuccess && bytes) error = cudaMemsetAsync(data, 0, bytes, stream);
    after_kernel = false;
  }

  /** Declares a check of this record's; its kernels report to what is returned. */
  Checked check(const char* where, const void* data, int64_t low, int64_t high, int high_symbol = -1, bool borders = false) {
    if (check_count == kMaxChecks) {
      error = cudaErrorInvalidValue;
      return {failure, 0};
    }
    checks[check_count] = {where, record, (const int32_t*)data, borders, low, high, high_symbol};
    return {failure, (uint32_t)check_count++};
  }

 private:
  template <class... Parameters, class... Arguments>
  void start(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, bool ahead, Arguments... arguments) {
    if (measuring || error != cudaSuccess || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared > 32 << 10) {  // with what kernels have besides, this may be more than the 48 KB that need not be asked for
      error = cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
      if (error != cudaSuccess) return;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    cudaLaunchAttribute attributes[2] = {};
    config.attrs = attributes;
    if (cluster > 1) {
      cudaLaunchAttribute& clusters = attributes[config.numAttrs++];
      clusters.id = cudaLaunchAttributeClusterDimension;
      clusters.val.clusterDim.x = (unsigned)cluster;
      clusters.val.clusterDim.y = clusters.val.clusterDim.z = 1;
    }
    if (ahead) {
      cudaLaunchAttribute& serialization = attributes[config.numAttrs++];
      serialization.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      serialization.val.programmaticStreamSerializationAllowed = 1;
    }
    error = cudaLaunchKernelEx(&config, kernel, (Parameters)arguments...);
    after_kernel = true;
  }
};

/** Reads a record's operands and attributes in the order of ops.def. */
class Operands {
 public:
  Operands() = default;
  Operands(const Launch& launch, const Call& call, const int32_t* symbols) : launch_(&launch), call_(&call), symbols_(symbols) {}
  void* any() { return call_->operands[operand_++]; }
  float* f32() { return (float*)any(); }
  int32_t* i32() { return (int32_t*)any(); }
  Rows rows() {
    const int at = attribute_++;
    return {call_->attributes[at], launch_->state->rows + symbols_[at], symbols_[at]};
  }
  int dim() { return call_->attributes[attribute_++]; }
  int integer() { return call_->attributes[attribute_++]; }
  bool flag() { return integer() != 0; }
  ElementType type() { return (ElementType)integer(); }
  float real() {
    const int32_t bits = call_->attributes[attribute_++];
    float value;
    memcpy(&value, &bits, 4);
    return value;
  }

 private:
  const Launch* launch_ = nullptr;
  const Call* call_ = nullptr;
  const int32_t* symbols_ = nullptr;
  int operand_ = 0, attribute_ = 0;
};

/** An op: kernels for its record, or what is wrong with the record. Attributes that are row symbols hold the capacity in `Operands`. */
typedef Status (*Launcher)(Launch&, Operands);

/**
 * Two records of a plan that have kernels of their own together. False where they have none, by their attributes or the device alone, before
 * anything was reserved or launched; so too where a record is wrong, which then says so itself. Its kernels check no data.
 */
typedef bool (*PairLauncher)(Launch&, Operands, Operands);
/** Of layer_norm_backward_weight and layer_norm_backward. */
bool layer_norm_backward_whole(Launch&, Operands, Operands);
/** Of linear_backward_data and activation_backward, of gelu in bfloat16. */
bool linear_backward_data_slopes(Launch&, Operands, Operands);

/** Of so many records of adamw at most, with one norm, which touch nothing of each other. */
constexpr int kMostUpdates = 32;
bool adamw_together(Launch&, const Operands*, int count);

constexpr int kLinear = 0, kGelu = 1;  // of the activations in ../ops.def

// Each op of ops.def, in the file of its family: `Status layer_norm(Launch&, Operands)`.
#define OP(id, name, inputs, outputs, attributes) Status name(Launch&, Operands);
#include "../ops.def"

}  // namespace cuda
}  // namespace bk
