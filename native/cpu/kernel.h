// What a kernel sees of a run, and the table of kernels that each instruction set exports. Plain data only: this header is compiled
// both into the baseline runtime and into every instruction set, so nothing here may emit a weak symbol.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace bk {

constexpr int kMaxOperands = 12, kMaxAttributes = 12, kMaxOps = 64;

/** What went wrong in a kernel; `where` is null when nothing did. Texts are made in runtime/run.cc. */
struct Status {
  const char* where;   // operand, such as "ids"
  int64_t row, value;  // value found at that row
  int64_t low, high;   // expected low <= value < high
};
constexpr Status kOk = {nullptr, 0, 0, 0, 0};

/** Places of a run's scalars, from ops.def. */
enum ScalarId {
#define SCALAR(id, name) kScalar_##name = id,
#include "../ops.def"
};

/** Arenas, from ops.def. */
enum ArenaId {
#define ARENA(id, name) kArena_##name = id,
#include "../ops.def"
};

/** The attributes of each op, as ops.def lists them. */
#define OP(id, name, inputs, outputs, attributes) constexpr const char* kAttributes_##name = attributes;
#include "../ops.def"

/** The place of an attribute in such a list; -1 where it has none of that name. */
constexpr int attribute_place(const char* list, const char* name) {
  for (int place = 0; *list; place++) {
    const char* letter = name;
    while (*letter && *list == *letter) list++, letter++;
    if (!*letter && *list == ':') return place;
    while (*list && *list != ' ') list++;
    if (*list) list++;
  }
  return -1;
}
template <int kPlace>
struct KnownPlace {
  static_assert(kPlace >= 0, "ops.def gives this op no attribute of that name");
  enum { value = kPlace };
};
/** The place of an attribute in a record of an op, both by their names in ops.def. */
#define BK_PLACE(op, name) (bk::KnownPlace<bk::attribute_place(bk::kAttributes_##op, #name)>::value)

/** What a record's activations are: an attribute of kind `t` in ops.def. */
enum ElementType { kFloat32 = 0, kBfloat16 = 1 };

#if defined(__wasm__)
extern bool tall_strips;  // bk_tall_strips
#endif

struct Run;
typedef void (*Task)(void* argument, int index, int thread);

/** One execution of one program. */
struct Run {
  const double* scalars;
  void (*parallel)(Run*, int tasks, Task, void* argument);  // any thread takes any task; returns when all are done
  char* shared;                                             // scratch of the record, at least what its kernel asked for
  char* const* local;                                       // scratch of each thread
};

/** One record of the program, its operands resolved for this run (null: absent), its row symbols replaced by their counts. */
struct Call {
  void* operands[kMaxOperands];
  int32_t attributes[kMaxAttributes];
};

/** Reads a call's operands and attributes in the order of ops.def. */
class Cursor {
 public:
  explicit Cursor(const Call& call) : call_(call) {}
  /** An operand whose elements an attribute tells. */
  void* any() { return call_.operands[operand_++]; }
  float* f32() { return (float*)call_.operands[operand_++]; }
  int32_t* i32() { return (int32_t*)call_.operands[operand_++]; }
  int64_t dim() { return call_.attributes[attribute_++]; }
  int integer() { return call_.attributes[attribute_++]; }
  ElementType type() { return (ElementType)call_.attributes[attribute_++]; }
  float real() {
    union {
      int32_t i;
      float f;
    } bits;
    bits.i = call_.attributes[attribute_++];
    return bits.f;
  }

 private:
  const Call& call_;
  int operand_ = 0, attribute_ = 0;
};

/** Bytes of scratch that a record needs at its capacity; of operands it may ask only whether they are there. */
struct Scratch {
  int64_t shared, local;
};

struct Kernel {
  Status (*run)(Run&, const Call&);
  Scratch (*scratch)(const Call&);  // null: none
};

struct KernelTable {
  const char* isa;
  struct {
    const char* how;
    int rows, columns;  // the micro-kernel's tile
    int unit, size;     // a packed weight takes round_up(width, columns) * round_up(depth, unit) elements of `size` bytes
  } float32, bfloat16;  // how products of each type are made
  Kernel kernels[kMaxOps];
  double (*product_peaks[2])(int64_t iterations);     // of float32 and of bfloat16: products in registers; returns the flops done
  double (*memory_peaks[2])(float* data, int64_t n);  // updates n floats in place, or reads them; returns the bytes moved
};

extern const KernelTable kernels_scalar, kernels_avx2, kernels_avx512, kernels_avx512bf16, kernels_amx, kernels_neon, kernels_neonbf16, kernels_wide,
    kernels_tiles, kernels_simd128, kernels_relaxed;

}  // namespace bk
