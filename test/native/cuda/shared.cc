// Shared memory. What nobody has written is NaN, in every block anew.
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "emulation.h"

namespace cuda_emulation {
namespace {

constexpr size_t kMost = 256 << 10, kPage = 4096;
char* end_of_dynamic = nullptr;

thread_local int in_tls = 0;  // a variable among those that __shared__ makes

struct SharedVariables {
  ptrdiff_t offset;  // from in_tls
  size_t bytes;
};

int find_variables(dl_phdr_info* info, size_t, void* user) {
  bool mine = false;
  const ElfW(Phdr)* tls = nullptr;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_LOAD && (uintptr_t)&end_of_dynamic >= begin && (uintptr_t)&end_of_dynamic < begin + part.p_memsz) mine = true;
    if (part.p_type == PT_TLS) tls = &part;
  }
  if (!mine) return 0;
  if (tls && info->dlpi_tls_data) {
    char* begin = (char*)info->dlpi_tls_data + tls->p_filesz;
    *(SharedVariables*)user = {begin - (char*)&in_tls, tls->p_memsz - tls->p_filesz};
  }
  return 1;
}

/** Those of all kernels, since nobody knows whose they are. A C or C++ library that is linked into this one would lose its own. */
void spoil_variables() {
  static const SharedVariables variables = [] {
    SharedVariables found = {0, 0};
    in_tls = 0;  // so that this thread has them
    dl_iterate_phdr(find_variables, &found);
    return found;
  }();
  memset((char*)&in_tls + variables.offset, 0xff, variables.bytes);
}

}  // namespace

char* dynamic_shared_memory(size_t bytes) {
  if (!end_of_dynamic) {
    end_of_dynamic = (char*)mmap(nullptr, kMost + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + kMost;
    mprotect(end_of_dynamic, kPage, PROT_NONE);
  }
  return end_of_dynamic - (bytes + 127) / 128 * 128;
}

void spoil_shared_memory(size_t dynamic) {
  if (dynamic) memset(dynamic_shared_memory(dynamic), 0xff, (dynamic + 127) / 128 * 128);
  spoil_variables();
}

}  // namespace cuda_emulation
