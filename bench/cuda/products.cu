// Every shape of block for the products of linear, timed on a device and checked against float64 sums of sampled elements: what the choice
// in native/cuda/product.cuh and gemm_hopper.cuh should be made from.
//
//   nvcc -std=c++17 -O3 -DBK_HAS_HOPPER -gencode arch=compute_90a,code=sm_90a bench/cuda/products.cu -o products && ./products [rows [hidden]]
//
// With `rows`, the last few are left out, which have other numbers of them.
#include "../../native/cuda/hopper.cu"
#include "../../native/cuda/linear.cu"
#include "../../native/cuda/linear_backward.cu"

#include <stdio.h>
#include <stdlib.h>
#include <vector>

namespace bk {
namespace cuda {
namespace {

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  exit(1);
}

template <class T>
__global__ void fill_kernel(T* to, int64_t count, uint32_t seed) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  uint32_t h = (uint32_t)i * 2654435761u + seed;
  h = (h ^ h >> 16) * 2246822519u;
  h = (h ^ h >> 13) * 3266489917u;
  to[i] = from_float<T>((float)(int32_t)(h ^ h >> 16) / 2147483648.0f);
}

/** The greatest error of sampled elements, in units of 2 K u sum |a| |b|. C(i, j) = sum over k of a(i, k) b(k, j). */
template <class T>
__global__ void check_kernel(Product<T> p, bool along_a, bool along_b, int depth, Result c, double rounding, unsigned long long* worst) {
  const int sample = blockIdx.x * blockDim.x + threadIdx.x;
  const int i = (int)((int64_t)sample * 7919 % p.M), j = (int)((int64_t)sample * 104729 % p.N);
  double sum = 0, size = 0;
  for (int k = 0; k < depth; k++) {
    const double a = to_float(along_a ? p.a[i * p.a_pitch + k] : p.a[k * p.a_pitch + i]);
    const double b = to_float(along_b ? p.b[j * p.b_pitch + k] : p.b[k * p.b_pitch + j]);
    sum += a * b, size += fabs(a * b);
  }
  float got[1];
  c.get(i, j, got);
  const double bound = 2 * (depth + 1) * 5.96e-8 * size + rounding * fabs(sum);
  atomicMax(worst, (unsigned long long)(1e6 * fabs(got[0] - sum) / bound));
}

/** One product on this device. */
template <class T, bool kAlongA, bool kAlongB>
struct Bench {
  Launch launch = {};
  cudaEvent_t begin, end;
  T *a, *b;
  void* c;
  unsigned long long* worst;
  RunState* state;
  int rows, depth;
  Product<T> p;
  ElementType to;

  template <class Element>
  Element* filled(int64_t count, uint32_t seed) {
    Element* data;
    require(cudaMalloc(&data, count * sizeof(Element) + 256), "cudaMalloc");
    fill_kernel<<<(unsigned)((count + 255) / 256), 256>>>(data, count, seed);
    return data;
  }

