// Compiled once per instruction set (BK_ISA and its flags come from the build). Everything but the table at the end has internal
// linkage and no C++ library header is included: a weak symbol compiled here with AVX-512 could be the one that the linker keeps for all.
#include "kernel.h"
#include "simd.h"
#include "../philox.h"

namespace bk {
namespace BK_ISA {
namespace {

template <class T>
struct Unqualified {
  typedef T type;
};
template <class T>
struct Unqualified<T&> {
  typedef T type;
};
template <class T>
struct Unqualified<const T> {
  typedef T type;
};
template <class T>
struct Unqualified<const T&> {
  typedef T type;
};

// clang-format off
#include "math.inl"
#include "parallel.inl"
#include "philox.inl"
#include "zeros.inl"
#include "matrix.inl"
#include "gemm_float32.inl"
#include "gemm_bfloat16.inl"
#include "gemm_amx.inl"
#include "gemm.inl"
#include "peak.inl"
#include "activation.inl"
#include "packed_weight.inl"
#include "linear.inl"
#include "linear_int8.inl"
#include "parametric_activation.inl"
#include "embedding.inl"
#include "dropout.inl"
#include "layer_norm.inl"
#include "attention.inl"
#include "attention_backward.inl"
#include "attention_probs.inl"
#include "pooling.inl"
#include "loss.inl"
#include "optimizer.inl"
// clang-format on

#define BK_TEXT2(x) #x
#define BK_TEXT(x) BK_TEXT2(x)
}  // namespace
}  // namespace BK_ISA

#define BK_TABLE2(isa) kernels_##isa
#define BK_TABLE(isa) BK_TABLE2(isa)
using namespace BK_ISA;

#define OP(id, name, inputs, outputs, attributes) {name, name##_scratch},
const KernelTable BK_TABLE(BK_ISA) = {
    BK_TEXT(BK_ISA),
    {"multiply-adds", Float32::MR, Float32::NR, Float32::KU, sizeof(Float32::Packed)},
    {bfloat16_products, Bfloat16::MR, Bfloat16::NR, Bfloat16::KU, sizeof(Bfloat16::Packed)},
    {
        {nullptr, nullptr},
#include "../ops.def"
    },
    {float32_peak, bfloat16_peak},
    {memory_peak, read_peak},
};
}  // namespace bk
