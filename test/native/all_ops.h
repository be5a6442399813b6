// A valid plan with records of every op of ops.def, in several variants, each with operands of its own: what plan_fuzz mutates and
// isa_agree runs. The layout is the documented one of native/runtime/plan.h; sizes come from the table that validates plans.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <utility>
#include <vector>

#include "../../native/api.h"
#include "../../native/runtime/plan.h"

namespace all_ops {

using bk::kArenas;
using bk::kRows;
using bk::kUnit;

/** splitmix64: the same stream on every machine. */
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return (int64_t)(bits() % (uint64_t)n); }
  float uniform() { return (float)(bits() >> 40) / 8388608.0f - 1.0f; }

 private:
  uint64_t state_;
};

// Five sequences: one row alone, a prime, a block of 12, one row again, a block of 16.
constexpr int32_t kCuSeqlens[] = {0, 1, 8, 20, 21, 37};
constexpr int32_t kCuKeys[] = {0, 3, 4, 11, 12, 23};
constexpr double kCounts[kRows] = {37, 5, 7, 1 + 49 + 144 + 1 + 256, 9, 23, 1 * 3 + 7 * 1 + 12 * 7 + 1 * 1 + 16 * 11, 50, 3};
constexpr int32_t kCapacity[kRows] = {40, 6, 8, 500, 10, 25, 300, 52, 4};
constexpr int kScalars = bk::kFixedScalars + 4;

/** One operand of one record, where the plan puts it. */
struct Operand {
  int record;
  const bk::OpInfo* op;
  const bk::OperandInfo* info;
  int arena;
  int64_t offset, elements, size;  // size: bytes of an element

  std::string name() const { return info->name; }
};

struct Record {
  std::vector<int32_t> words;
};

struct Plan {
  std::vector<Record> records;
  std::vector<Operand> operands;
  int64_t units[kArenas] = {};

  std::vector<int32_t> words() const {
    std::vector<int32_t> w = {
        bk::kPlanMagic, bk::kPlanVersion, (int32_t)(uint32_t)bk_ops_hash(), (int32_t)(uint32_t)(bk_ops_hash() >> 32), (int32_t)records.size(), 0};
    w.insert(w.end(), kCapacity, kCapacity + kRows);
    w.push_back(kScalars);
    for (const int64_t n : units) w.push_back((int32_t)n);
    for (const Record& r : records) w.insert(w.end(), r.words.begin(), r.words.end());
    w[5] = (int32_t)w.size();
    return w;
  }
};

typedef std::vector<std::pair<const char*, double>> Attributes;

inline double default_attribute(const std::string& op, const std::string& name) {
  if (op == "store_rows" && name == "to") return 7;
  if (op == "copy_rows" && name == "of") return 7;
  if (op == "copy_rows" && name == "rows") return 8;
  if (name == "rows")
    return op.find("segment") == std::string::npos && (op.find("entropy") != std::string::npos || op.find("squared") != std::string::npos) ? 2 : 0;
  if (name == "from") return 0;
  if (name == "seqs" || name == "to" || name == "segments") return 1;
  if (name == "keys") return 5;
  if (name == "pairs") return op.find("cross") == std::string::npos ? 3 : 6;
  static const std::pair<const char*, double> table[] = {
      {"H", 19}, {"V", 11}, {"Y", 2},  {"P", 17},      {"K", 21},      {"N", 18},           {"A", 2},      {"D", 5},           {"C", 5},       {"T", 30},
      {"W", 75}, {"G", 72}, {"n", 70}, {"eps", 1e-12}, {"site", 1234}, {"denominator", 17}, {"group", 24}, {"padding_idx", 3}, {"words", 4096}};
  for (const auto& entry : table)
    if (name == entry.first) return entry.second;
  return 0;
}

inline int arena_of(const std::string& op, const std::string& name) {
  if (name == "exp_avg") return 2;
  if (name == "exp_avg_sq") return 3;
  if (op == "gradient_norm" || op == "adamw") return name == "norm" ? 4 : name == "w" ? 0 : 1;
  if ((op == "store_rows" || op == "copy_rows") && name == "y") return 6;
  for (const char* weight : {"word", "type", "position", "gamma", "beta", "w", "scale", "bias", "weight", "alpha_p", "alpha_n", "eps"})
    if (name == weight) return 0;
  if (name == "packed") return 7;
  for (const char* gradient : {"dtable", "dgamma", "dbeta", "dw", "dbias", "dweight", "dalpha_p", "dalpha_n"})
    if (name == gradient) return 1;
  for (const char* io : {"ids", "type_ids", "position_ids", "cu_seqlens", "cu_queries", "cu_keys", "cu_segments", "key_mask", "keep", "index", "from", "target",
                         "labels", "positions", "targets", "loss"})
    if (name == io) return 5;
  return 4;
}

