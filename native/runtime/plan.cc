#include "plan.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../api.h"
#include "text.h"

namespace bk {
namespace {

constexpr int64_t kMaxElements = (int64_t)1 << 40;

/** Elements of an operand at the plan's capacity, or -1 if absurd. */
int64_t elements(const Plan& plan, const OpInfo& info, const OperandInfo& o, const int32_t* attributes) {
  int64_t n = 1;
  for (int i = 0; i < o.dims; i++) {
    const Dim& d = o.dim[i];
    int64_t value = d.number;
    if (d.attribute >= 0) {
      value = attributes[d.attribute];
      if (info.attribute[d.attribute].kind == 'r') value = plan.capacity[value];
    }
    value += d.plus;
    if (value != 0 && n > kMaxElements / value) return -1;
    n *= value;
  }
  return n;
}

struct Checker {
  const int32_t* words;
  size_t length;
  const KernelTable& kernels;
  Plan* plan;
  char* message;
  size_t capacity;
  int record = -1;
  const char* op = "";

  __attribute__((format(printf, 2, 3))) int fail(const char* format, ...) {
    char text[200];
    va_list values;
    va_start(values, format);
    write_text_list(text, sizeof text, format, values);
    va_end(values);
    if (record < 0)
      write_text(message, capacity, "Plan header: %s", text);
    else
      write_text(message, capacity, "Plan record %d (%s): %s", record, op, text);
    return BK_PLAN;
  }

  int header() {
    if (length < (size_t)kHeader) return fail("expected at least %d words but received %lld", kHeader, (long long)length);
    if (words[0] != kPlanMagic || words[1] != kPlanVersion) return fail("not a plan of version %d", kPlanVersion);
    const uint64_t hash = (uint32_t)words[2] | (uint64_t)(uint32_t)words[3] << 32;
    if (hash != ops_hash()) return fail("made for another list of ops");
    if (words[5] < 0 || (size_t)words[5] != length) return fail("length %d but received %lld words", words[5], (long long)length);
    plan->records = words[4];
    if (plan->records < 0 || plan->records > (int64_t)length / 2) return fail("%d records in %lld words", plan->records, (long long)length);
    plan->writes_weights_at = plan->records;
    for (int i = 0; i < kRows; i++) {
      plan->capacity[i] = words[6 + i];
      if (plan->capacity[i] < 0) return fail("row capacity %d is negative", plan->capacity[i]);
    }
    plan->scalars = words[6 + kRows];
    if (plan->scalars < kFixedScalars || plan->scalars > kMaxScalars) return fail("%d scalars", plan->scalars);
    for (int i = 0; i < kArenas; i++) {
      const int32_t units = words[7 + kRows + i];
      if (units < 0 || units >= 1 << 28) return fail("arena %d of %d units", i, units);
      plan->arena_bytes[i] = units * kUnit;
    }
    return 0;
  }

  int attribute(const AttributeInfo& a, int32_t value) {
    float real;
    memcpy(&real, &value, 4);
    switch (a.kind) {
      case 'r': return value >= 0 && value < kRows ? 0 : fail("%s: %d is no row symbol", a.name, value);
      case 'd': return value >= 1 ? 0 : fail("%s = %d, expected at least 1", a.name, value);
      case 'f': return real >= 0 && real < 1 ? 0 : fail("%s is outside [0, 1)", a.name);
      case 's': return value >= 0 && value < plan->scalars - 3 ? 0 : fail("%s: no scalar %d", a.name, value);
      case 't': return value == kFloat32 || value == kBfloat16 ? 0 : fail("%s: no element type %d", a.name, value);
      case 'e': return value >= 0 && value < a.limit ? 0 : fail("%s = %d, expected 0 to %d", a.name, value, a.limit - 1);
      default: return 0;
    }
  }

  int operand(const OpInfo& info, int index, const Record& r, Range* range) {
    const OperandInfo& o = info.operand[index];
    const int32_t word = r.operands[index];
    *range = {0, 0, -1};
    if (word == -1) return o.optional ? 0 : fail("%s is missing", o.name);
    const int arena = (int)((uint32_t)word >> 28);
    if (arena >= kArenas) return fail("%s: no arena %d", o.name, arena);
    if (elements(*plan, info, o, r.attributes) < 0) return fail("%s has too many elements", o.name);
    *range = plan_range(*plan, r, index);
    if (range->end > plan->arena_bytes[arena])
      return fail("%s ends at byte %lld of an arena of %lld", o.name, (long long)range->end, (long long)plan->arena_bytes[arena]);
    return 0;
  }

  int aliasing(const OpInfo& info, const Record& r, const Range* ranges) {
    for (int i = 0; i < info.operands; i++) {
      if (!info.operand[i].output || ranges[i].arena < 0) continue;
      for (int j = 0; j < info.operands; j++) {
        if (j == i || (info.operand[i].in_place == j && r.operands[i] == r.operands[j])) continue;
        if (overlap(ranges[i], ranges[j])) return fail("%s overlaps %s", info.operand[i].name, info.operand[j].name);
      }
    }
    return 0;
  }

