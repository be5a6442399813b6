#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif

namespace bk {

int cpu_tables(const KernelTable* tables[kMaxIsas]) {
  int n = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  // __builtin_cpu_supports also asks the operating system (XCR0) whether the registers are saved
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    tables[n++] = &kernels_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables[n++] = &kernels_avx2;
#elif defined(__aarch64__)
  tables[n++] = &kernels_neon;
#endif
  tables[n++] = &kernels_scalar;
#if defined(BK_TEST_WIDE)
  tables[n++] = &kernels_wide;  // 16 lanes made of narrower ones: the layout of AVX-512, testable everywhere
#endif
  return n;
}

void cpu_name(char* name, size_t capacity) {
  snprintf(name, capacity, "unknown");
#if defined(__x86_64__)
  unsigned int words[13] = {};
  if (__get_cpuid_max(0x80000000u, nullptr) < 0x80000004u) return;
  for (unsigned int i = 0; i < 3; i++) __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
  const char* text = (const char*)words;
  while (*text == ' ') text++;
  snprintf(name, capacity, "%s", text);
#elif defined(__linux__)
  if (FILE* f = fopen("/proc/cpuinfo", "r")) {
    char line[256];
    while (fgets(line, sizeof line, f))
      if (!strncmp(line, "CPU part", 8) || !strncmp(line, "model name", 10)) {
        if (const char* colon = strchr(line, ':')) snprintf(name, capacity, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
      }
    fclose(f);
  }
#endif
}

int cpu_count() {
  int n = (int)std::thread::hardware_concurrency();
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) n = CPU_COUNT(&set);
  long long quota = 0, period = 0;
  if (FILE* f = fopen("/sys/fs/cgroup/cpu.max", "r")) {  // "max 100000" without a limit: no number to read
    if (fscanf(f, "%lld %lld", &quota, &period) != 2) quota = 0;
    fclose(f);
  }
  if (quota > 0 && period > 0) {
    const int limit = (int)((quota + period - 1) / period);
    if (limit < n) n = limit;
  }
#endif
  return n < 1 ? 1 : n;
}

}  // namespace bk