/** Appends a record of op `id`; `absent` optional operands are left out, outputs that may lie in place do if `in_place`. */
inline void append(Plan& plan, int id, const Attributes& given = {}, std::vector<std::string> absent = {}, bool in_place = false) {
  const bk::OpInfo& op = *bk::op_info(id);
  int32_t attributes[bk::kMaxAttributes];
  for (int i = 0; i < op.attributes; i++) {
    double value = default_attribute(op.name, op.attribute[i].name);
    for (const auto& entry : given)
      if (!strcmp(entry.first, op.attribute[i].name)) value = entry.second;
    const float real = (float)value;
    if (op.attribute[i].kind == 'f')
      memcpy(&attributes[i], &real, 4);
    else
      attributes[i] = (int32_t)value;
  }
  Record record;
  record.words = {id, 2 + op.operands + op.attributes};
  for (int i = 0; i < op.operands; i++) {
    const bk::OperandInfo& info = op.operand[i];
    bool out = false;
    for (const std::string& name : absent) out = out || name == info.name;
    if (out) {
      record.words.push_back(-1);
      continue;
    }
    if (in_place && info.in_place >= 0) {
      record.words.push_back(record.words[(size_t)(2 + info.in_place)]);
      continue;
    }
    int64_t elements = 1;
    for (int d = 0; d < info.dims; d++) {
      const int a = info.dim[d].attribute;
      int64_t value = a < 0 ? info.dim[d].number : op.attribute[a].kind == 'r' ? kCapacity[attributes[a]] : attributes[a];
      elements *= value + info.dim[d].plus;
    }
    const int arena = arena_of(op.name, info.name);
    const int64_t size = info.type >= 0 && attributes[info.type] == bk::kBfloat16 ? 2 : 4;
    plan.operands.push_back({(int)plan.records.size(), &op, &info, arena, plan.units[arena] * kUnit, elements, size});
    record.words.push_back((int32_t)((uint32_t)arena << 28 | (uint32_t)plan.units[arena]));
    plan.units[arena] += (elements * size + kUnit - 1) / kUnit;
  }
  for (int i = 0; i < op.attributes; i++) record.words.push_back(attributes[i]);
  plan.records.push_back(record);
}

