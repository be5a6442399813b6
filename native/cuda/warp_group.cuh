// Products of a warp group: d += a b, where a is 64 x 16 and b 16 x N of bfloat16 in shared memory (PTX ISA, "wgmma.mma_async"). `kAlong`: the depth
// runs along the rows of the operand's tiles; else across them. Warp w of the group has rows 16 w to 16 w + 15; with g = lane / 4 and
// t = lane % 4, d[4 j] and d[4 j + 1] are row g, columns 8 j + 2 t and 8 j + 2 t + 1, and d[4 j + 2], d[4 j + 3] those of row g + 8.
#pragma once
#include "hopper.cuh"

namespace bk {
namespace cuda {

#if defined(BK_CUDA_EMULATED)
/** An element of an operand, where the hardware looks for it. */
inline float element_of(const SharedMatrix& m, bool along, int line, int k) {
  const int64_t offset = along ? (int64_t)(line / 8) * m.groups + line % 8 * kSwizzle + k * 2
                               : (int64_t)(line / 64) * m.blocks + (int64_t)(k / 8) * m.groups + k % 8 * kSwizzle + line % 64 * 2;
  const uintptr_t address = (uintptr_t)m.start + (uintptr_t)offset;
  return to_float(*(const bf16*)(address ^ ((address >> 7 & 7) << 4)));
}

/** Each warp of the group computes its 16 rows. */
template <bool kAlongA, bool kAlongB, int kCount>
void emulate_warp_group_mma(float (&d)[kCount], const SharedMatrix& a, const SharedMatrix& b) {
  struct Mine {
    float* d;
    const SharedMatrix *a, *b;
    int warp;
  } mine = {d, &a, &b, (int)threadIdx.x % kWarpGroup / kWarp};
  cuda_emulation::warp_together("warp_group_mma", 0xffffffffu, &mine, [](void* const* lanes, unsigned) {
    const Mine& first = *(const Mine*)lanes[0];
    constexpr int N = kCount * 2;
    static float left[16][16], right[N][16];
    for (int k = 0; k < 16; k++) {
      for (int i = 0; i < 16; i++) left[i][k] = element_of(*first.a, kAlongA, 16 * first.warp + i, k);
      for (int j = 0; j < N; j++) right[j][k] = element_of(*first.b, kAlongB, j, k);
    }
    for (int lane = 0; lane < kWarp; lane++)
      for (int i = 0; i < kCount; i++) {
        const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        double sum = ((const Mine*)lanes[lane])->d[i];
        for (int k = 0; k < 16; k++) sum += (double)left[row][k] * right[column][k];
        ((const Mine*)lanes[lane])->d[i] = (float)sum;
      }
  });
}
#endif

template <int kAlongA, int kAlongB>
__device__ __forceinline__ void warp_group_mma(float (&d)[4], const SharedMatrix& a, const SharedMatrix& b) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile(
      "{\n.reg .pred adds;\nsetp.eq.u32 adds, 1, 1;\n"
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3"
      "}, %4, %5, adds, 1, 1, %6, %7;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "l"(a.bits), "l"(b.bits), "n"(1 - kAlongA), "n"(1 - kAlongB));
#else
  emulate_warp_group_mma<kAlongA, kAlongB>(d, a, b);
#endif
}

template <int kAlongA, int kAlongB>
__device__ __forceinline__ void warp_group_mma(float (&d)[32], const SharedMatrix& a, const SharedMatrix& b) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile(
      "{\n.reg .pred adds;\nsetp.eq.u32 adds, 1, 1;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, adds, 1, 1, %34, %35;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
        "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "l"(a.bits), "l"(b.bits), "n"(1 - kAlongA), "n"(1 - kAlongB));
#else
  emulate_warp_group_mma<kAlongA, kAlongB>(d, a, b);
#endif
}

template <int kAlongA, int kAlongB>
__device__ __forceinline__ void warp_group_mma(float (&d)[64], const SharedMatrix& a, const SharedMatrix& b) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile(
      "{\n.reg .pred adds;\nsetp.eq.u32 adds, 1, 1;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, adds, 1, 1, %66, %67;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
        "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]),
        "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]),
        "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a.bits), "l"(b.bits), "n"(1 - kAlongA), "n"(1 - kAlongB));
#else
  emulate_warp_group_mma<kAlongA, kAlongB>(d, a, b);
#endif
}

template <int kAlongA, int kAlongB>
__device__ __forceinline__ void warp_group_mma(float (&d)[128], const SharedMatrix& a, const SharedMatrix& b) {
#if !defined(BK_CUDA_EMULATED)
  asm volatile(
      "{\n.reg .pred adds;\nsetp.eq.u32 adds, 1, 1;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, adds, 1, 1, %130, %131;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
        "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]),
        "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]),
        "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), "+f"(d[64]), "+f"(d[65]), "+f"(d[66]),
        "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),
        "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]),
        "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]),
        "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]),
        "+f"(d[110]), "+f"(d[111]), "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]),
        "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
      : "l"(a.bits), "l"(b.bits), "n"(1 - kAlongA), "n"(1 - kAlongB));
#else
  emulate_warp_group_mma<kAlongA, kAlongB>(d, a, b);
#endif
}

}  // namespace cuda
}  // namespace bk
