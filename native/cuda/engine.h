// The CUDA library behind api.h. Its handles begin with what runtime/engine.h has, because runtime/queue.cc serves their runs, in order,
// on a thread of its own; the structures here go on with what is on the device.
#pragma once
#include "../runtime/engine.h"
#include "kernel.cuh"

namespace bk {
namespace cuda {

/** Device memory whose address graphs have in them. */
struct Buffer {
  char* data;
  int64_t bytes;
};

/** What the process has of the device; made by the first bk_open, kept until the process ends. */
struct Device {
  cudaDeviceProp properties;
  int driver, runtime;
  cudaStream_t stream;     // of runs
  cudaStream_t copies;     // of what is written and read between them: not the same, which may be capturing
  cudaEvent_t written;     // what a run waits for: all that was written before it
  RunState* state;         // on the device
  RunState* pinned_state;  // where a run's is copied from
  Failure* failure;        // on the device
  Failure* pinned_failure;
  Buffer scratch;    // of the record that runs; grows between runs
  bool lost;         // an error that every later call would give as well
  char reason[160];  // of the loss
};

/** What plans are checked against: no op has kernels of the CPU's kind, nor scratch that its checks could know. */
extern const KernelTable kernels_cuda;

/** What the engine's thread has while it calls the runtime. */
struct Calling {
  Calling();
  ~Calling();
};

/** The device, opened; null with a sentence and a bk_error where that is not possible. */
Device* device_open(int* error, char* message, size_t capacity);

/**
 * A bk_error for what a call of the runtime has returned, and a sentence: BK_OK, BK_MEMORY, or BK_DEVICE, after which the device is lost
 * for this process unless it still answers.
 */
int device_check(Device&, cudaError_t, const char* what, char* message, size_t capacity);

/** BK_DEVICE and its reason where the device is lost. */
int device_alive(const Device&, char* message, size_t capacity);

struct Engine : bk_engine {
  Device* device;
};

struct Memory : bk_memory {
  Engine* engine;
  uint64_t state;       // a number that no memory of the process has had, anew whenever an arena moves: graphs made before are void
  char* staged;         // in host memory that the device reads: what was written, on its way there; null where there is none to be had
  int64_t staged_used;  // bytes of it, since anybody waited for them
};

/** A program and the graph of it for the memory that it was last run with. */
struct Program : bk_program {
  int64_t scratch_bytes;
  cudaGraphExec_t graph;
  uint64_t memory_state;  // of that memory
  const char* scratch;
  Check* checks;  // room for kMaxChecks
  Status status;  // of a record whose attributes cannot be; the graph is not there then
  int status_record;
};

/** Goes through the records: launches them into `launch.stream`, or only measures their scratch. */
class Recorder {
 public:
  Recorder(Device&, Program&, const Memory*, bool measuring);
  /**
   * Launches a record, or this one and those after it together; returns how many. 0 when it cannot be (then `status`) or a launch failed (then
   * `launch.error`).
   */
  int record(int index);
  Launch launch;
  Status status = kOk;

 private:
  /** Whether a record updates parameters, and others than those from `first` up to it, which do so too. */
  bool updates(int index, int first) const;
  /** What a record's launcher reads. */
  struct Resolved;
  /** Where an operand lies; while only scratch is measured there is no memory, and it is there or not. */
  char* place(int32_t word) const;
  Program& program_;
  const Memory* memory_;
};

}  // namespace cuda
}  // namespace bk