/** Every op, with its options both ways. */
inline Plan build() {
  enum {
    embedding = 1,
    embedding_backward,
    layer_norm,
    layer_norm_backward,
    layer_norm_backward_weight,
    dropout,
    linear,
    linear_backward_data,
    linear_backward_weight,
    activation_backward,
    prelu,
    prelu_backward,
    prelu_backward_weight,
    xielu,
    xielu_backward,
    xielu_backward_weight,
    attention,
    attention_backward,
    attention_probs,
    cross_attention,
    cross_attention_backward,
    cross_attention_probs,
    gather_rows,
    gather_rows_backward,
    store_rows,
    copy_rows,
    cross_entropy,
    cross_entropy_backward,
    mean_squared_error,
    mean_squared_error_backward,
    binary_cross_entropy,
    binary_cross_entropy_backward,
    segment_cross_entropy,
    segment_cross_entropy_backward,
    gradient_norm,
    adamw,
    pack_weight,
    linear_int8,
    embedding_int8
  };
  Plan p;
  append(p, embedding);
  append(p, embedding_backward);
  append(p, embedding_backward, {{"accumulate", 1}, {"padding_idx", -1}});
  append(p, layer_norm, {{"p", 0.1}}, {"keep"});
  append(p, layer_norm, {{"p", 0.1}});
  append(p, layer_norm, {{"H", 33}}, {"residual", "keep"}, true);
  append(p, layer_norm_backward, {{"p", 0.1}, {"add", 1}}, {"keep"});
  append(p, layer_norm_backward, {{"p", 0.1}, {"add", 1}});
  append(p, layer_norm_backward, {}, {"dx", "keep"});
  append(p, layer_norm_backward, {{"p", 0.1}}, {"dresidual", "keep"});
  append(p, layer_norm_backward_weight);
  append(p, layer_norm_backward_weight, {{"accumulate", 1}});
  append(p, dropout, {{"p", 0.1}, {"H", 67}}, {"keep"});
  append(p, dropout, {{"p", 0.5}}, {"keep"}, true);
  append(p, dropout, {{"p", 0.5}, {"H", 67}}, {}, true);
  for (int act = 0; act < 17; act++) {
    append(p, linear, {{"act", (double)act}}, act % 2 ? std::vector<std::string>{"packed", "z"} : std::vector<std::string>{"packed"});
    append(p, activation_backward, {{"act", (double)act}}, {}, act % 2 == 1);
  }
  for (const bool in_place : {false, true}) {
    const Attributes attributes = {{"N", in_place ? 67 : 18}, {"accumulate", (double)in_place}};
    for (const int op : {prelu, prelu_backward, prelu_backward_weight, xielu, xielu_backward, xielu_backward_weight}) append(p, op, attributes, {}, in_place);
  }
  append(p, xielu_backward_weight, {}, {"dalpha_p"});
  append(p, xielu_backward_weight, {}, {"dalpha_n"});
  append(p, linear, {{"K", 259}, {"N", 35}, {"rows", 1}}, {"bias", "packed", "z"});
  append(p, linear_backward_data, {}, {"packed"});
  append(p, linear_backward_data, {{"add", 1}, {"K", 35}}, {"packed"});
  append(p, linear_backward_weight, {{"first", 5}});
  append(p, linear_backward_weight, {{"accumulate", 1}, {"rows", 1}}, {"dbias"});
  for (int variant = 0; variant < 3; variant++) {  // without dropout, with its own draws, with a mask
    const int causal = variant == 1;
    const std::vector<std::string> absent = variant == 1   ? std::vector<std::string>{"key_mask", "keep"}
                                            : variant == 0 ? std::vector<std::string>{"keep"}
                                                           : std::vector<std::string>{};
    const Attributes attributes = {{"causal", (double)causal}, {"p", variant ? 0.1 : 0}};
    append(p, attention, attributes, absent);
    append(p, attention_backward, attributes, absent);
    append(p, attention_probs, attributes, absent);
    append(p, cross_attention, attributes, absent);
    append(p, cross_attention_backward, attributes, absent);
    append(p, cross_attention_probs, attributes, absent);
  }
  append(p, cross_attention_backward, {}, {"dq", "keep"});
  append(p, cross_attention_backward, {}, {"dkv", "keep"});
  append(p, gather_rows);
  append(p, gather_rows_backward);
  append(p, gather_rows_backward, {{"add", 1}});
  append(p, store_rows);
  append(p, store_rows, {{"first", 11}});
  append(p, copy_rows);
  append(p, cross_entropy);
  append(p, cross_entropy, {{"add", 1}, {"C", 35}});
  append(p, cross_entropy, {{"smooth", 1}, {"C", 17}});
  append(p, cross_entropy_backward);
  append(p, cross_entropy_backward, {{"smooth", 1}, {"C", 17}});
  for (int column = 0; column < 2; column++) {
    append(p, segment_cross_entropy, {{"C", 2}, {"column", (double)column}, {"add", (double)column}, {"smooth", (double)column}});
    append(p, segment_cross_entropy_backward, {{"C", 2}, {"column", (double)column}, {"smooth", (double)column}});
  }
  append(p, mean_squared_error);
  append(p, mean_squared_error_backward, {{"rows", 1}, {"C", 1}});
  append(p, binary_cross_entropy);
  append(p, binary_cross_entropy_backward);
  append(p, gradient_norm);
  append(p, gradient_norm, {}, {"loss"});
  append(p, adamw, {}, {"packed"});
  append(p, adamw, {{"w_first", 5}, {"g_first", 2}}, {"packed"});
  for (int product = 0; product < 2; product++) {
    append(p, adamw, {{"N", 7}, {"K", 10}, {"product", (double)product}});
    append(p, pack_weight, {{"product", (double)product}});
    append(p, linear, {{"type", (double)product}, {"to", (double)product}});
    append(p, linear_backward_data, {{"type", (double)product}, {"to", (double)product}});
  }
  for (int act = 0; act < 2; act++) {
    append(p, linear_int8, {{"act", (double)act}, {"K", act ? 21 : 150}, {"N", act ? 35 : 18}});
    append(p, linear_int8, {{"act", (double)act}, {"rows", 1}}, {"bias"});
  }
  append(p, embedding_int8);
  // every op with bfloat16 activations
  for (int id = 1; bk::op_info(id); id++) {
    const bk::OpInfo& op = *bk::op_info(id);
    const bool product = op.attribute[op.attributes - 1].kind == 't' && op.attribute[op.attributes - 2].kind == 't';
    if (op.attribute[op.attributes - 1].kind != 't') continue;
    if (!product) {
      append(p, id, {{"type", 1}, {"p", 0.1}}, {"keep"});
      for (int i = 0; i < op.operands; i++)
        if (!strcmp(op.operand[i].name, "keep")) append(p, id, {{"type", 1}, {"p", 0.1}});
      continue;
    }
    append(p, id, {{"type", 1}, {"to", 1}}, {"packed"});
    append(p, id, {{"type", 1}, {"to", 0}, {"K", 70}, {"N", 35}, {"T", 40}}, {"packed"});
    append(p, id, {{"type", 0}, {"to", 1}}, {"packed"});
  }
  return p;
}

