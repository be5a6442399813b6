#include "pages.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace bk {

#if defined(_WIN32)
void* pages_allocate(size_t bytes) { return bytes ? VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) : nullptr; }
void pages_free(void* pages, size_t) {
  if (pages) VirtualFree(pages, 0, MEM_RELEASE);
}
#else
void* pages_allocate(size_t bytes) {
  if (!bytes) return nullptr;
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (bytes >= (size_t)4 << 20) madvise(pages, bytes, MADV_HUGEPAGE);  // fewer TLB misses on weights and activations
#endif
  return pages;
}
void pages_free(void* pages, size_t bytes) {
  if (pages) munmap(pages, bytes);
}
#endif

}  // namespace bk
