// What the CPU under us is and may use.
#pragma once
#include "../cpu/kernel.h"

namespace bk {

constexpr int kMaxIsas = 8;

/** Tables that this CPU can run, best first; returns their number. */
int cpu_tables(const KernelTable* tables[kMaxIsas]);
/** Asks the system for registers that it gives on request; false where it refuses. */
bool cpu_may_use(const KernelTable&);
/** Whether bfloat16 is faster than float32 with these kernels on this CPU. */
bool cpu_prefers_bfloat16(const KernelTable&);
/** "cpu" or "wasm": what the TypeScript side calls this build of the kernels. */
const char* cpu_backend();
/** The processor's own name, or "unknown". */
void cpu_name(char* name, size_t capacity);
/** CPUs that this process may use: its affinity mask and the quotas of its control groups. */
int cpu_count();
#if defined(__linux__)
/** The fewest CPUs that the control groups of the file `groups`, mounted at `mount`, allow, rounded up; 0 without a quota. */
int cpu_quota(const char* groups, const char* mount);
#endif

}  // namespace bk
