// The host's part of hopper.cuh: maps of matrices, made by the driver, and whether an op goes this way.
#include <stdlib.h>
#include <string.h>

#include "gemm_hopper.cuh"

namespace bk {
namespace cuda {

#if !defined(BK_CUDA_EMULATED)
cudaError_t make_tensor_map(TensorMap* map, const bf16* data, int64_t pitch, int columns, int rows, int height) {
  typedef CUresult (*Encode)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                             CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static Encode encode;
  if (!encode) {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
    if (e != cudaSuccess) return e;
    if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
    encode = (Encode)entry;
  }
  const cuuint64_t size[2] = {(cuuint64_t)columns, (cuuint64_t)rows}, strides[1] = {(cuuint64_t)pitch * sizeof(bf16)};
  const cuuint32_t box[2] = {kSwizzle / sizeof(bf16), (cuuint32_t)height}, steps[2] = {1, 1};
  const CUresult result = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void*)data, size, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}
#else
cudaError_t make_tensor_map(TensorMap* map, const bf16* data, int64_t pitch, int columns, int rows, int height) {
  if (columns < 1 || rows < 1 || height > 256 || pitch % 8 || (uintptr_t)data % 16) return cudaErrorInvalidValue;  // as the driver does
  *map = {data, pitch, columns, rows, height};
  return cudaSuccess;
}
#endif

bool chooses_hopper(const Launch& launch) {
  static const char* const kernels = getenv("BERTKIT_CUDA_KERNELS");
#if defined(BK_HAS_HOPPER) || defined(BK_CUDA_EMULATED)
  return launch.capability == 90 && !(kernels && !strcmp(kernels, "general"));
#else
  (void)launch;
  return false;
#endif
}

}  // namespace cuda
}  // namespace bk
