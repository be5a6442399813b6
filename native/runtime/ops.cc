#include "ops.h"

#include <stdlib.h>
#include <string.h>

namespace bk {
namespace {

struct Source {
  int id;
  const char *name, *inputs, *outputs, *attributes;
};

const Source kSources[] = {
#define OP(id, name, inputs, outputs, attributes) {id, #name, inputs, outputs, attributes},
#include "../ops.def"
};

const char* const kSymbols[] = {
#define ROW(id, name) "ROW " #id " " #name,
#define SCALAR(id, name) "SCALAR " #id " " #name,
#define ARENA(id, name) "ARENA " #id " " #name,
#define ACTIVATION(id, name) "ACTIVATION " #id " " #name,
#include "../ops.def"
};

bool is_word(char c) { return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

int take_number(const char** text) {
  int n = 0;
  while (**text >= '0' && **text <= '9') n = 10 * n + (*(*text)++ - '0');
  return n;
}

/** Takes the leading word of *text into `out`. */
void take_word(const char** text, char out[24]) {
  int n = 0;
  while (is_word(**text) && n < 23) out[n++] = *(*text)++;
  out[n] = 0;
}

struct Table {
  OpInfo ops[kMaxOps];
  uint64_t hash;
};

int find_attribute(const OpInfo& op, const char* name) {
  for (int i = 0; i < op.attributes; i++)
    if (!strcmp(op.attribute[i].name, name)) return i;
  abort();  // ops.def names an attribute that it does not declare: caught by the first test that loads the library
}

void parse_attributes(OpInfo& op, const char* text) {
  while (*text) {
    if (*text == ' ') {
      text++;
      continue;
    }
    AttributeInfo& a = op.attribute[op.attributes++];
    take_word(&text, a.name);
    text++;  // ':'
    a.kind = *text++;
    a.limit = a.kind == 'e' ? (int8_t)take_number(&text) : 0;
  }
}

void parse_operands(OpInfo& op, const char* text, bool output) {
  while (*text) {
    if (*text == ' ') {
      text++;
      continue;
    }
    OperandInfo& o = op.operand[op.operands++];
    take_word(&text, o.name);
    o.output = output;
    o.in_place = -1;
    if (*text == '?') {
      o.optional = true;
      text++;
    }
    text++;  // '['
    while (*text != ']') {
      if (*text == ',') text++;
      Dim& d = o.dim[o.dims++];
      d.attribute = -1;
      d.number = (int16_t)take_number(&text);
      if (is_word(*text)) {
        char word[24];
        take_word(&text, word);
        d.attribute = (int8_t)find_attribute(op, word);
      }
      if (text[0] == '+' && text[1] == '1') {
        d.plus = 1;
        text += 2;
      }
    }
    text++;
    o.type = -1;
    if (*text == ':') {
      char word[24];
      take_word(&++text, word);
      if (strcmp(word, "i")) o.type = (int8_t)find_attribute(op, word);
    }
    if (*text == '=') {
      text++;
      char word[24];
      take_word(&text, word);
      for (int i = 0; i < op.operands; i++)
        if (!strcmp(op.operand[i].name, word)) o.in_place = (int8_t)i;
    }
  }
}

uint64_t fnv1a(uint64_t hash, const char* text) {
  for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 1099511628211ull;
  return hash;
}

Table make_table() {
  Table t;
  memset(&t, 0, sizeof t);
  t.hash = 14695981039346656037ull;
  for (const Source& s : kSources) {
    OpInfo& op = t.ops[s.id];
    op.name = s.name;
    parse_attributes(op, s.attributes);
    parse_operands(op, s.inputs, false);
    parse_operands(op, s.outputs, true);
    char id[8] = {(char)('0' + s.id / 10), (char)('0' + s.id % 10), 0};
    const char* const parts[] = {id, s.name, s.inputs, s.outputs, s.attributes};
    for (const char* part : parts) t.hash = fnv1a(fnv1a(t.hash, part), "\n");
  }
  for (const char* symbol : kSymbols) t.hash = fnv1a(fnv1a(t.hash, symbol), "\n");
  return t;
}

const Table& table() {
  static const Table t = make_table();
  return t;
}

}  // namespace

const OpInfo* op_info(int32_t id) { return id > 0 && id < kMaxOps && table().ops[id].name ? &table().ops[id] : nullptr; }
uint64_t ops_hash() { return table().hash; }

}  // namespace bk