/** The scalars of a run in the middle of a training: every one finite and of its usual size. */
inline std::vector<double> scalars() {
  std::vector<double> s((size_t)kScalars, 0.0);
  for (int i = 0; i < kRows; i++) s[(size_t)i] = kCounts[i];
  const double rest[] = {42, 3, 1, 0, 1, 0.9, 0.999, 1e-8, 7, 1, 1, 1, 0.1};
  for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) s[bk::kScalar_seed + i] = rest[i];
  const double group[] = {1e-3, 0.01, 1 - 0.9 * 0.9 * 0.9, 0.0547};
  for (size_t i = 0; i < 4; i++) s[bk::kScalar_group0 + i] = group[i];
  return s;
}

/** What an integer operand holds at element i. */
inline int32_t integer_at(const Operand& o, int64_t i, Random& random) {
  const std::string name = o.name();
  if (name == "cu_seqlens" || name == "cu_queries" || name == "cu_segments") return i < 6 ? kCuSeqlens[i] : 37;
  if (name == "cu_keys") return i < 6 ? kCuKeys[i] : 23;
  if (name == "positions") return i == 2 ? -100 : 0;
  if (name == "key_mask") return i >= 8 && i < 20 ? 0 : random.below(4) != 0;  // the third sequence is hidden whole
  if (name == "keep") return random.below(4) != 0;
  if (name == "labels") return i == 2 ? -100 : (int32_t)random.below(5);
  if (name == "type_ids") return (int32_t)random.below(2);
  if (name == "index" && !strcmp(o.op->name, "store_rows")) return (int32_t)(i + 3);
  if (name == "from") return (int32_t)(20 + random.below(30));
  if (name == "target") return (int32_t)(2 * i);
  if (name == "index") return (int32_t)random.below(37);
  return (int32_t)random.below(11);
}

inline bool is_integer(const std::string& name) { return arena_of("", name) == 5 && name != "targets" && name != "loss"; }

/** Writes the first contents of every operand of an arena: valid indices, floats in [-1, 1), what must be positive made so. */
inline void fill(const Plan& plan, int arena, char* contents, Random& random) {
  for (const Operand& o : plan.operands) {
    if (o.arena != arena) continue;
    for (int64_t i = 0; i < o.elements; i++) {
      float real = random.uniform();
      if (o.name() == "rstd" || o.name() == "exp_avg_sq") real = 0.5f + 0.25f * real;
      if (o.name() == "lse") real += 3;
      if (o.name() == "norm") real = i ? 0.5f : 2.0f;
      int32_t word;
      memcpy(&word, &real, 4);
      if (o.size == 2) {
        const uint16_t half = (uint16_t)((uint32_t)word >> 16);
        memcpy(contents + o.offset + i * 2, &half, 2);
        continue;
      }
      if (is_integer(o.name())) word = integer_at(o, i, random);
      memcpy(contents + o.offset + i * 4, &word, 4);
    }
  }
}

}  // namespace all_ops