  /** M or K is the counted number of rows. */
  Bench(int M, int N, int K, bool counts_depth, ElementType to, int splits) : rows(counts_depth ? K : M), depth(K), to(to) {
    cudaDeviceProp device;
    require(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
    launch.cluster = 1;
    launch.multiprocessors = device.multiProcessorCount;
    launch.shared_bytes = (int)device.sharedMemPerBlockOptin;
    launch.capability = device.major * 10 + device.minor;
    require(cudaMalloc(&state, sizeof(RunState)), "cudaMalloc");
    require(cudaMemset(state, 0, sizeof(RunState)), "cudaMemset");
    require(cudaMemcpy(state->rows, &rows, sizeof rows, cudaMemcpyHostToDevice), "cudaMemcpy");
    launch.state = state;
    a = filled<T>((int64_t)M * K, 1);
    b = filled<T>((int64_t)N * K, 2);
    c = filled<float>((int64_t)M * N * splits, 3);
    require(cudaMalloc(&worst, sizeof *worst), "cudaMalloc");
    p = {a, b, kAlongA ? K : M, kAlongB ? K : N, M, N, K, counts_depth ? nullptr : state->rows, counts_depth ? state->rows : nullptr, splits};
    cudaEventCreate(&begin), cudaEventCreate(&end);
  }
  ~Bench() {
    cudaFree(a), cudaFree(b), cudaFree(c), cudaFree(worst), cudaFree(state);
    cudaEventDestroy(begin), cudaEventDestroy(end);
  }

  template <class Run>
  void time(const char* name, bool checks, Run run) {
    run();
    require(launch.error, name);
    require(cudaDeviceSynchronize(), name);
    unsigned long long error = 0;
    if (checks) {
      require(cudaMemset(worst, 0, sizeof *worst), "cudaMemset");
      check_kernel<<<16, 128>>>(p, kAlongA, kAlongB, depth, Result{c, to, p.N}, to == kBfloat16 ? 0.00391 : 0.0, worst);
      require(cudaMemcpy(&error, worst, sizeof error, cudaMemcpyDeviceToHost), "check");
    }
    float best = 1e30f;
    for (int round = 0; round < 3; round++) {
      cudaEventRecord(begin);
      for (int i = 0; i < 10; i++) run();
      cudaEventRecord(end);
      require(cudaEventSynchronize(end), name);
      float milliseconds;
      cudaEventElapsedTime(&milliseconds, begin, end);
      if (milliseconds / 10 < best) best = milliseconds / 10;
    }
    printf("  %-16s %8.1f us %7.1f TFLOPS", name, best * 1e3, 2e-9 * p.M * p.N * depth / best);
    printf(checks ? "   error %.3f of its bound%s\n" : "\n", error * 1e-6, error > 1000000 ? " WRONG" : "");
  }

  template <class Epilogue>
  void all(const Epilogue& epilogue, bool checks) {
    typedef Shapes<T> S;
    const auto general = [&](const char* name, auto shape) {
      typedef decltype(shape) Shape;
      if (Shape::kBytes > launch.shared_bytes) return;
      const int64_t tiles = (int64_t)ceil_div(p.M, Shape::kRows) * ceil_div(p.N, Shape::kColumns) * p.splits, most = launch.multiprocessors * Shape::kBlocks;
      time(name, checks, [&] {
        launch(gemm_kernel<Shape, kAlongA, kAlongB, Epilogue>, dim3((unsigned)(tiles < most ? tiles : most)), dim3(Shape::kThreads), Shape::kBytes, p,
               epilogue);
      });
    };
    if constexpr (kAlongA || sizeof(T) == 4) general("large", typename S::Large());
    if constexpr (sizeof(T) == 2) general("medium", typename S::Medium());
    general("small", typename S::Small());
    if constexpr (kAlongA) general("tiny", typename S::Tiny());
    hoppers(epilogue, checks);
  }
  /** The shapes for 9.0, which have an epilogue of their own too. */
  template <class Epilogue>
  void hoppers(const Epilogue& epilogue, bool checks) {
    if constexpr (sizeof(T) == 2)
      if (launch.capability == 90) {
        const auto hopper = [&](const char* name, auto shape) {
          time(name, checks, [&] { launch_hopper_shape<decltype(shape), kAlongA, kAlongB>(launch, p, epilogue); });
        };
        hopper("hopper wide", HopperWide());
        hopper("hopper turns", HopperTurns());
        hopper("hopper square", HopperSquare());
        hopper("hopper narrow", HopperNarrow());
      }
  }
};

template <class T>
void forward(int rows, int N, int K, ElementType to, int act, bool keeps_z) {
  Bench<T, true, true> bench(rows, N, K, false, to, 1);
  void* z = keeps_z ? bench.template filled<float>((int64_t)rows * N, 4) : nullptr;
  printf("%s forward %d x %d x %d%s%s\n", sizeof(T) == 2 ? "bfloat16" : "float32", rows, N, K, act == kGelu ? ", gelu" : "", keeps_z ? ", z" : "");
  bench.all(Activated{nullptr, {bench.c, to, N}, {z, to, N}, act}, act == 0);
  if constexpr (sizeof(T) == 2)
    if (to == kBfloat16) {
      printf("  rounded\n");
      if (act == kGelu)
        bench.hoppers(RoundedActivated<true, true>{nullptr, {(bf16*)bench.c, (bf16*)z}}, false);
      else
        bench.hoppers(RoundedActivated<false, false>{nullptr, {(bf16*)bench.c}}, true);
    }
  cudaFree(z);
}

template <class T>
void backward(int rows, int N, int K, ElementType to) {
  const char* name = sizeof(T) == 2 ? "bfloat16" : "float32";
  {
    Bench<T, true, false> bench(rows, K, N, false, to, 1);
    printf("%s data gradient %d x %d x %d\n", name, rows, K, N);
    bench.all(Added{{bench.c, to, K}, false}, true);
    if constexpr (sizeof(T) == 2) {
      printf("  rounded\n");
      bench.hoppers(Rounded<false>{{(bf16*)bench.c}, nullptr}, true);
      printf("  added\n");
      bench.hoppers(Rounded<true>{{(bf16*)bench.c}, (bf16*)bench.c}, false);
    }
  }
  Launch launch = {};
  require(cudaDeviceGetAttribute(&launch.multiprocessors, cudaDevAttrMultiProcessorCount, 0), "cudaDeviceGetAttribute");
  const int splits = sizeof(T) == 2 ? choose_hopper_splits(launch, rows, N, K) : choose_splits<typename Shapes<T>::Medium>(launch, rows, N, K);
  for (int s : {1, splits}) {
    Bench<T, false, false> bench(N, K, rows, true, kFloat32, s);
    float* dbias = bench.template filled<float>((int64_t)N * s * ceil_div(K, HopperNarrow::kColumns), 5);
    printf("%s weight gradient %d x %d x %d, %d splits%s\n", name, N, K, rows, s, s > 1 ? ", which remain to be added" : "");
    const Gradient dw = {(float*)bench.c, s > 1 ? (float*)bench.c : nullptr, (int64_t)N * K}, sums = {dbias, dbias, N};
    bench.all(ParameterGradients<sizeof(T) == 2>{dw, sizeof(T) == 2 ? sums : Gradient{nullptr, nullptr, N}, bench.state, false}, s == 1);
    cudaFree(dbias);
    if (splits == 1) break;
  }
}

}  // namespace
}  // namespace cuda
}  // namespace bk

int main(int argc, char** argv) {
  using namespace bk::cuda;
  const int rows = argc > 1 ? atoi(argv[1]) : 16384, H = argc > 2 ? atoi(argv[2]) : 768, I = 4 * H;
  // query, key and value; attention's output; the two of the feed-forward part
  for (const auto& [N, K] : std::vector<std::pair<int, int>>{{3 * H, H}, {H, H}, {I, H}, {H, I}}) {
    forward<bf16>(rows, N, K, bk::kBfloat16, 0, false);
    if (N == I) forward<bf16>(rows, N, K, bk::kBfloat16, kGelu, true);
    backward<bf16>(rows, N, K, bk::kBfloat16);
  }
  if (argc > 1) return 0;
  forward<bf16>(2560, 30528, 768, bk::kFloat32, 0, false);
  forward<bf16>(32, 768, 3072, bk::kBfloat16, 0, false);
  forward<float>(4096, 3072, 768, bk::kFloat32, 0, false);
  backward<float>(4096, 3072, 768, bk::kFloat32);
  forward<float>(64, 768, 768, bk::kFloat32, 0, false);
}
