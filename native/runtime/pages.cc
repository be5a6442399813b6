#include "pages.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#include <string.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace bk {

#if defined(_WIN32)
void* pages_allocate(size_t bytes) { return bytes ? VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) : nullptr; }
void pages_free(void* pages, size_t) {
  if (pages) VirtualFree(pages, 0, MEM_RELEASE);
}
#elif defined(__SANITIZE_ADDRESS__)
// A poisoned page on each side, and the last page poisoned from the first byte that was not asked for: sanitized programs report what
// strays, which they do not on plain pages.
static size_t page() { return (size_t)sysconf(_SC_PAGESIZE); }
static size_t whole(size_t bytes) { return (bytes + page() - 1) / page() * page(); }
void* pages_allocate(size_t bytes) {
  if (!bytes || bytes > (size_t)1 << 40) return nullptr;
  char* pages = (char*)mmap(nullptr, whole(bytes) + 2 * page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  ASAN_POISON_MEMORY_REGION(pages, page());
  ASAN_POISON_MEMORY_REGION(pages + page() + bytes, whole(bytes) - bytes + page());
  return pages + page();
}
void pages_free(void* pages, size_t bytes) {
  if (!pages) return;
  ASAN_UNPOISON_MEMORY_REGION((char*)pages - page(), whole(bytes) + 2 * page());
  munmap((char*)pages - page(), whole(bytes) + 2 * page());
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

#if defined(MREMAP_MAYMOVE) && !defined(__SANITIZE_ADDRESS__)
void* pages_grow(void* pages, size_t bytes, size_t more) {
  if (!pages) return pages_allocate(more);
  void* grown = mremap(pages, bytes, more, MREMAP_MAYMOVE);
  return grown == MAP_FAILED ? nullptr : grown;
}
#else
void* pages_grow(void* pages, size_t bytes, size_t more) {
  void* grown = pages_allocate(more);
  if (!grown) return nullptr;
  if (pages) memcpy(grown, pages, bytes);
  pages_free(pages, bytes);
  return grown;
}
#endif

}  // namespace bk
