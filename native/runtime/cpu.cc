#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thread>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif
#if defined(BK_AMX)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(BK_NEON_BF16)
#include <sys/auxv.h>
#endif

namespace bk {
namespace {

#if defined(__x86_64__)
struct Leaf {
  unsigned int eax, ebx, ecx, edx;
};
Leaf leaf(unsigned int number, unsigned int part) {
  Leaf l = {};
  __get_cpuid_count(number, part, &l.eax, &l.ebx, &l.ecx, &l.edx);
  return l;
}

bool is_amd() { return leaf(0, 0).ecx == 0x444d4163; }  // the end of "AuthenticAMD"

/** XCR0: the registers that the operating system saves (Intel SDM 1, 13.3); 0 where it has not said so. */
uint64_t saved_registers() {
  if (!(leaf(1, 0).ecx >> 27 & 1)) return 0;  // OSXSAVE
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

constexpr uint64_t kSavesYmm = 0x06, kSavesZmm = 0xe6;  // with XMM; with the mask registers and both halves of ZMM

bool saves_zmm() {
#if defined(__APPLE__)
  // Darwin saves them for a thread that has used them, and XCR0 shows them only then (xnu, osfmk/i386/fpu.c). Before 21.3, which is
  // macOS 12.2, the mask registers could be lost in a signal.
  char release[32] = "";
  size_t size = sizeof release - 1;
  int major = 0, minor = 0;
  if (sysctlbyname("kern.osrelease", release, &size, nullptr, 0) || sscanf(release, "%d.%d", &major, &minor) != 2) return false;
  return major > 21 || (major == 21 && minor >= 3);
#else
  return (saved_registers() & kSavesZmm) == kSavesZmm;
#endif
}

// Not __builtin_cpu_supports: its tables are in a library of the compiler's, which not every compiler brings.
bool has_avx2() {
  return (saved_registers() & kSavesYmm) == kSavesYmm && (leaf(1, 0).ecx >> 12 & 1)  // FMA
         && (leaf(7, 0).ebx >> 5 & 1);
}

/** AVX-512 F, DQ, BW and VL: leaf 7, EBX bits 16, 17, 30 and 31. */
bool has_avx512() {
  constexpr unsigned int kParts = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  return has_avx2() && saves_zmm() && (leaf(7, 0).ebx & kParts) == kParts;
}

/** AVX512-BF16: leaf 7, part 1, EAX bit 5. The registers are those of AVX-512. */
bool has_avx512_bf16() { return leaf(7, 1).eax >> 5 & 1; }

#if defined(BK_AMX)
constexpr int kGetSupported = 0x1021, kRequest = 0x1023, kTileData = 18;  // arch_prctl, ARCH_GET_XCOMP_SUPP and ARCH_REQ_XCOMP_PERM

/** AMX with bfloat16 (leaf 7, EDX bits 22 and 24), and a system that saves its registers. */
bool has_amx() {
  const unsigned int edx = leaf(7, 0).edx;
  uint64_t supported = 0;
  return (edx >> 22 & 1) && (edx >> 24 & 1) && syscall(SYS_arch_prctl, kGetSupported, &supported) == 0 && (supported >> kTileData & 1);
}
#endif
#endif

}  // namespace

int cpu_tables(const KernelTable* tables[kMaxIsas]) {
  int n = 0;
#if defined(__x86_64__)
  if (has_avx512()) {
#if defined(BK_AMX)
    if (has_amx()) tables[n++] = &kernels_amx;
#endif
    // where pairs are slower than float32, plain AVX-512 comes first; both can be asked for
    if (has_avx512_bf16() && is_amd()) tables[n++] = &kernels_avx512bf16;
    tables[n++] = &kernels_avx512;
    if (has_avx512_bf16() && !is_amd()) tables[n++] = &kernels_avx512bf16;
  }
  if (has_avx2()) tables[n++] = &kernels_avx2;
#elif defined(__aarch64__)
#if defined(BK_NEON_BF16)
  // HWCAP2_BF16, and HWCAP_ASIMDHP, which the compiler was told of too
  if ((getauxval(AT_HWCAP2) >> 14 & 1) && (getauxval(AT_HWCAP) >> 10 & 1)) tables[n++] = &kernels_neonbf16;
#endif
  tables[n++] = &kernels_neon;
#endif
  tables[n++] = &kernels_scalar;
#if defined(BK_TEST_WIDE)
  tables[n++] = &kernels_wide;   // 16 lanes made of narrower ones: the layout of AVX-512 and AVX512-BF16, testable everywhere
  tables[n++] = &kernels_tiles;  // the same with the layout of AMX
#endif
  return n;
}

bool cpu_may_use(const KernelTable& table) {
#if defined(BK_AMX)
  // Linux wants to be asked for the tiles, and may refuse (Documentation/arch/x86/xstate.rst)
  if (&table == &kernels_amx) return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#endif
  (void)table;
  return true;
}

/**
 * By measurement: AMX makes 15 times as many products of bfloat16 as AVX-512 makes of float32 (Intel Xeon, two cores: 6.4 and 0.42
 * Tflop/s); AVX512-BF16 1.85 times on AMD Zen 5 (0.85 and 0.46), twice on Zen 4 (0.467 and 0.232), and half as many on that Intel. Not
 * measured, and so not chosen: BFDOT. Elsewhere bfloat16 is computed as float32.
 */
bool cpu_prefers_bfloat16(const KernelTable& table) {
#if defined(__x86_64__)
  return !strcmp(table.isa, "amx") || (!strcmp(table.isa, "avx512bf16") && is_amd());
#else
  (void)table;
  return false;
#endif
}

const char* cpu_backend() { return "cpu"; }

void cpu_name(char* name, size_t capacity) {
  snprintf(name, capacity, "unknown");
#if defined(__x86_64__)
  unsigned int words[13] = {};
  if (__get_cpuid_max(0x80000000u, nullptr) < 0x80000004u) return;
  for (unsigned int i = 0; i < 3; i++) __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
  const char* text = (const char*)words;
  while (*text == ' ') text++;
  snprintf(name, capacity, "%s", text);
#elif defined(__APPLE__)
  sysctlbyname("machdep.cpu.brand_string", name, &capacity, nullptr, 0);
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

#if defined(__linux__)
namespace {

/** The numbers that a file begins with, and how many of the two there are: "max 100000" has none. */
int read_numbers(const char* folder, const char* group, const char* name, long long numbers[2]) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s%s/%s", folder, group, name) >= (int)sizeof path) return 0;
  FILE* f = fopen(path, "r");
  if (!f) return 0;
  const int found = fscanf(f, "%lld %lld", &numbers[0], &numbers[1]);
  fclose(f);
  return found < 0 ? 0 : found;
}

/** CPUs that the quota of one control group allows, rounded up; 0 without one. */
int quota_of(const char* folder, const char* group, bool unified) {
  long long quota[2] = {}, period[2] = {};
  if (unified) {
    if (read_numbers(folder, group, "cpu.max", quota) != 2) return 0;
    period[0] = quota[1];
  } else if (!read_numbers(folder, group, "cpu.cfs_quota_us", quota) || !read_numbers(folder, group, "cpu.cfs_period_us", period)) {
    return 0;
  }
  if (quota[0] <= 0 || period[0] <= 0) return 0;
  const long long cpus = (quota[0] + period[0] - 1) / period[0];
  return cpus > 1 << 20 ? 1 << 20 : (int)cpus;
}

bool lists(const char* controllers, const char* name) {
  for (const size_t length = strlen(name); *controllers; controllers += strcspn(controllers, ","), controllers += *controllers == ',')
    if (strcspn(controllers, ",") == length && !strncmp(controllers, name, length)) return true;
  return false;
}

}  // namespace

int cpu_quota(const char* groups, const char* mount) {
  FILE* f = fopen(groups, "r");
  if (!f) return 0;
  int fewest = 0;
  char line[4096], folder[4096];
  while (fgets(line, sizeof line, f)) {  // "0::/group", or of the first version "4:cpu,cpuacct:/group"
    line[strcspn(line, "\n")] = 0;
    char* controllers = strchr(line, ':');
    char* group = controllers ? strchr(controllers + 1, ':') : nullptr;
    if (!group) continue;
    *group++ = 0;
    const bool unified = !controllers[1];
    if (!unified && !lists(controllers + 1, "cpu")) continue;
    if (snprintf(folder, sizeof folder, "%s%s", mount, unified ? "" : "/cpu") >= (int)sizeof folder) continue;
    for (;;) {  // and of the groups around it; in a container the name may be that of outside, where only the last one exists
      if (!strcmp(group, "/")) *group = 0;
      const int cpus = quota_of(folder, group, unified);
      if (cpus && (!fewest || cpus < fewest)) fewest = cpus;
      char* slash = strrchr(group, '/');
      if (!slash) break;
      *slash = 0;
    }
  }
  fclose(f);
  return fewest;
}
#endif

int cpu_count() {
  int n = (int)std::thread::hardware_concurrency();
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) n = CPU_COUNT(&set);
  const int quota = cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");
  if (quota && quota < n) n = quota;
#endif
  return n < 1 ? 1 : n;
}

}  // namespace bk
