// A plan: the flat Int32Array that src/graph writes, and its validated form.
//
//   header   kPlanMagic, version, hash of ops.def (low, high), records, length of the whole array, capacity of each row symbol (kRows),
//            scalars of a run, size of each arena in 64-byte units (kArenas)
//   record   opcode, length of the record, operands (arena << 28 | offset in units, -1 absent), attributes; order as in ops.def
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ops.h"

namespace bk {

constexpr int32_t kPlanMagic = 0x4b42504c, kPlanVersion = 1;
constexpr int kHeader = 6 + kRows + 1 + kArenas;
constexpr int64_t kUnit = 64, kMostArenaBytes = kUnit << 28;

struct Record {
  const OpInfo* op;
  const Kernel* kernel;
  int32_t operands[kMaxOperands];
  int32_t attributes[kMaxAttributes];
};

struct Plan {
  int records, scalars;
  int32_t capacity[kRows];
  int64_t arena_bytes[kArenas];
  int writes_weights_at;  // the first record that does; `records` where none does
  Scratch scratch;        // the largest of any record
  Record* record;         // malloc'ed
};

/** Bytes inside an arena; of what is absent, arena -1. */
struct Range {
  int64_t begin, end;
  int arena;
};

inline bool overlap(const Range& a, const Range& b) { return a.arena >= 0 && a.arena == b.arena && a.begin < b.end && b.begin < a.end; }

/** Where an operand of a record that was checked lies, at the plan's capacity. */
Range plan_range(const Plan&, const Record&, int operand);

/** Checks everything; on success fills `plan`, else writes a sentence to message and returns a bk_error. */
int plan_validate(const int32_t* words, size_t length, const KernelTable& kernels, Plan* plan, char* message, size_t capacity);
void plan_free(Plan*);

/** Checks a run's scalars against the plan: counts within capacity, everything finite where it must be. */
int plan_check_scalars(const Plan&, const double* scalars, size_t count, char* message, size_t capacity);

/** The record's operands at these arena bases, its row symbols replaced by this run's counts. */
void plan_resolve(const Record&, char* const* arenas, const double* scalars, Call* call);

}  // namespace bk
