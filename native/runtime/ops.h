// ops.def as a table: what each op's record must hold. Parsed once from the same strings that scripts/ops-table.mjs reads.
#pragma once
#include <stdint.h>

#include "../cpu/kernel.h"

namespace bk {

constexpr int kRows = 9, kArenas = 8, kMaxDims = 5, kFixedScalars = kScalar_group0, kMaxScalars = kFixedScalars + 4 * 64;

/** One factor of an operand's size: the value of an attribute (plus one), or a number. */
struct Dim {
  int8_t attribute;  // -1: the number
  int8_t plus;
  int16_t number;
};

struct OperandInfo {
  char name[24];
  bool optional, output;
  int8_t in_place;  // input that this output may lie on; -1: none
  int8_t type;      // attribute with the type of its elements; -1: 4 bytes each
  int8_t dims;
  Dim dim[kMaxDims];
};

struct AttributeInfo {
  char name[24];
  char kind;     // r row symbol, d dimension, f float, s scalar, e enumeration, t element type, i any
  int8_t limit;  // values of an enumeration
};

struct OpInfo {
  const char* name;
  int operands, attributes;
  OperandInfo operand[kMaxOperands];
  AttributeInfo attribute[kMaxAttributes];
};

/** Null for an id that is no op. */
const OpInfo* op_info(int32_t id);
uint64_t ops_hash();

}  // namespace bk