  int run() {
    if (const int error = header()) return error;
    plan->record = (Record*)calloc((size_t)plan->records + 1, sizeof(Record));
    if (!plan->record) {
      write_text(message, capacity, "No memory for %d records", plan->records);
      return BK_MEMORY;
    }
    size_t at = kHeader;
    for (record = 0; record < plan->records; record++) {
      op = "?";
      if (at + 2 > length) return fail("beyond the end of the plan");
      const int32_t code = *(const volatile int32_t*)(words + at);  // read once: others may write into the caller's words meanwhile
      const OpInfo* info = op_info(code);
      if (!info) return fail("no op %d", code);
      op = info->name;
      const int size = 2 + info->operands + info->attributes;
      if (words[at + 1] != size || at + (size_t)size > length) return fail("length %d, expected %d", words[at + 1], size);
      Record& r = plan->record[record];
      r.op = info;
      r.kernel = &kernels.kernels[code];
      memcpy(r.operands, words + at + 2, (size_t)info->operands * 4);
      memcpy(r.attributes, words + at + 2 + info->operands, (size_t)info->attributes * 4);
      for (int i = 0; i < info->attributes; i++)
        if (const int error = attribute(info->attribute[i], r.attributes[i])) return error;
      Range ranges[kMaxOperands];
      for (int i = 0; i < info->operands; i++)
        if (const int error = operand(*info, i, r, &ranges[i])) return error;
      if (const int error = aliasing(*info, r, ranges)) return error;
      for (int i = 0; i < info->operands; i++)
        if (info->operand[i].output && ranges[i].arena == kArena_weights && record < plan->writes_weights_at) plan->writes_weights_at = record;
      if (r.kernel->scratch) {
        Call call;
        memcpy(call.attributes, r.attributes, sizeof call.attributes);
        for (int i = 0; i < info->operands; i++) call.operands[i] = r.operands[i] == -1 ? nullptr : &call;  // only whether it is there
        for (int i = 0; i < info->attributes; i++)
          if (info->attribute[i].kind == 'r') call.attributes[i] = plan->capacity[r.attributes[i]];
        const Scratch s = r.kernel->scratch(call);
        if (s.shared > plan->scratch.shared) plan->scratch.shared = s.shared;
        if (s.local > plan->scratch.local) plan->scratch.local = s.local;
      }
      at += (size_t)size;
    }
    if (at != length) {
      record = -1;
      return fail("%lld words after the last record", (long long)(length - at));
    }
    return 0;
  }
};

}  // namespace

Range plan_range(const Plan& plan, const Record& r, int index) {
  const OperandInfo& o = r.op->operand[index];
  const int32_t word = r.operands[index];
  if (word == -1) return {0, 0, -1};
  const int64_t begin = (word & 0x0fffffff) * kUnit, size = o.type >= 0 && r.attributes[o.type] == kBfloat16 ? 2 : 4;
  return {begin, begin + elements(plan, *r.op, o, r.attributes) * size, (int)((uint32_t)word >> 28)};
}

int plan_validate(const int32_t* words, size_t length, const KernelTable& kernels, Plan* plan, char* message, size_t capacity) {
  memset(plan, 0, sizeof *plan);
  Checker checker = {words, length, kernels, plan, message, capacity};
  const int error = checker.run();
  if (error) plan_free(plan);
  return error;
}

void plan_free(Plan* plan) {
  free(plan->record);
  plan->record = nullptr;
}

int plan_check_scalars(const Plan& plan, const double* scalars, size_t count, char* message, size_t capacity) {
  if (count != (size_t)plan.scalars) {
    write_text(message, capacity, "Expected %d scalars but received %lld", plan.scalars, (long long)count);
    return BK_ARGUMENT;
  }
  for (int i = 0; i < kRows; i++) {
    const double n = scalars[i];
    if (!(n >= 0 && n <= plan.capacity[i] && n == __builtin_floor(n))) {
      write_text(message, capacity, "Row count %d is %g, expected an integer from 0 to the plan's capacity %d", i, n, plan.capacity[i]);
      return BK_ARGUMENT;
    }
  }
  for (size_t i = kRows; i < count; i++)
    if (!__builtin_isfinite(scalars[i]) || __builtin_fabs(scalars[i]) > 9007199254740992.0) {
      write_text(message, capacity, "Scalar %lld is %g, expected a number of at most 2^53", (long long)i, scalars[i]);
      return BK_ARGUMENT;
    }
  return 0;
}

void plan_resolve(const Record& record, char* const* arenas, const double* scalars, Call* call) {
  for (int i = 0; i < record.op->operands; i++) {
    const int32_t word = record.operands[i];
    call->operands[i] = word == -1 ? nullptr : arenas[(uint32_t)word >> 28] + (word & 0x0fffffff) * kUnit;
  }
  for (int i = 0; i < record.op->attributes; i++) {
    const int32_t value = record.attributes[i];
    call->attributes[i] = record.op->attribute[i].kind == 'r' ? (int32_t)scalars[value] : value;
  }
}

}  // namespace bk
