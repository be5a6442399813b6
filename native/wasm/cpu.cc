// One binary, one instruction set: which binary a runtime takes is decided outside, by what it validates.
#include "../api.h"
#include "../runtime/cpu.h"

#include "../runtime/text.h"

namespace bk {

bool tall_strips = false;

int cpu_tables(const KernelTable* tables[kMaxIsas]) {
#if defined(__wasm_relaxed_simd__)
  tables[0] = &kernels_relaxed;
#else
  tables[0] = &kernels_simd128;
#endif
  return 1;
}

bool cpu_may_use(const KernelTable&) { return true; }
bool cpu_prefers_bfloat16(const KernelTable&) { return false; }  // widened to float32 while it is packed
const char* cpu_backend() { return "wasm"; }
void cpu_name(char* name, size_t capacity) { write_text(name, capacity, "WebAssembly"); }
int cpu_count() { return 1; }

}  // namespace bk

void bk_tall_strips(int tall) { bk::tall_strips = tall != 0; }
